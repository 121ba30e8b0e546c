/** A partner's file -> what its table and its feed should be. Nothing of it stays in the database. */
import { type Client, connect } from "../../database/connect.ts";
import { begin, end } from "../../database/transaction.ts";
import { asEtlError, EtlError } from "../../errors.ts";
import { allowance } from "../../limits.ts";
import { choose, type Name } from "./choose.ts";
import { findForeignKeys, findKey } from "./keys.ts";
import { columnNames } from "./names.ts";
import type { Options } from "./options.ts";
import { profile } from "./profile.ts";
import { stage, type Staged } from "./stage.ts";
import type { Finding, Target } from "./write.ts";

export async function look(databaseUrl: string, options: Options): Promise<Finding> {
  await using client = await connect(databaseUrl);
  try {
    await begin(client, allowance.deadlineMs);
    return await find(client, options).finally(() => end(client, false));
  } catch (error) {
    throw asEtlError(error, `Cannot look at ${options.draft.name}`);
  }
}

async function find(client: Client, options: Options): Promise<Finding> {
  const target = await freeTarget(client, options);
  const staged = await stage(client, options.draft);
  const { names: sources, asJson, records } = staged;
  if (records === 0) throw nothingIn(staged);
  const facts = await profile(client, sources.length, asJson, options.draft.nulls);
  const columns = choose(staged, facts, await namesIn(client, sources));
  const key = await findKey(client, columns, options.draft.name, records);
  const foreignKeys = await findForeignKeys(client, columns, staged.draft.nulls);
  return { options, target, staged, columns, key, foreignKeys };
}

function nothingIn({ unread }: Staged): EtlError {
  const [reason] = Object.keys(unread);
  if (!reason) return new EtlError("empty", "it has no records to look at", "Ask the partner for a file that has.");
  const hint = "Say how it is written: deno task feed --help lists the options.";
  return new EtlError("unreadable", `none of its records can be read; the first ${reason}`, hint);
}

/** The table that is to be made, where there is none of its name, nor a feed. */
async function freeTarget(client: Client, { target, draft }: Options): Promise<Target> {
  const { rows: [{ schema, table, name, taken }] } = await client.query(
    `select
      quote_ident(p.parts[1]) as schema, quote_ident(p.parts[2]) as table, p.parts[2] as name,
      to_regclass($1) is not null as taken
    from (select parse_ident($1) as parts) p`,
    [target],
  ).catch((cause) => {
    const hint = "Say it as SQL has it, as in --target public.payouts or --target 'public.\"Pay outs\"'.";
    throw new EtlError("usage", `${target} is no name of a table`, hint, { cause });
  });
  if (!table) {
    throw new EtlError("usage", `${target} names no schema`, "Say it in full, as in --target public.payouts.");
  }
  if (taken) throw new EtlError("usage", `there is a table ${target}`, "Name another by --target.");
  const { rows: [{ feeds }] } = await client.query("select to_regclass('etl.feeds') is not null as feeds");
  if (feeds) {
    const { rowCount } = await client.query("select from etl.feeds where name = $1", [draft.name]);
    if (rowCount) {
      throw new EtlError("usage", "there is a feed of that name", "Name another by --name, or load it: deno task etl.");
    }
  }
  return { schema, table, name };
}

async function namesIn(client: Client, sources: string[]): Promise<Name[]> {
  const { rows } = await client.query("select name, quote_ident(name) as sql from unnest($1::text[]) name", [
    columnNames(sources),
  ]);
  return rows;
}
