/**
 * Random tables, files and runs: the loader against a model. CASES=5000 tries more of them; a failure prints how to
 * run its case again.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Client, connect } from "../../../lib/database/connect.ts";
import { loadOver } from "../../../lib/load.ts";
import { seed } from "../../support/chance.ts";
import { countsOf } from "../../support/counts.ts";
import { type Database, freshDatabase, impatient } from "../../support/database.ts";
import { snapshot } from "../../support/snapshot.ts";
import { serve, type Web } from "../../support/web.ts";
import { type Absences, none, removeAbsent } from "./absent.ts";
import { loadChanges, type Waiting } from "./changes.ts";
import { keyOf, keyOfRecord, load, only, type Reject, type Row } from "./model.ts";
import { extension, ours, spellings, sqlOf, type Table, type Type, types, values } from "./tables.ts";
import { bytesOf, type Case, cases, type Feed } from "./random_cases.ts";
import { createTable, textsOf } from "./random_tables.ts";

const number = (name: string) => Number(Deno.env.get(name)) || undefined;
const numRuns = number("CASES") ?? (Deno.env.get("CI") ? 500 : 100);
const path = Deno.env.get("CASE_PATH");
const shrinkMs = 20_000;
/** A server keeps something of each table that was dropped, and is slower by a third after a thousand cases. */
const casesPerDatabase = 100;

/** What the model says there is. */
interface World {
  rows: Record<string, Row[]>;
  rejects: Record<string, Reject[]>;
  /** Of feeds of changes: the rejects, the oldest first. */
  waiting: Record<string, Waiting[]>;
  absences: Record<string, Absences>;
  files: Record<string, Feed>;
  /** The bodies that were loaded last. */
  loaded: Record<string, string>;
}

Deno.test("the loader does what the model does, and a second time nothing", async () => {
  // Two databases, for Postgres and the loader wait for each other.
  const lanes = path ? [seed] : [seed, seed + 1];
  let failing: { seed: number; at: number } | null = null;
  // Enough of shrinking, or the other lane has failed: what is left counts as right.
  const isOver = (seed: number) => failing && (failing.seed !== seed || Date.now() > failing.at + shrinkMs);
  const results = await Promise.all(lanes.map(async (seed) => {
    await using web = serve({});
    let place = await openPlace(), tried = 0;
    const property = fc.asyncProperty(cases, async (example) => {
      if (isOver(seed)) return;
      if (++tried % casesPerDatabase === 0) {
        await place[Symbol.asyncDispose]();
        place = await openPlace();
      }
      await tryCase(place, web, example).catch((error) => {
        failing ??= { seed, at: Date.now() };
        throw error;
      });
    });
    try {
      return await fc.check(property, {
        numRuns: path ? 1 : Math.ceil(numRuns / lanes.length),
        seed,
        path,
        endOnFailure: path !== undefined,
      });
    } finally {
      await place[Symbol.asyncDispose]();
    }
  }));
  for (const { failed, seed, counterexamplePath, counterexample, errorInstance } of results) {
    if (!failed) continue;
    const again = `SEED=${seed} CASE_PATH=${counterexamplePath} deno task test tests/merge/model/model_test.ts`;
    const shown = counterexample ? show(counterexample[0]) : "";
    throw new Error(`Run again: ${again}\n${shown}\n${(errorInstance as Error)?.message}`, { cause: errorInstance });
  }
});

Deno.test("the model knows what Postgres makes of each text", async () => {
  await using db = await freshDatabase();
  await prepare(db);
  for (const dateOrder of ["ymd", "dmy", "mdy"] as const) {
    await db.query(`set datestyle to 'ISO, ${dateOrder.toUpperCase()}'`);
    for (const type of Object.keys(spellings) as (keyof typeof spellings)[]) {
      for (
        const text of textsOf(type).filter((text) => !ours.includes(text) && !ours.includes(`${dateOrder} ${text}`))
      ) {
        const [{ error }] = await db.query("select sql_error_code as error from pg_input_error_info($1, $2)", [
          text,
          sqlOf[type],
        ]);
        const found = error
          ? { error }
          : (await db.query(`select $1::text::${sqlOf[type as Type]}::text as value`, [text]))[0].value;
        assert.deepEqual(found, values[type](text, dateOrder), `${type} ${text} ${dateOrder}`);
      }
    }
  }
});

interface Place extends AsyncDisposable {
  db: Database;
  /** One connection for many runs, as behind a pooler: what a run leaves in it, the next one meets. */
  client: Client;
}

async function openPlace(): Promise<Place> {
  const db = await freshDatabase();
  await prepare(db);
  const client = await connect(db.url);
  return {
    db,
    client,
    [Symbol.asyncDispose]: async () => {
      await client[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

async function prepare(db: Database): Promise<void> {
  await db.query("set timezone to 'UTC'");
  await db.admin(extension);
  await db.query(types);
}

async function tryCase({ db, client }: Place, web: Web, { tables, limit, history, runs }: Case): Promise<void> {
  await db.query(`drop schema if exists cases cascade; create schema cases; ${tables.map(createTable).join("\n")}`);
  await db.query("delete from etl.feeds; delete from etl.changes");
  const definitions = "select indexdef from pg_indexes where schemaname = 'cases' order by indexname";
  const indexes = await db.query(definitions);
  const each = <T>(make: (table: Table) => T) => Object.fromEntries(tables.map((table) => [table.name, make(table)]));
  const world: World = {
    ...{ rows: each(() => []), rejects: each(() => []), waiting: each(() => []), absences: each(() => none) },
    ...{ files: {}, loaded: {} },
  };
  for (const { name, nulls, dateOrder, contents, absent, absentLimit } of tables) {
    const kept = history ? "1 day" : null;
    const feed = { url: `${web.url}/${name}`, target: `cases.${name}`, reject_limit: limit, history: kept };
    await db.feed(name, { ...feed, nulls, date_order: dateOrder, contents, absent, absent_limit: absentLimit });
  }
  let isWhole = true;
  const run = async (feeds: string[], force: boolean) => {
    isWhole = await tryRun(db, client, tables, feeds, limit, force, world);
  };
  for (const { files, feeds, force, approve } of runs) {
    for (const { name } of tables.filter(() => approve)) {
      await db.query("select etl.approve($1)", [name]);
      const { withheld } = world.absences[name];
      if (withheld) world.absences[name] = { ...world.absences[name], approved: withheld.rows };
    }
    for (const [name, feed] of Object.entries(files)) {
      world.files[name] = feed;
      web.files[`/${name}`] = bytesOf(feed);
      await db.query("update etl.feeds set format = $2 where name = $1 and format is distinct from $2", [
        name,
        feed.format,
      ]);
    }
    await run(feeds.filter((name) => world.files[name]), force);
  }
  // Whatever the runs were, after one with all files the next finds nothing to do; half of them look row by row.
  const all = Object.keys(world.files);
  const { feeds } = runs[runs.length - 1];
  if (!all.every((name) => feeds.includes(name))) await run(all, false);
  // A value that keys refer to is given up in the run after that in which its children go, and taken in the one after
  // it was given up; and what follows a key, its feed undoes.
  const moves = ([, column, sqlstate]: Reject) => sqlstate === "23505" || (sqlstate === "23503" && column === "u");
  const isSettled = () =>
    !Object.values(world.rejects).flat().some(moves) &&
    Object.values(world.absences).every(({ kept }) => kept.size === 0) &&
    !tables.some(({ foreignKeys }) => foreignKeys.some(({ onUpdate }) => /cascade|null/.test(onUpdate)));
  for (let again = !isSettled(); again;) {
    const state = () =>
      JSON.stringify([world.rows, world.rejects, Object.values(world.absences).map(({ kept }) => [...kept])]);
    const before = state();
    await run(all, true);
    again = state() !== before;
  }
  // What a reject lacks beside its first fault, as a parent, is looked for again where its file is read again.
  const isForced = runs.length % 2 === 1;
  if (isForced && tables.some(({ name, foreignKeys }) => foreignKeys.length > 0 && world.rejects[name].length > 0)) {
    await run(all, true);
  }
  // A feed that has failed, forced, and whose file is as it was loaded before, is well again: that is written.
  if (!isForced && !isWhole) await run(all, false);
  const before = await snapshot(db);
  await run(all, isForced);
  if (isWhole) assert.deepEqual(await snapshot(db), before, "nothing changed, and something was written");
  assert.deepEqual(await db.query(definitions), indexes);
}

/** One run of loader and model; returns whether all its feeds were loaded. */
async function tryRun(
  db: Database,
  client: Client,
  tables: Table[],
  feeds: string[],
  limit: number,
  force: boolean,
  world: World,
): Promise<boolean> {
  if (feeds.length === 0) return true;
  const earlier = await rowsOf(db, tables);
  const { rows, waiting } = world;
  const report = await loadOver(client, { feeds, force, patience: impatient });
  let whole = true;
  for (const table of tables.filter(({ name }) => feeds.includes(name))) {
    const { file, body } = world.files[table.name];
    const said = report.feeds.find(({ feed }) => feed === table.name)!;
    const isNew = force || world.loaded[table.name] !== body || isPermitted(world.absences[table.name]);
    const outcome = table.contents === "changes"
      ? tryChanges(table, tables, isNew, limit, world)
      : tryAll(table, tables, file, isNew, limit, world);
    if (!outcome) {
      whole = false;
      assert.match(said.error?.code ?? "none", /^(columns|too_many_rejects)$/, `${table.name} should be refused`);
      continue;
    }
    assert.equal(said.error, null, table.name);
    assert.deepEqual(countsOf(said), outcome.counts, `counts of ${table.name}`);
    assert.deepEqual(
      [said.deleted, said.withheld?.rows ?? 0],
      outcome.removed,
      `deleted and withheld of ${table.name}`,
    );
    world.loaded[table.name] = body;
  }
  for (const table of tables) await compare(db, table, world);
  const waitAgain = Object.fromEntries(
    tables.map((table) => [
      table.name,
      world.waiting[table.name].length + leftFor(table, waiting[table.name], rows[table.name], world).length,
    ]),
  );
  await tryUndo(db, tables, report.run, earlier, waitAgain);
  return whole;
}

const rowsOf = (db: Database, tables: Table[]) =>
  Promise.all(tables.map(({ name }) => db.query(`select t::text as row from cases.${name} t order by 1`)));

/** What waited and has left, of rows that the run changed. */
function leftFor(table: Table, waiting: Waiting[], rows: Row[], world: World): Waiting[] {
  const left = world.waiting[table.name].map(textOf);
  const byKey = (rows: Row[]) => new Map(rows.map((row) => [keyOf(table, row), JSON.stringify(row)]));
  const before = byKey(rows), after = byKey(world.rows[table.name]);
  return waiting.filter((one) => {
    const place = left.indexOf(textOf(one)), key = keyOfRecord(table, one.record);
    if (place >= 0) left.splice(place, 1);
    return place < 0 && key !== null && before.get(key) !== after.get(key);
  });
}

const textOf = ({ text, asJson }: Waiting) => JSON.stringify([text, asJson]);

/** Takes a run back, children first, looks, and lets it be. */
async function tryUndo(
  db: Database,
  tables: Table[],
  run: string,
  earlier: unknown,
  waitAgain: Record<string, number>,
): Promise<void> {
  await db.query("begin");
  const kept: { reason: string }[] = [];
  let restored, waits: Record<string, unknown>[];
  try {
    for (const { name } of tables.toReversed()) {
      const said = await db.query("select outcome, reason, keys from etl.undo($1, $2)", [run, name]);
      kept.push(...said.filter(({ outcome }) => outcome === "kept"));
    }
    restored = await rowsOf(db, tables);
    waits = await db.query("select feed, count(*)::int as rejects from etl.rejects group by feed");
  } finally {
    await db.query("rollback");
  }
  // What a key changes by itself, beside the run, no run has kept.
  if (tables.some(({ foreignKeys }) => foreignKeys.some(({ onUpdate }) => /cascade|null/.test(onUpdate)))) return;
  const [{ history }] = await db.query("select bool_or(history is not null) as history from etl.feeds");
  if (!history) return;
  assert.deepEqual(kept, [], "nobody has changed anything since");
  assert.deepEqual(restored, earlier, "an undo brings back the rows of before");
  for (const { name } of tables.filter(({ contents }) => contents === "changes")) {
    const { rejects = 0 } = waits.find(({ feed }) => feed === name) ?? {};
    assert.equal(rejects, waitAgain[name], `what waited for rows of ${name} waits again`);
  }
}

interface Said {
  counts: number[];
  /** deleted, withheld */
  removed: number[];
}

const nothing: Said = { counts: [0, 0, 0, 0, 0, 0], removed: [0, 0] };

const isPermitted = ({ withheld, approved }: Absences) => approved !== null && approved >= (withheld?.rows ?? 0);
/** Whether there are rejects that depend on more than their record. */
const isOpen = (rejects: Reject[]) => rejects.some(([, , sqlstate]) => ["23503", "23505"].includes(sqlstate));

function tryAll(table: Table, tables: Table[], file: Feed["file"], isNew: boolean, limit: number, world: World) {
  const { name } = table, before = world.absences[name];
  if (!isNew && !isOpen(world.rejects[name]) && before.kept.size === 0) return nothing;
  const loaded = load(table, tables, file, world.rows, limit, before.marked);
  if (!loaded.counts) return null;
  const { rows, deleted, ...absences } = removeAbsent(table, tables, file, loaded, before);
  world.rows = rows;
  world.rejects = { ...world.rejects, [name]: loaded.rejects };
  world.absences = { ...world.absences, [name]: absences };
  return { counts: loaded.counts, removed: [deleted, table.absent === "keep" ? 0 : absences.withheld?.rows ?? 0] };
}

function tryChanges(table: Table, tables: Table[], isNew: boolean, limit: number, world: World): Said | null {
  const { name } = table, { file, texts } = world.files[name];
  if (!isNew && !isOpen(world.rejects[name])) return nothing;
  const loaded = loadChanges(table, tables, isNew ? file : null, texts, world.rows, limit, world.waiting[name]);
  if (!loaded.counts) return null;
  world.rows = loaded.rows;
  world.waiting = { ...world.waiting, [name]: loaded.waiting };
  const rejects = loaded.waiting.map(({ number, fault }): Reject => [number, ...fault]);
  world.rejects = { ...world.rejects, [name]: rejects };
  return { counts: loaded.counts, removed: [0, 0] };
}

async function compare(db: Database, table: Table, world: World): Promise<void> {
  const { name, columns, key, absent } = table;
  const found = await db.query(
    "select record_number::int, column_name, sqlstate, constraint_name from etl.rejects where feed = $1",
    [name],
  );
  const inOrder = (rejects: unknown[][]) => rejects.map((reject) => JSON.stringify(reject)).sort();
  const { kept, marked, withheld } = world.absences[name];
  const rejects = [
    ...world.rejects[name],
    ...[...kept.values()].map((constraint) => [null, only(key), "23503", constraint]),
  ];
  assert.deepEqual(inOrder(found.map((row) => Object.values(row))), inOrder(rejects), `rejects of ${name}`);
  const rows = await db.query(`select ${columns.map((column) => `${column.name}::text`)} from cases.${name}`);
  const lines = (rows: Row[]) => rows.map((row) => JSON.stringify(columns.map((column) => row[column.name]))).sort();
  assert.deepEqual(lines(rows), lines(world.rows[name]), `rows of ${name}`);
  const [state] = await db.query("select withheld::int from etl.feed_state where feed = $1", [name]);
  assert.equal(state?.withheld ?? 0, withheld?.rows ?? 0, `withheld of ${name}`);
  if (absent !== "mark") return;
  const ofMarked = await db.query(
    `select ${key.map((column) => `${column}::text`)} from cases.${name} where absent_since is not null`,
  );
  assert.deepEqual(ofMarked.map((row) => keyOf(table, row)).sort(), [...marked].sort(), `marked rows of ${name}`);
}

function show({ tables, limit, runs }: Case): string {
  const steps = runs.map(({ files, feeds, force, approve }, i) =>
    [
      `-- run ${i + 1}: ${feeds}${force ? ", forced" : ""}${approve ? ", approved" : ""}`,
      ...Object.entries(files).map(([name, { body }]) => `-- ${name}\n${body}`),
    ]
      .join("\n")
  );
  const feeds = tables.map(({ name, nulls, dateOrder, contents, absent, absentLimit }) =>
    `-- ${name}: nulls ${JSON.stringify(nulls)}, ${dateOrder}, ${contents}, ${absent} up to ${absentLimit}`
  );
  return [...tables.map(createTable), ...feeds, `-- reject_limit ${limit}`, ...steps].join("\n");
}
