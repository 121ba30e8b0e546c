/**
 * A run that is broken off at any moment leaves what was there before it, or, once committed, all of it; and the next
 * run ends where an undisturbed one does, also where two are beside each other. `FAULTS=1000` tries more often,
 * `SEED` tries the same again.
 */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { EtlError } from "../../lib/errors.ts";
import { load } from "../../lib/load.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { chance, often } from "../support/chance.ts";
import { database, impatient, template, testServer } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { startLoader } from "../support/loader.ts";
import { type Proxy, proxy } from "../support/proxy.ts";
import { type Answering, loadersIn, repair, rewind, stateOf, withScene } from "../support/scene.ts";
import { until, within } from "../support/waiting.ts";

const hang = 20;

const plain: Answering = (text) => text;
const ways: Record<string, Answering> = {
  "of known length": plain,
  "in chunks": (text) => () => new Response(new Blob([text]).stream()),
  "as gzip": (text) => new Uint8Array(gzipSync(text)),
};

const wait = (milliseconds: number) => new Promise((resume) => setTimeout(resume, milliseconds));

/** A run that may fail, but neither hangs nor fails without a word. */
async function outcomeOf(databaseUrl: string, feeds: string[] = []): Promise<string> {
  const run = load({ databaseUrl, feeds, patience: impatient });
  return await within(hang, "the run", run).then(({ status, feeds }) => {
    for (const { error } of feeds) if (error?.code !== "busy") assert.equal(error, null);
    return status;
  }, (error) => {
    assert.ok(error instanceof EtlError, error);
    const lost = /^(the connection to the database was lost|Cannot connect to the database): ./;
    assert.match(error.message, error.code === "busy" ? /^another run is under way$/ : lost);
    assert.ok(error.hint);
    return `failed: ${error.code}`;
  });
}

const faults: Record<string, () => Promise<void>> = {
  "the loader is killed": killed,
  "the connection to the database is cut": cutFromDatabase,
  "the connection to the partner is cut": async () => {
    for (const way of Object.keys(ways)) await cutFromPartner(way);
  },
  "Postgres is shut down as by a crash": crashed,
  "two runs beside each other are cut from the database": besideEachOther,
};

// Side by side, which Deno allows without its sanitizers only: what is waited for here is mostly Postgres.
const sideBySide = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
Deno.test({
  name: "a run that is broken off at any moment",
  ...sideBySide,
  async fn(t) {
    await Promise.all(Object.entries(faults).map(([name, fn]) => t.step({ name, ...sideBySide, fn })));
  },
});

async function killed(): Promise<void> {
  await withScene(plain, testServer(), async ({ db, ...scene }) => {
    let loader = await startLoader();
    const begun = Date.now();
    await loader.go(db.url);
    assert.equal(await within(hang, "a loader of its own", loader.answer()), "changed\n");
    const millis = Date.now() - begun;
    await loader.kill();
    loader = await startLoader();
    await often("killed", 0.35, async (random) => {
      await rewind(db);
      await loader.go(db.url);
      await wait(random * millis);
      await loader.kill();
      const [outcome, next] = await Promise.all([repair(db, scene), startLoader()]);
      loader = next;
      return outcome;
    });
    await loader.kill();
  });
}

/** A byte of a conversation: each piece of it as likely as any other, for the big ones are only data. */
function byteOf({ pieces, bytes }: Proxy, random: number): number {
  const place = random * pieces.length;
  const from = pieces[Math.floor(place) - 1] ?? 0;
  return Math.ceil(from + (place % 1) * ((pieces[Math.floor(place)] ?? bytes) - from));
}

async function conversation(wire: Proxy, run: () => Promise<unknown>): Promise<Proxy> {
  const [bytes, pieces] = [wire.bytes, wire.pieces.length];
  await run();
  return { ...wire, bytes: wire.bytes - bytes, pieces: wire.pieces.slice(pieces).map((end) => end - bytes) };
}

async function cutFromDatabase(): Promise<void> {
  const on = testServer();
  await withScene(plain, on, async ({ db, ...scene }) => {
    using wire = proxy(Number(new URL(on.url).port));
    const url = Object.assign(new URL(db.url), { port: wire.port }).href;
    const whole = await conversation(wire, async () => assert.equal(await outcomeOf(url), "changed"));
    await often("cut off from the database", 0.3, async (random) => {
      await rewind(db);
      wire.left = byteOf(whole, random);
      const outcome = await outcomeOf(url);
      wire.left = Infinity;
      return `${outcome}, ${await repair(db, scene)}`;
    });
  });
}

/** Two runs of some or all feeds, broken off if they come so far; then two at once that are not; then one alone. */
async function besideEachOther(): Promise<void> {
  const on = testServer();
  await withScene(plain, on, async ({ db, after }) => {
    using one = proxy(Number(new URL(on.url).port));
    using two = proxy(Number(new URL(on.url).port));
    const choices = [[], [], ["drivers"], ["trips", "charges"], ["charges"]];
    const run = async ({ port }: Proxy, feeds: string[]) => {
      const url = Object.assign(new URL(db.url), { port }).href;
      return await outcomeOf(url, feeds);
    };
    const begun = Date.now();
    const whole = await conversation(one, async () => assert.equal(await run(one, []), "changed"));
    const millis = Date.now() - begun;
    await often("two beside each other", 0.25, async (random) => {
      await rewind(db);
      const dice = chance(random * 2 ** 32);
      const breakOff = async (wire: Proxy) => {
        await wait(dice() * millis);
        wire.left = byteOf(whole, dice());
        return await run(wire, choices[Math.floor(dice() * choices.length)]);
      };
      const broken = await Promise.all([one, two].map(breakOff));
      one.left = two.left = Infinity;
      const finished = await Promise.all([one, two].map((wire) => run(wire, [])));
      assert.ok(
        finished.every((outcome) => !outcome.startsWith("failed") || outcome === "failed: busy"),
        `${finished}`,
      );
      await until("the broken runs have left the database", async () => (await loadersIn(db)) === 0);
      assert.match((await within(hang, "the last run", db.load())).status, /^(un)?changed$/);
      assert.deepEqual({ ...await stateOf(db), ledger: null }, { ...after, ledger: null });
      assert.deepEqual(await db.query("select * from etl.waiting"), []);
      assert.equal((await db.load()).status, "unchanged");
      return [broken, finished].map((pair) => pair.sort().join(" and ")).join(", then ");
    });
  });
}

async function cutFromPartner(way: string): Promise<void> {
  await withScene(ways[way], testServer(), async ({ db, partner, before, after }) => {
    const { bytes } = await conversation(partner, () => db.load());
    await often(`cut off from the partner, a body ${way}`, 0.06, async (random) => {
      await rewind(db);
      partner.left = Math.ceil(random * bytes);
      const report = await within(hang, "the run", db.load());
      const broken = report.feeds.find(({ error }) => error);
      const state = await stateOf(db);
      if (broken) {
        assert.equal(broken.error!.code, "cut_short");
        assert.match(broken.error!.message, /the body was cut short after \d+( of \d+)? bytes$/);
        assert.equal(state[broken.feed], before[broken.feed]);
      } else assert.deepEqual(state, after, "the request was repeated");
      assert.notEqual((await within(hang, "the next run", db.load())).status, "failed");
      assert.deepEqual({ ...await stateOf(db), ledger: null }, { ...after, ledger: null });
      return broken ? `${broken.feed} ${broken.error!.code}` : "repeated";
    });
  });
}

async function crashed(): Promise<void> {
  await using home = await temporary();
  const start = () => startPostgres(home.path, ["fsync=off"]);
  const server = await start();
  try {
    {
      await using admin = await database("postgres", server);
      await admin.query(`create database ${template}`);
      await migrate(admin.urlOf(template));
    }
    await withScene(plain, server, async ({ db, ...scene }) => {
      const name = db.name;
      const begun = Date.now();
      await db.load();
      const millis = Date.now() - begun;
      await often("crashed", 0.17, async (random) => {
        {
          await using db = await database(name, server);
          await rewind(db);
        }
        const run = outcomeOf(server.url.replace(/\/postgres\?/, `/${name}?`));
        await wait(random * millis);
        await crash(home.path);
        // Without a server the scene could not be cleared, and that error would hide the run's.
        const outcome = await run.finally(async () => {
          await server.stop();
          Object.assign(server, await start());
        });
        await using db = await database(name, server);
        return `${outcome}, ${await repair(db, scene)}`;
      });
    });
  } finally {
    await server.stop();
  }
}

/** An immediate shutdown: the server's processes end at once, and nothing is written down any more. */
async function crash(home: string): Promise<void> {
  const [pid] = (await Deno.readTextFile(`${home}/data/postmaster.pid`)).split("\n");
  Deno.kill(Number(pid), "SIGQUIT");
}
