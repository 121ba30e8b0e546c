/** The file as text in temp tables: pg_temp.feed_cells has a row for each record, and in it c1, c2, … for each column. */
import { copyRows } from "../../database/copy.ts";
import type { Client } from "../../database/connect.ts";
import { vaultSecrets } from "../../database/statements.ts";
import { type Asking, asking, secretsFrom, secretsIn } from "../../fetch/asking.ts";
import { type Download, openDownload } from "../../fetch/download.ts";
import { nextLink } from "../../fetch/link.ts";
import { Pages } from "../../fetch/pages.ts";
import { openRows, openText, type Rows } from "../../format/rows.ts";
import { EtlError } from "../../errors.ts";
import { mostColumns, patient } from "../../limits.ts";
import { encodingOf, enough, headless, linesOf, linkIn, recordsOf } from "./layout.ts";
import type { Draft } from "./options.ts";
import { fill, identifier, quoted, records } from "./sql.ts";

/** Records after which no more are read. */
const most = 200_000;

/** Why a record of JSON is none. */
export const noObject = "is no JSON object with distinct keys";

/** Column of etl.feeds -> why it says what the draft says. */
export type Found = Map<string, string>;

export interface Staged {
  /** The draft, with what was found out. */
  draft: Draft;
  found: Found;
  /** The names in the file, in its order. */
  names: string[];
  asJson: boolean;
  /** Records that could be read. */
  records: number;
  /** Whether there are more, which were not. */
  isPart: boolean;
  /** Why others could not be, the first one's reason first -> how many. */
  unread: Record<string, number>;
}

interface OtherEncoding {
  encoding: string;
  why: string;
}

/** Asks for the file once more where it is in another encoding than was thought. */
export async function stage(client: Client, draft: Draft): Promise<Staged> {
  const staged = await stageOnce(client, draft, new Map());
  if ("draft" in staged) return staged;
  const { encoding, why } = staged;
  return await stageOnce(client, { ...draft, encoding }, new Map([["encoding", why]])) as Staged;
}

async function stageOnce(client: Client, said: Draft, before: Found): Promise<Staged | OtherEncoding> {
  const asked = await askingOf(client, said);
  const open = (page: Asking) => openDownload(page, { etag: null, last_modified: null });
  await using download = await open(asked);
  const textOf = (page: Download) => openText(page.body, said.encoding ?? "utf-8", patient, page);
  const text = await textOf(download);
  const first = await text.peek((first) => first.length >= enough);
  const encoding = said.encoding || text.readAs ? null : encodingOf(first);
  if (encoding) return { encoding, why: "the file is not UTF-8, and looks like this" };
  const { draft, found, header } = layOut(said, first, before);
  const further = said.next === null ? furtherPage(draft, first, download, asked) : null;
  if (further) {
    draft.next = further;
    found.set("next", `the ${further === "link" ? "server" : "document"} links to a further page`);
  }
  await using pages = new Pages(draft.next, asked, download, patient.pages, open);
  const textAfter = async (link: string | null) => {
    const page = await pages.after(link);
    return page && await textOf(page);
  };
  const rows = await openRows(text, { ...draft, header, skip: draft.skip ?? 0 }, textAfter);
  const part = new Part(rows);
  const table = rows.header ? "feed_cells" : "feed_records";
  const columns = rows.header?.map((_, i) => `c${i + 1}`) ?? ["record"];
  await client.query(`create temp table ${table} (${columns.map((name) => `${name} text`)}) on commit drop`);
  await copyRows(client, copyInto(table, rows, draft), part.chunks());
  const unread = await takeUnread(client, table, columns[0], rows);
  const other = said.encoding ? null : otherEncoding(unread);
  if (other) {
    await client.query(`drop table pg_temp.${table}`);
    return other;
  }
  const names = rows.header ?? await spreadJson(client, unread);
  const { rows: [{ count }] } = await client.query("select count(*) from pg_temp.feed_cells");
  return { draft, found, names, asJson: !rows.header, records: count, isPart: part.hasMore, unread };
}

/** Where the link to a further page is, which nobody has told of; null where there is none that a run may follow. */
function furtherPage({ records }: Draft, first: Uint8Array, { link, url }: Download, asked: Asking): string | null {
  const mayFollow = (to: string) => URL.parse(to, url)?.origin === asked.url.origin;
  try {
    const next = link && nextLink(link);
    if (next && mayFollow(next)) return "link";
  } catch {
    // Nobody has asked for its links.
  }
  const inside = records ? linkIn(first) : null;
  return inside && mayFollow(inside.link) ? inside.pointer : null;
}

/** What a run asks. Without the loader's functions there are no dates in the URL, and the secrets are the environment's. */
async function askingOf(client: Client, { url, headers, ...draft }: Draft): Promise<Asking> {
  const { rows: [{ installed }] } = await client.query(
    `select to_regprocedure('etl.address(etl.feeds, date)') is not null
      and to_regprocedure('etl.vault_secrets(text[])') is not null as installed`,
  );
  const feed = JSON.stringify({ url, ...draft });
  const address = "select etl.address(jsonb_populate_record(null::etl.feeds, $1)) as address";
  const source = { headers, address: installed ? (await client.query(address, [feed])).rows[0].address : url };
  const names = secretsIn(source);
  return asking(source, secretsFrom(installed && names.length > 0 ? await vaultSecrets(client, names) : {}, names));
}

/** The draft with what the first bytes tell. `header`: what the columns are called until somebody says it. */
function layOut(
  said: Draft,
  first: Uint8Array,
  before: Found,
): Pick<Staged, "draft" | "found"> & { header: string[] | null } {
  const isSaid = said.header !== null;
  const draft = { ...said, header: said.header?.length === 0 ? null : said.header }, found = new Map(before);
  const { header } = draft;
  const bytes = first.subarray(0, enough);
  const text = new TextDecoder().decode(bytes, { stream: true });
  const isJson = said.format ? said.format !== "csv" : !said.skip && !said.header && /^\s*[[{]/.test(text);
  if (isJson && said.records === null && said.format !== "ndjson") {
    const [records, ...others] = recordsOf(bytes);
    if (records === undefined) return { draft, found, header };
    draft.records = records;
    const why = records === "" ? "the document is one object, and so one record" : "where the document has objects";
    found.set("records", [why, ...others].join(", or "));
  }
  if (isJson) return { draft, found, header };
  const isWhole = first.length <= enough;
  const lines = linesOf(text, isWhole, said);
  if (lines && said.delimiter === null && lines.delimiter !== ",") {
    draft.delimiter = lines.delimiter;
    found.set("delimiter", `splits the lines into ${lines.fields} fields`);
  }
  if (lines && said.skip === null && lines.skip > 0) {
    draft.skip = lines.skip;
    found.set("skip", `only what follows has ${lines.fields} fields a line`);
  }
  const dialect = { ...said, delimiter: lines?.delimiter ?? said.delimiter ?? "," };
  const fields = isSaid ? null : headless(text, isWhole, draft.skip ?? 0, dialect);
  if (fields === null) return { draft, found, header };
  found.set(
    "header",
    `where it should stand is what looks like a record; --header 'NAME,…' names the ${fields} columns, --header '' takes that line for their names`,
  );
  return { draft, found, header: Array.from({ length: fields }, (_, i) => `column_${i + 1}`) };
}

function copyInto(table: string, { delimiter }: Rows, { quote }: Draft): string {
  const style = delimiter === null
    ? "delimiter e'\\x02', quote e'\\x01'"
    : `delimiter ${quoted(delimiter)}, quote ${quoted(quote)}`;
  return `copy pg_temp.${table} from stdin (format csv, ${style})`;
}

/** The encoding that broken records look like. */
function otherEncoding(unread: Staged["unread"]): OtherEncoding | null {
  for (const [reason, number] of Object.entries(unread)) {
    const [, encoding] = /looks like ([\w-]+),/.exec(reason) ?? [];
    if (encoding) return { encoding, why: `not UTF-8, and looks like this: ${records(number)}` };
  }
  return null;
}

/** The rows of a file up to the batch that brings them above `most`. */
class Part {
  hasMore = false;
  constructor(private readonly rows: Rows) {}

  async *chunks(): AsyncGenerator<Uint8Array> {
    let taken = 0;
    for await (const chunk of this.rows.chunks) {
      this.hasMore = taken >= most;
      if (this.hasMore) return;
      yield chunk;
      taken = this.rows.records.count;
    }
  }
}

/** Takes the records away that could not be split, and counts them by the reason that each brings, that of the first one first. */
async function takeUnread(client: Client, table: string, cell: string, rows: Rows): Promise<Record<string, number>> {
  const { broken, sentinel } = rows.records;
  if (broken === 0) return {};
  const { rows: reasons } = await client.query(fill(
    `with gone as (delete from pg_temp.{table} where starts_with({cell}, {sentinel}) returning {cell}, ctid as place)
    select split_part(substr({cell}, length({sentinel}) + 6), e'\\n', 1) as reason, count(*) as records
    from gone group by 1 order by min(place)`,
    { table, cell, sentinel: quoted(sentinel) },
  ));
  return Object.fromEntries(reasons.map(({ reason, records }) => [reason, records]));
}

/** A column for each key of the records. Returns the keys; adds to what could not be read. */
async function spreadJson(client: Client, unread: Record<string, number>): Promise<string[]> {
  const { rowCount } = await client.query(
    `delete from pg_temp.feed_records
    where not record is json object with unique keys or not pg_input_is_valid(record, 'jsonb')`,
  );
  if (rowCount) unread[noObject] = rowCount;
  const { rows } = await client.query(
    `select k.key from pg_temp.feed_records r, json_object_keys(r.record::json) with ordinality k (key, place)
    group by k.key order by min(r.ctid), min(k.place)`,
  );
  const keys: string[] = rows.map(({ key }) => key);
  if (keys.length > mostColumns) {
    const message = `its records have ${keys.length} names; Postgres takes ${mostColumns} columns`;
    throw new EtlError(
      "columns",
      message,
      "Ask the partner for records whose names are not values, such as days or ids.",
    );
  }
  // Postgres would cut the name of a column, and so not find the key; and it has no empty one.
  const isNone = (key: string) => key === "" || new TextEncoder().encode(key).length > 63;
  const short = keys.filter((key) => !isNone(key)).map(identifier);
  const cells = keys.map((key, i) => {
    const cell = isNone(key) ? `r.record::json -> ${quoted(key)}` : `x.${identifier(key)}`;
    return `nullif((${cell})::text, 'null') as c${i + 1}`;
  });
  const spread = short.length > 0 ? `, json_to_record(r.record::json) x (${short.map((name) => `${name} json`)})` : "";
  await client.query(
    `create temp table feed_cells on commit drop as select ${cells} from pg_temp.feed_records r${spread}`,
  );
  return keys;
}
