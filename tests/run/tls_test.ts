/** TLS to a real Postgres with a private authority: who is trusted, and what each sslmode means, on both Denos. */
import assert from "node:assert/strict";
import { supabaseRoot2021 } from "../../lib/database/authorities.ts";
import { bundle } from "../../lib/local/bundle.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { denoOfThePlatform } from "../deploy/deployed.ts";
import { certificatesFor, keepCertificates, type Kind } from "../support/certificates.ts";
import { ended, start } from "../support/command.ts";
import type { Attempt, Outcome } from "../support/connecting.ts";
import { database } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { serveSamples } from "../support/samples.ts";

const elsewhere = "db.example.org";
const other = "other.example.org";
const supabase = "db.abcdefghijklmnopqrst.supabase.co";

const denos = { "Deno 2.1.4": await denoOfThePlatform(), "this Deno": Deno.execPath() };
type Name = keyof typeof denos;

/** The loader as it is deployed, told to connect. */
async function connecting(): Promise<string> {
  await using directory = await temporary();
  await bundle("tests/support/connecting.ts", `${directory.path}/connecting.ts`);
  return await Deno.readTextFile(`${directory.path}/connecting.ts`);
}
const ours = await connecting();

/** What becomes of attempts in another Deno, which trusts `authority`, a file, besides its own. */
async function connectIn(deno: string, attempts: Attempt[], authority = "", loader = ours): Promise<Outcome[]> {
  await using directory = await temporary();
  await Deno.writeTextFile(`${directory.path}/connecting.ts`, loader);
  const child = start(deno, ["run", "--no-config", "-A", "--quiet", `${directory.path}/connecting.ts`], {
    cwd: directory.path,
    env: { DENO_NO_UPDATE_CHECK: "1", ...(authority && { DENO_CERT: authority }) },
    stdin: "piped",
  });
  const input = child.stdin.getWriter();
  await input.write(new TextEncoder().encode(JSON.stringify(attempts)));
  await input.close();
  const { out, err } = await ended(child);
  assert.ok(out, err);
  return JSON.parse(out);
}

function at(base: string, host: string, parameters: Record<string, string | undefined> = {}): string {
  const url = new URL(base);
  url.hostname = host;
  const said = Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined);
  url.search = new URLSearchParams(said).toString();
  return url.href;
}

/** A server whose certificate is made out to `elsewhere` and `supabase`. */
async function serverWithTls(home: string, kind?: Kind) {
  const certificates = await keepCertificates(home, [elsewhere, supabase], kind);
  return { ...await startPostgres(home, [...certificates.settings, "fsync=off"]), ...certificates };
}

const faults: Record<string, RegExp> = {
  authority: /^Cannot connect to the database: its certificate is signed by an authority that is not known here$/,
  name: /^Cannot connect to the database: its certificate is made out to another host$/,
  expired: /^Cannot connect to the database: its certificate has expired$/,
  version: /^Cannot connect to the database: it shows a certificate of X\.509 version 1, which is not trusted$/,
  own: /^Cannot connect to the database: its certificate is an authority's own/,
  none: /^Cannot connect to the database: the server offers no TLS$/,
};

/** `tls`, `plain`, or one of the faults above. */
function expect(outcome: Outcome, expected: string): void {
  if (expected === "tls" || expected === "plain") {
    return assert.deepEqual(outcome, { encrypted: expected === "tls" });
  }
  assert.equal(outcome.code, "tls", `${outcome.message}`);
  assert.match(outcome.message!, faults[expected]);
  assert.ok(outcome.hint);
}

interface Row extends Attempt {
  title: string;
  expected: string;
  hint?: RegExp;
}

async function check(t: Deno.TestContext, deno: Name, rows: Row[], authority?: string, loader?: string): Promise<void> {
  const outcomes = await connectIn(denos[deno], rows, authority, loader);
  for (const [i, { title, expected, hint }] of rows.entries()) {
    await t.step(`${deno}, ${title}: ${expected}`, () => {
      expect(outcomes[i], expected);
      if (hint) assert.match(outcomes[i].hint!, hint);
    });
  }
}

// What becomes of a connection to the host of the certificate, and to another, where its authority is
//             unknown                known by DENO_CERT   given by DATABASE_CA, or sslrootcert
const verifying = {
  "": ["authority", "authority", "tls", "name", "tls", "name"],
  "verify-full": ["authority", "authority", "tls", "name", "tls", "name"],
};
const plain = ["plain", "plain", "plain", "plain", "plain", "plain"];
const tls = ["tls", "tls", "tls", "tls", "tls", "tls"];
const matrix: Record<Name, Record<string, string[]>> = {
  "this Deno": {
    ...verifying,
    "verify-ca": ["authority", "authority", "tls", "name", "tls", "tls"],
    "disable": plain,
    "allow": tls,
    "prefer": tls,
    "require": tls,
    "no-verify": tls,
  },
  // It always verifies, the name too.
  "Deno 2.1.4": {
    ...verifying,
    "verify-ca": verifying["verify-full"],
    "disable": plain,
    "allow": verifying["verify-full"],
    "prefer": verifying["verify-full"],
    "require": verifying["verify-full"],
    "no-verify": verifying["verify-full"],
  },
};
const lenient = ["allow", "prefer", "require", "no-verify"];

Deno.test("each sslmode, with an authority that is unknown, known or given", async (t) => {
  await using home = await temporary();
  const server = await serverWithTls(home.path);
  try {
    const pem = await Deno.readTextFile(server.authority);
    for (const deno of Object.keys(denos) as Name[]) {
      const rows = (ways: Record<string, Omit<Attempt, "url"> & { file?: string }>, column: number): Row[] =>
        Object.entries(matrix[deno]).flatMap(([sslmode, cells]) =>
          Object.entries(ways).flatMap(([way, { file, ...attempt }]) =>
            [elsewhere, other].map((host, i) => ({
              ...attempt,
              title: `${way}, sslmode=${sslmode}, ${host}`,
              url: at(server.url, host, { sslmode: sslmode || undefined, sslrootcert: file }),
              expected: cells[column + i],
              ...(deno === "Deno 2.1.4" && column === 0 && lenient.includes(sslmode) &&
                { hint: /^The URL's sslmode asks for TLS without verification, which this runtime cannot do/ }),
            }))
          )
        );
      const given = { "given": { env: { DATABASE_CA: pem } }, "sslrootcert": { file: server.authority } };
      await check(t, deno, [...rows({ "unknown": {} }, 0), ...rows(given, 4)]);
      await check(t, deno, rows({ "known": {} }, 2), server.authority);

      const another = certificatesFor([elsewhere]).authority;
      const env = (DATABASE_CA: string) => ({ url: at(server.url, elsewhere), env: { DATABASE_CA } });
      await check(t, deno, [
        { title: "another is given", ...env(another), expected: "authority", hint: /secrets set DATABASE_CA=/ },
        { title: "two are given", ...env(another + pem), expected: "tls" },
        { title: "given without line breaks", ...env(pem.replaceAll("\n", "")), expected: "tls" },
        { title: "given with breaks spelled out", ...env(pem.replaceAll("\n", "\\n")), expected: "tls" },
        { title: "this machine", url: at(server.url, "127.0.0.1"), expected: "plain" },
      ]);
      const beside = { title: "known, beside another that is given", ...env(another), expected: "tls" };
      await check(t, deno, [beside], server.authority);
    }
  } finally {
    await server.stop();
  }
});

Deno.test("a host of Supabase's is verified always, by the authority that travels with the loader", async (t) => {
  await using home = await temporary();
  // As Supabase does it.
  const server = await serverWithTls(home.path, "by an intermediate");
  try {
    const pem = await Deno.readTextFile(server.authority);
    const url = (sslmode?: string, host = supabase) => at(server.url, host, { sslmode });
    const wrong = supabase.replace("db.", "aws-0.pooler.").replace(".co", ".com");
    for (const deno of Object.keys(denos) as Name[]) {
      const named = deno === "this Deno" ? "tls" : "name";
      await check(t, deno, [
        { title: "its own alone", url: url(), expected: "authority" },
        { title: "another given", url: url(), env: { DATABASE_CA: pem }, expected: "tls" },
      ]);
      await check(
        t,
        deno,
        [{ title: "its own, beside one that is known", url: url(), expected: "tls" }],
        server.authority,
      );

      // As if the authority of the tests were Supabase's.
      const trusting = ours.replace(supabaseRoot2021.trim(), () => pem.trim());
      assert.notEqual(trusting, ours);
      await check(
        t,
        deno,
        [
          ...["", ...lenient, "verify-ca", "verify-full"].map((sslmode) => ({
            title: `shipped, sslmode=${sslmode}`,
            url: url(sslmode || undefined),
            expected: "tls",
          })),
          { title: "shipped, sslmode=disable", url: url("disable"), expected: "plain" },
          { title: "shipped, of another host", url: url(undefined, wrong), expected: "name" },
          { title: "shipped, of another host, sslmode=require", url: url("require", wrong), expected: named },
          { title: "shipped, a host elsewhere", url: url(undefined, elsewhere), expected: "authority" },
        ],
        "",
        trusting,
      );
    }
  } finally {
    await server.stop();
  }
});

for (const kind of ["expired", "version 1", "forged", "by a forged intermediate"] as const) {
  Deno.test(`a certificate that is ${kind} is refused, its authority given or known`, async (t) => {
    await using home = await temporary();
    const server = await serverWithTls(home.path, kind);
    try {
      const given = { DATABASE_CA: await Deno.readTextFile(server.authority) };
      for (const deno of Object.keys(denos) as Name[]) {
        const ofPlatform = kind === "expired" ? "expired" : "version";
        const expected = deno === "this Deno" && kind === "by a forged intermediate" ? "authority" : ofPlatform;
        const lenient = deno === "this Deno" ? "tls" : expected;
        const rows = (way: string, modes: Record<string, string>, env?: Record<string, string>): Row[] =>
          Object.entries(modes).map(([sslmode, expected]) => ({
            title: `${way}, sslmode=${sslmode}`,
            url: at(server.url, elsewhere, { sslmode: sslmode || undefined }),
            env,
            expected,
          }));
        const verifying = { "": expected, "verify-full": expected, "verify-ca": expected };
        await check(t, deno, rows("given", { ...verifying, "require": expected, "no-verify": lenient }, given));
        await check(t, deno, rows("known", { ...verifying, "require": lenient }), server.authority);
      }
    } finally {
      await server.stop();
    }
  });
}

Deno.test("a certificate that signs itself", async (t) => {
  await using home = await temporary();
  const server = await serverWithTls(home.path, "an authority's own");
  try {
    const given = { DATABASE_CA: await Deno.readTextFile(server.authority) };
    const url = at(server.url, elsewhere);
    for (const deno of Object.keys(denos) as Name[]) {
      const [unknown, known] = deno === "this Deno" ? ["authority", "tls"] : ["own", "own"];
      await check(t, deno, [
        { title: "unknown", url, expected: unknown },
        { title: "given", url, env: given, expected: known },
      ]);
    }
  } finally {
    await server.stop();
  }
});

Deno.test("a server without TLS", async (t) => {
  await using server = await database("postgres");
  for (const deno of Object.keys(denos) as Name[]) {
    const row = (sslmode: string | undefined, expected: string, host = elsewhere) => ({
      title: `${host}, sslmode=${sslmode ?? ""}`,
      url: at(server.url, host, { sslmode }),
      expected,
    });
    await check(t, deno, [
      ...[undefined, "disable", "allow", "prefer"].map((sslmode) => row(sslmode, "plain")),
      ...["require", "no-verify", "verify-ca", "verify-full"].map((sslmode) => row(sslmode, "none")),
      row(undefined, "none", supabase),
      row("disable", "plain", supabase),
    ]);
  }
});

Deno.test("a run by way of TLS, and a connection that is lost", async (t) => {
  await using home = await temporary();
  const server = await serverWithTls(home.path);
  try {
    await migrate(server.url);
    await using web = serveSamples();
    await using loader = await database("postgres", server);
    await loader.pointAt(web.url);
    const attempt = { url: at(server.url, elsewhere), env: { DATABASE_CA: await Deno.readTextFile(server.authority) } };
    const lose = "select pg_terminate_backend(pg_backend_pid()), pg_sleep(60)";
    let expected = "changed";
    for (const [name, deno] of Object.entries(denos)) {
      const [run, lost] = await connectIn(deno, [{ ...attempt, sql: "load" }, { ...attempt, sql: lose }]);
      await t.step(`${name}: three feeds`, () => assert.deepEqual(run, { status: expected }));
      await t.step(`${name}: it ends what waits for it`, () => {
        assert.match(`${lost.code} ${lost.message}`, /57P01|terminated/);
      });
      expected = "unchanged";
    }
  } finally {
    await server.stop();
  }
});
