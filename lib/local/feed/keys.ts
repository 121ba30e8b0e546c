/** The primary key by uniqueness, and foreign keys by inclusion. */
import type { Client } from "../../database/connect.ts";
import type { Column } from "./choose.ts";
import { columnNames } from "./names.ts";
import { count, fill, literal } from "./sql.ts";

/** Columns that may be a key, by how likely their names are one, then as the file has them. */
function candidates(columns: Column[], feed: string): Column[] {
  const own = new RegExp(`^${singular(columnNames([feed])[0]!)}_(id|uuid|key|code|no|number)$`);
  const ranks = [/^(id|uuid)$/, own, /(^|_)(id|uuid)$/, /(^|_)(key|code|no|number)$/];
  const rank = ({ name, type }: Column) => {
    const found = ranks.findIndex((pattern) => pattern.test(name));
    return found >= 0 ? found : ranks.length + Number(type === "date" || type === "timestamptz");
  };
  const types = ["text", "integer", "bigint", "uuid", "date", "timestamptz"];
  return columns.filter(({ type, isRequired }) => isRequired && types.includes(type)).sort((a, b) => rank(a) - rank(b));
}

/** The columns of the key; none where no column, and no two, are unique. */
export async function findKey(client: Client, columns: Column[], feed: string, records: number): Promise<Column[]> {
  const able = candidates(columns, feed);
  const one = able.find(({ distinct }) => distinct === records);
  return one ? [one] : await findPair(client, able, records);
}

/** What counts up within the other column comes before days and ids, and these before what merely is not there twice. */
const pairRanks = [
  /(^|_)(sequence|seq|line|position|index|no|nr|number|version)$/,
  /(^|_)(id|uuid|code|key|date|day|on|at|time|month|year)$/,
];
const mostCandidates = 14;

async function findPair(client: Client, able: Column[], records: number): Promise<Column[]> {
  const likely = able.slice(0, mostCandidates);
  const rank = ({ name }: Column) => [...pairRanks, /^/].findIndex((pattern) => pattern.test(name));
  const pairs = likely.flatMap((a, i) => likely.slice(i + 1).map((b) => [a, b]))
    .filter(([a, b]) => a.distinct * b.distinct >= records)
    .sort((one, other) => rank(one[0]) + rank(one[1]) - rank(other[0]) - rank(other[1]));
  if (pairs.length === 0) return [];
  const isUnique = pairs.map(([a, b]) => `count(distinct (c${a.place}, c${b.place})) = count(*)`);
  const { rows: [tried] } = await client.query({
    text: `select ${isUnique} from (select * from pg_temp.feed_cells limit 1000) c`,
    rowMode: "array",
  });
  for (const pair of pairs.filter((_, i) => tried[i])) {
    const cells = pair.map(({ place }) => `c${place}`).join(", ");
    const { rows: [{ unique }] } = await client.query(
      `select not exists (select from pg_temp.feed_cells group by ${cells} having count(*) > 1) as unique`,
    );
    if (unique) return pair.sort((a, b) => rank(b) - rank(a) || a.place - b.place);
  }
  return [];
}

/** A table with a primary key of one column. */
interface Parent {
  /** With its schema, as SQL. */
  table: string;
  name: string;
  key: string;
  keySql: string;
  type: string;
}

export interface ForeignKey {
  column: Column;
  parent: Parent;
}

/** Share of the records that must have their parent. */
const enough = 0.99;
/** Values that cannot all be in a table by chance, where no name tells that they belong there. */
const manyValues = 10;

/** The foreign keys; what speaks for or against each becomes evidence of its column. */
export async function findForeignKeys(client: Client, columns: Column[], nulls: string[]): Promise<ForeignKey[]> {
  const parents = await parentsIn(client);
  const keys: ForeignKey[] = [];
  for (const column of columns.filter(({ classes }) => classes.size > 0)) {
    const able = parents.filter((parent) => isOfKind(column, parent));
    const named = able.filter((parent) => isNamedFor(column.name, parent));
    const parent = await likeliest(client, column, named.length > 0 ? named : able, named.length > 0, nulls);
    if (parent) keys.push({ column, parent });
  }
  return keys;
}

async function parentsIn(client: Client): Promise<Parent[]> {
  const { rows } = await client.query(
    `select
      format('%I.%I', n.nspname, c.relname) as table, c.relname as name, a.attname as key,
      quote_ident(a.attname) as "keySql", format_type(a.atttypid, null) as type
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class c on c.oid = k.conrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1]
    where k.contype = 'p' and cardinality(k.conkey) = 1 and not c.relispartition and c.relpersistence <> 't'
      and pg_has_role(c.relowner, 'usage')
      and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'etl', 'supabase_migrations')
    order by n.nspname <> 'public', 1`,
  );
  return rows;
}

const integers = ["smallint", "integer", "bigint"];

/** Whether its values could be in that key. A key of text may hold what looks like numbers. */
function isOfKind({ name, type }: Column, parent: Parent): boolean {
  if (integers.includes(parent.type)) return integers.includes(type);
  if (parent.type === "text" || parent.type === "character varying") {
    return type === "text" || (integers.includes(type) && isNamedFor(name, parent));
  }
  return parent.type === "uuid" && type === "uuid";
}

/** Whether driver_id, or first_driver_id, is named for the table drivers, or for its key driver_id. */
function isNamedFor(column: string, { name, key }: Parent): boolean {
  const names = [singular(name), `${singular(name)}_${key}`, `${name}_${key}`, `${singular(name)}_id`];
  // A key called code is called as many a column is.
  if (key.includes("_")) names.push(key);
  return names.some((name) => column === name || column.endsWith(`_${name}`));
}

function singular(name: string): string {
  return name.replace(/ies$/, "y").replace(/(ss|sh|ch|x)es$/, "$1").replace(/(?<!s)s$/, "");
}

async function likeliest(
  client: Client,
  column: Column,
  able: Parent[],
  isNamed: boolean,
  nulls: string[],
): Promise<Parent | null> {
  const { evidence, distinct, type, name } = column;
  // The first numbers are in any table that counts its rows.
  const maybe = isNamed ||
    (distinct >= manyValues && (!integers.includes(type) || /(^|_)id$/.test(name)) && name !== "id");
  if (!maybe) return null;
  let best: { parent: Parent; missing: number; records: number } | null = null;
  for (const parent of able) {
    const missing = await inclusion(client, column, parent, isNamed, nulls);
    const share = missing && missing.missing / missing.records;
    if (share !== null && (!best || share < best.missing / best.records)) best = { parent, ...missing! };
  }
  if (!best) return null;
  const { parent, missing, records } = best;
  const isEnough = missing <= records * (1 - enough);
  evidence.push(
    missing === 0
      ? `all ${count(records)} are in ${parent.table}`
      : `${count(missing)} of ${count(records)} ${missing === 1 ? "is" : "are"} not in ${parent.table}${
        isEnough ? "" : ", and so no foreign key"
      }`,
  );
  return isEnough ? parent : null;
}

/** How many records have no parent there; null where it is plain that many have none. */
async function inclusion(
  client: Client,
  { place }: Column,
  { table, keySql, type }: Parent,
  isNamed: boolean,
  nulls: string[],
): Promise<{ missing: number; records: number } | null> {
  // A number may be beyond the key's own type.
  const comparable = integers.includes(type) ? "bigint" : type;
  const places = { table, key: keySql, type: comparable, place: String(place), nulls: literal(nulls) };
  const missing = fill(
    `select
      coalesce(sum(v.records) filter (where p.{key} is null), 0)::bigint as missing, sum(v.records)::bigint as records
    from (
      select value::{type} as value, records
      from pg_temp.feed_values
      where place = {place} and value <> all ({nulls}::text[])
      {limit}
    ) v
    left join {table} p on p.{key} = v.value`,
    places,
  );
  if (!isNamed) {
    const { rows: [few] } = await client.query(fill(missing, { limit: "limit 100" }));
    if (few.missing > 0) return null;
  }
  const { rows: [all] } = await client.query(fill(missing, { limit: "" }));
  return isNamed || all.missing === 0 ? all : null;
}
