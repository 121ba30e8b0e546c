/** What a role may try: every table and function that the catalog knows, so that a new one cannot be forgotten. */
import assert from "node:assert/strict";
import type { Database } from "./database.ts";

export interface Attempt {
  schema: string;
  object: string;
  action: string;
  /** Statements that try it and change nothing; one that is let through is enough. */
  statements: string[];
}

export async function attempts(db: Database): Promise<Attempt[]> {
  const tables = await db.admin(`
    select n.nspname as schema, format('%I.%I', n.nspname, c.relname) as object,
      array_agg(format('%I', a.attname) order by a.attnum) as columns
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname in ('public', 'etl', 'supabase_migrations') and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    group by 1, 2 order by 2`);
  const functions = await db.admin(`
    select n.nspname as schema, p.oid::regprocedure::text as object, format('%I.%I', n.nspname, p.proname) as name,
      p.prokind as kind, p.provariadic <> 0 as variadic, array(select format_type(t, null) from unnest(p.proargtypes) t) as arguments
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'etl') order by 2`);
  const ofTables = tables.flatMap(({ schema, object, columns }) => {
    const each = (statement: (column: string) => string) => (columns as string[]).map(statement);
    const statements = {
      select: [`select from ${object} where false`, ...each((column) => `select ${column} from ${object} where false`)],
      insert: each((column) => `insert into ${object} (${column}) select null where false`),
      update: each((column) => `update ${object} set ${column} = default where false`),
      delete: [`delete from ${object} where false`],
      truncate: [`truncate ${object}`],
    };
    return Object.entries(statements).map(([action, statements]) => ({ schema, object, action, statements }));
  });
  return [
    ...ofTables,
    ...functions.map(({ schema, object, ...call }) => ({
      ...{ schema, object, action: "execute" },
      statements: [callOf(call as unknown as Callable)],
    })),
  ];
}

interface Callable {
  name: string;
  kind: string;
  variadic: boolean;
  arguments: string[];
}

/** A call for no row: the right to it is asked for, and nothing is done. */
function callOf({ name, kind, variadic, arguments: types }: Callable): string {
  assert.equal(kind, "f", `${name}: how to try it?`);
  const names = types.map((_, i) => `a${i}`);
  const given = names.map((name, i) => variadic && i === names.length - 1 ? `variadic ${name}` : name);
  // `offset 0` keeps the arguments from being constants: a strict function of null constants is not called, nor refused.
  const nulls = types.map((type, i) => `null::${type} as ${names[i]}`);
  return `select ${name}(${given}) from (select ${nulls} offset 0) s where false`;
}
