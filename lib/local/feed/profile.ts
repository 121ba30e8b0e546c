/** What Postgres finds out of the values in pg_temp.feed_cells. */
import type { Client } from "../../database/connect.ts";
import { fill, literal, quoted } from "./sql.ts";

/** What the values of a column are. An empty text is none. */
export interface Facts {
  /** Number of the column, from 1. */
  place: number;
  /** Class -> records that have a value of it; what the classes are: `classes` below. */
  classes: Map<string, number>;
  /** Word that may mean null -> records. */
  words: Map<string, number>;
  distinct: number;
}

/**
 * The class of t, a text without blanks around it. One may be of two readings: "compact" is a number or a date, "grouped"
 * 1.234, "thousands" 1,234. "day dmy mdy" is a date that makes sense in these orders, "short year" one whose year
 * has two digits. What is asked first costs least.
 */
const classOfText = String.raw`
  case
    when length(t) < 8 and lower(t) in ('true', 'false', 't', 'f', 'yes', 'no') then 'boolean'
    when length(t) < 8 and lower(t) in ({null_words}) then 'word ' || t
    when place = any ({texts}) then 'text'
    when t ~ '^(0|-?[1-9]\d*)$' then case
      when length(t) = 8 and t ~ '^(19|20)' and pg_input_is_valid(t, 'date') then 'compact'
      when pg_input_is_valid(t, 'integer') then 'integer'
      when pg_input_is_valid(t, 'bigint') then 'bigint'
      else 'code'
    end
    when t ~ '^\+?\d+$' then 'code'
    when length(t) < 9 and t ~ '^-?[1-9]\d?\d?\.\d\d\d$' then 'grouped'
    when t ~ '^-?((0|[1-9]\d*)\.\d*|\.\d+)$' then 'decimal'
    when t ~ '^\d\d\d\d(-\d\d?-|/\d\d?/|\.\d\d?\.)\d\d?($|[ T]+\d)' and pg_input_is_valid(t, 'timestamptz') then {day_or_time}
    when left(t, 1) in ('[', '{') then case when pg_input_is_valid(t, 'jsonb') then 'json' else 'text' end
    when length(t) = 36 and pg_input_is_valid(t, 'uuid') then 'uuid'
    when length(t) < 9 and t ~ '^-?[1-9]\d?\d?,\d\d\d$' then 'thousands'
    when t ~ '^-?[\d.]+(,\d+)?$' and t ~ '^-?((0|[1-9]\d*)|[1-9]\d{0,2}(\.\d{3})+),\d+$|^-?[1-9]\d{0,2}(\.\d{3}){2,}$'
      then 'comma'
    when t ~ '^-?\d+(\.\d*[eE][-+]?|[eE]-)\d+$' then case
      when pg_input_is_valid(t, 'numeric') then 'exponent'
      else 'text'
    end
    when t ~ '^\d\d?(-\d\d?-|/\d\d?/|\.\d\d?\.)\d\d\d\d($|[ T,]+\d)' then (
      select case when count(*) = 0 then 'text' else {day_or_time} || string_agg(' ' || o.name, '' order by o.name) end
      from (values ('dmy', '\3-\2-\1\4'), ('mdy', '\3-\1-\2\4')) o (name, spelled)
      where pg_input_is_valid(regexp_replace(t, '^(\d+)[-/.](\d+)[-/.](\d+)(.*)$', o.spelled), 'timestamptz')
    )
    when t ~ '^\d\d?(/\d\d?/|-\d\d?-)\d\d($|[ T,])|^\d\d\.\d\d\.\d\d($|[ T,])' then 'short year'
    when length(t) < 50 and t ~ '(^|\D)\d\d\d\d(\D|$)' and t ~* '\m(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)'
      and pg_input_is_valid(t, 'timestamptz') then {day_or_time}
    when t ~ '^\d{8}T\d{4}' and pg_input_is_valid(t, 'timestamptz') then {day_or_time}
    else 'text'
  end
`;
/**
 * A time as UTC+2 is a text: Postgres takes it for two hours behind UTC, others for two hours ahead of it; and so is one
 * with a zone that means several, as supabase/sql/zones.sql has them. What is usual is told apart first, for to look for
 * such a zone takes long.
 */
const dayOrTime = String.raw`
  case
    when t ~ '^[-/.\d]+$' then 'day'
    when t ~ '^[-/.\d]+[T ]\d\d?:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d(:?\d\d)?)?$' then 'time'
    when t ~* '\d.*(?<![a-z])(?!jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{3,}\s*[-+]?\d' then 'text'
    when t ~* '\d\s*([ap]m)?\s*\(?(act|amst|amt|bdt|bst|cast|cct|ect|gst|ist|sst|wast|wst)(?!\s*[a-z/_])' then 'text'
    when t ~* '[-+]\d\d:\d\d:\d\d|\m(bc|ad|allballs)\M|\d\d\d\d\s+(z|[-+])' then 'text'
    when t ~ '\d:\d|\dT\d' then 'time'
    else 'day'
  end
`;

/** In lower case: what may mean null. */
export const nullWords = ["n/a", "na", "#n/a", "null", "none", "nil", "nan", "unknown", "-", "--", "\\n"];

/** What JSON itself says of a value comes first. Digits in quotes are no number to who wrote them. */
const classOfJson = `
  case
    when kind in ('object', 'array') then 'json'
    when kind = 'boolean' then 'boolean'
    when kind = 'number' and class in ('code', 'grouped') then 'decimal'
    when kind = 'number' and class = 'text' and pg_input_is_valid(t, 'numeric') then 'exponent'
    when kind = 'string' and class in ('integer', 'compact', 'bigint') then 'code'
    when kind = 'string' and class = 'json' then 'text'
    else class
  end
`;

/** The facts of each column. `nulls`: what is said to mean null, and so is no value. */
export async function profile(client: Client, columns: number, asJson: boolean, nulls: string[]): Promise<Facts[]> {
  // Of the values of many records a hash is made faster than an order.
  await client.query("set local datestyle = 'ISO, YMD'; set local enable_sort = off; set local work_mem = '64MB'");
  const places = Array.from({ length: columns }, (_, i) => i + 1);
  // A column with a text in its first records is one of texts, whatever else is in it.
  const first = await classes(client, places, asJson, nulls, [], "limit 1000");
  const texts = first.filter((row) => row.class === "text").map(({ place }) => place);
  await client.query("drop table pg_temp.feed_values");
  const rows = await classes(client, places, asJson, nulls, texts);
  return places.map((place) => {
    const mine = rows.filter((row) => row.place === place);
    const isWord = (row: Row) => row.class.startsWith("word ");
    return {
      place,
      classes: new Map(mine.filter((row) => !isWord(row)).map((row) => [row.class, row.records])),
      words: new Map(mine.filter(isWord).map((row) => [row.class.slice("word ".length), row.records])),
      distinct: mine.reduce((sum, row) => sum + row.values, 0),
    };
  });
}

interface Row {
  place: number;
  class: string;
  records: number;
  values: number;
}

/** Puts the distinct values of the columns into pg_temp.feed_values, and counts them by their class. */
async function classes(
  client: Client,
  places: number[],
  asJson: boolean,
  nulls: string[],
  texts: number[],
  limit = "",
): Promise<Row[]> {
  const cells = places.map((place) =>
    `select ${place} as place, c${place} as cell, count(*) as records from c group by 2`
  );
  await client.query(fill(
    `create temp table feed_values on commit drop as
    with c as not materialized (select * from pg_temp.feed_cells {limit})
    select place, value, records, {class} as class
    from (
      -- OFFSET 0: Postgres would work each of them out wherever it stands.
      select place, value, records, kind, btrim(value, e' \\t') as t
      from (select c.place, {value} as value, {kind} as kind, c.records from ({cells}) c) v
      where value <> '' and value <> all ({nulls}::text[])
      offset 0
    ) v
    cross join lateral (select {class_of_text} as class) classified`,
    {
      class: asJson ? classOfJson : "class",
      value: asJson ? "c.cell::json #>> '{}'" : "c.cell",
      kind: asJson ? "json_typeof(c.cell::json)" : "null",
      cells: cells.join(" union all "),
      class_of_text: fill(classOfText, {
        texts: `'{${texts}}'::int[]`,
        null_words: nullWords.map(quoted).join(", "),
        day_or_time: dayOrTime,
      }),
      nulls: literal(nulls),
      limit,
    },
  ));
  // They lie in the order of their columns.
  await client.query("create index on pg_temp.feed_values using brin (place)");
  const { rows } = await client.query(
    `select place, class, sum(records)::bigint as records, count(*) as values
    from pg_temp.feed_values group by place, class order by records desc`,
  );
  return rows;
}
