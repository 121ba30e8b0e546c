/** A partner's file -> what its table and its feed should be. Nothing of it stays in the database. */
import { type Client, connect } from "../../database/connect.ts";
import { begin, end } from "../../database/transaction.ts";
import { asEtlError, EtlError } from "../../errors.ts";
import { allowance } from "../../limits.ts";
import { choose, type Name } from "./choose.ts";
import { findForeignKeys, findKey } from "./keys.ts";
import { columnNames } from "./names.ts";
import { inOptions, type Options } from "./options.ts";
import { profile } from "./profile.ts";
import { records as recordsOf } from "./sql.ts";
import { noObject, stage, type Staged } from "./stage.ts";
import { type Finding, markColumn, type Target } from "./write.ts";

export async function look(databaseUrl: string, options: Options): Promise<Finding> {
  await using client = await connect(databaseUrl);
  try {
    await begin(client, allowance.deadlineMs);
    return await find(client, options).finally(() => end(client, false));
  } catch (error) {
    const { code, message, hint, cause } = asEtlError(error, `Cannot look at ${options.draft.name}`);
    throw new EtlError(code, inOptions(message), hint && inOptions(hint), { cause });
  }
}

async function find(client: Client, options: Options): Promise<Finding> {
  const target = await freeTarget(client, options);
  const staged = await stage(client, options.draft);
  const { names: sources, asJson, records, draft } = staged;
  if (records === 0) throw nothingIn(staged);
  if (asJson && draft.decimal_comma) {
    throw new EtlError("setting", "JSON writes its numbers with a point", "Leave out --decimal-comma.");
  }
  const names = await namesIn(client, sources, options.said.get("absent") === "mark" ? [markColumn] : []);
  if (names.every(({ name }) => name === null)) throw withoutNames(staged);
  const facts = await profile(client, sources.length, asJson, draft.nulls);
  const columns = choose(staged, facts, names);
  const key = await findKey(client, columns, draft.name, records);
  const foreignKeys = await findForeignKeys(client, columns, draft.nulls);
  return { options, target, staged, columns, key, foreignKeys };
}

function nothingIn({ unread, asJson }: Staged): EtlError {
  const reasons = Object.entries(unread);
  if (reasons.length === 0) {
    return new EtlError("empty", "it has no records to look at", "Ask the partner for a file that has.");
  }
  const [[first]] = reasons;
  const all = reasons.reduce((sum, [, number]) => sum + number, 0);
  const [, hint] = ways.find(([pattern]) => pattern.test(first))!;
  const message = all === 1
    ? `its only record cannot be read: it ${first}`
    : `it has ${recordsOf(all)}, and none can be read: the first ${first}`;
  const where = asJson ? " --records says where in a document the records are." : "";
  return new EtlError("unreadable", message, hint + where);
}

/** Why a record cannot be read -> what to try. */
const ways: [reason: RegExp, hint: string][] = [
  [
    /fields? where the header/,
    "Try --skip for lines above the header, --delimiter, or --header 'A,B' where it has none.",
  ],
  [/quote/, "Try --quote, --escape or --delimiter, or ask the partner to mend the file."],
  [/UTF-8|NUL/, "Try --encoding."],
  [new RegExp(`^${noObject}`), "Ask the partner for an array of objects."],
  [/^/, "Try --format, or ask the partner to mend the file."],
];

function withoutNames({ asJson }: Staged): EtlError {
  const hint = asJson ? "Ask the partner for records with names." : "Try --header 'A,B', with a name for each column.";
  return new EtlError("columns", "none of its columns has a name of its own: they are blank, or there twice", hint);
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

async function namesIn(client: Client, sources: string[], others: string[]): Promise<Name[]> {
  const { rows } = await client.query("select name, quote_ident(name) as sql from unnest($1::text[]) name", [
    columnNames(sources, others),
  ]);
  return rows;
}
