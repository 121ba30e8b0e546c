/** What is decided of TLS, by host, sslmode and authorities, without a server. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { supabaseRoot2021 } from "../../lib/database/authorities.ts";
import { certificatesIn } from "../../lib/database/certificates.ts";
import { targetOf } from "../../lib/database/target.ts";
import { waysTo } from "../../lib/database/tls.ts";
import { EtlError } from "../../lib/errors.ts";
import { certificatesFor } from "../support/certificates.ts";
import { temporary } from "../support/directories.ts";

const { authority: given } = certificatesFor(["db.example.org"]);

/** The ways in short: what is verified, and by which authorities in place of the usual ones. */
function inShort(host: string, sslmode?: string, authorities?: string[]): string {
  const names = new Map([[supabaseRoot2021, "supabase"], [given, "given"]]);
  return waysTo({ host, sslmode, authorities }).map((way) =>
    way === "plain" ? way : [way.verify, ...way.authorities.map((pem) => names.get(pem))].join("+")
  ).join(", ");
}

Deno.test("the ways to connect, by host, sslmode and authorities", async (t) => {
  const modes = [undefined, "disable", "allow", "prefer", "require", "no-verify", "verify-ca", "verify-full"];
  const unix = Array(8).fill("plain");
  const table: Record<string, [hosts: string[], authorities: string[], ways: string[]]> = {
    "another machine": [
      ["db.example.org", "192.0.2.1", "supabase.co", "db.supabase.co.example.org", "notsupabase.com"],
      [],
      [
        ...["full, plain", "plain", "nothing, plain", "nothing, plain"],
        ...["nothing", "nothing", "full", "full"],
      ],
    ],
    "another machine, an authority given": [["db.example.org", "2001:db8::1"], [given], [
      ...["full+given, full, plain", "plain", "nothing+given, plain", "nothing+given, plain"],
      ...["authority+given, full", "nothing+given", "authority+given, full", "full+given, full"],
    ]],
    "this machine": [["localhost", "127.0.0.1", "127.1.2.3", "::1", ""], [], [
      ...["plain", "plain", "nothing, plain", "nothing, plain"],
      ...["nothing", "nothing", "full", "full"],
    ]],
    "Supabase": [
      ["db.abc.supabase.co", "aws-0-eu-west-1.pooler.supabase.com", "DB.abc.Supabase.CO", "db.abc.supabase.co."],
      [],
      [
        ...["full+supabase, full", "plain", "nothing+supabase, plain", "nothing+supabase, plain"],
        ...["authority+supabase, full", "nothing+supabase", "authority+supabase, full", "full+supabase, full"],
      ],
    ],
    "Supabase, an authority given": [["db.abc.supabase.co"], [given], [
      ...["full+supabase+given, full", "plain", "nothing+supabase+given, plain", "nothing+supabase+given, plain"],
      ...["authority+supabase+given, full", "nothing+supabase+given", "authority+supabase+given, full"],
      "full+supabase+given, full",
    ]],
    "a socket": [["/run/postgresql", "%2Frun%2Fpostgresql"], [given], unix],
  };
  for (const [name, [hosts, authorities, ways]] of Object.entries(table)) {
    for (const host of hosts) {
      await t.step(`${name}: ${host}`, () => {
        assert.deepEqual(modes.map((sslmode) => inShort(host, sslmode, authorities)), ways);
      });
    }
  }
  await t.step("no other sslmode", () => {
    assert.throws(() => waysTo({ host: "db.example.org", sslmode: "required" }), { code: "database_url" });
  });
});

Deno.test("Supabase's root is the one that it publishes", () => {
  const { fingerprint256, subject, validTo } = new X509Certificate(supabaseRoot2021);
  const published = "80:70:25:AD:50:D4:ED:21:9D:2C:9C:7D:29:9C:00:4F:82:4E:B0:0C:F7:F6:5A:FE:F6:07:D0:7B:72:E6:CA:FA";
  assert.equal(fingerprint256, published);
  assert.match(subject, /CN=Supabase Root 2021 CA/);
  assert.equal(new Date(validTo).toISOString(), "2031-04-26T10:56:53.000Z");
});

Deno.test("pg is left what is not about TLS, letter by letter", async (t) => {
  const urls: [url: string, sslmode: string | undefined, forPg: string][] = [
    ["postgres://u:p@h/d", undefined, "postgres://u:p@h/d"],
    ["postgres://u:p@h/d?sslmode=require", "require", "postgres://u:p@h/d"],
    ["postgres://u:%zz ä@h/d?a=1&sslmode=prefer&b=%20", "prefer", "postgres://u:%zz ä@h/d?a=1&b=%20"],
    ["postgres://u@h/d?ssl%6dode=disable&uselibpqcompat=true", "disable", "postgres://u@h/d"],
    ["postgres://u@h/d?ssl=true&options=-c%20a%3D1", "verify-full", "postgres://u@h/d?options=-c%20a%3D1"],
    ["postgres://u@h/d?sslmode=", undefined, "postgres://u@h/d"],
    ["postgres://u@h/d?ssl=0", "disable", "postgres://u@h/d"],
    ["postgres://u@h/d?ssl=no-verify", "no-verify", "postgres://u@h/d"],
    ["postgres://u@h/d?sslrootcert=system", undefined, "postgres://u@h/d"],
    ["postgres://u@h/d?sslnegotiation=direct", undefined, "postgres://u@h/d"],
  ];
  for (const [url, sslmode, forPg] of urls) {
    await t.step(url, async () => {
      const target = await targetOf(url);
      assert.deepEqual([target.sslmode, target.url, target.authorities], [sslmode, forPg, []]);
    });
  }
  await t.step("the host of the query, and of brackets", async () => {
    assert.equal((await targetOf("postgres://u@h/d?host=db.abc.supabase.co")).host, "db.abc.supabase.co");
    assert.equal((await targetOf("postgres://u@[::1]/d")).host, "::1");
  });
  await t.step("the files that it names", async () => {
    await using directory = await temporary();
    const path = `${directory.path}/file.pem`;
    await Deno.writeTextFile(path, given);
    const { authorities, own } = await targetOf(`postgres://u@h/d?sslrootcert=${path}&sslcert=${path}&sslkey=${path}`);
    assert.deepEqual([authorities, own], [[given.replaceAll("\r", "")], { cert: given, key: given }]);
    await assert.rejects(targetOf(`postgres://u@h/d?sslrootcert=${path}.none`), { code: "database_ca" });
  });
});

Deno.test("a DATABASE_CA that is no certificate is refused, and not shown", async (t) => {
  const texts = {
    "a path": "/etc/ssl/s3cret.pem",
    "a key": "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----",
    "a damaged certificate": "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----",
    "no base64": "-----BEGIN CERTIFICATE-----\ns3cret!\n-----END CERTIFICATE-----",
    "one that is cut short": given.slice(0, 500),
    "a good one, then a bad one": `${given}-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----`,
  };
  for (const [name, text] of Object.entries(texts)) {
    await t.step(name, async () => {
      const error = await targetOf("postgres://u@h/d", text).then(() => null, (error) => error);
      assert.ok(error instanceof EtlError);
      assert.deepEqual([error.code, error.message], [
        "database_ca",
        "DATABASE_CA holds something else than certificates",
      ]);
      assert.doesNotMatch(`${error.message} ${error.hint} ${error.cause}`, /s3cret|czNjcmV0/);
    });
  }
  await t.step("an empty one is none", async () => {
    assert.deepEqual((await targetOf("postgres://u@h/d", " \n")).authorities, []);
  });
  await t.step("several", () => {
    assert.equal(certificatesIn(`of the first:\n${given}\nand of the second:\n${supabaseRoot2021}`, "it").length, 2);
  });
});
