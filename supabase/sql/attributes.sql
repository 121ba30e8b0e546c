-- What there is to know of a table's column beside its name: its default, whether it must have a value, and how to
-- write SQL that asks for that value.

create or replace function etl.default_of(
  of_table regclass, of_column smallint, out value text, out is_volatile boolean
)
language sql stable
set search_path = ''
as $$
  select
    coalesce(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(t.typdefaultbin, 0)),
    etl.is_volatile(coalesce(d.adbin, t.typdefaultbin)::text)
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = of_table and a.attnum = of_column
$$;
comment on function etl.default_of(regclass, smallint) is
  'SQL text: the default of a column, or of its domain, or what it is generated as; null where it has none. is_volatile:
whether each call may give something else.';

create or replace function etl.is_volatile(expression text)
returns boolean
language sql stable
set search_path = ''
as $$
  select coalesce(bool_or(p.provolatile = 'v'), false)
  from regexp_matches(expression, ':(?:funcid|opfuncid) (\d+)', 'g') match
  join pg_catalog.pg_proc p on p.oid = match[1]::oid
$$;
comment on function etl.is_volatile(text) is
  'Whether an expression, as pg_attrdef.adbin has it, calls a function that is volatile: each call may give
something else.';

create or replace function etl.is_required(of_table regclass, of_column smallint)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select a.attnotnull or etl.refuses_null(a.atttypid)
    from pg_catalog.pg_attribute a
    where a.attrelid = of_table and a.attnum = of_column
  );
end
$$;
comment on function etl.is_required(regclass, smallint) is
  'Whether a column must have a value: it is NOT NULL, or of a domain that refuses a null.';

create or replace function etl.refuses_null(type oid)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  if (select t.typtype from pg_catalog.pg_type t where t.oid = type) <> 'd' then
    return false;
  end if;
  begin
    execute format('select null::%s', format_type(type, -1));
    return false;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    return true;
  end;
end
$$;
comment on function etl.refuses_null(oid) is
  'Whether a type is a domain that is NOT NULL, or has a CHECK that a null breaks.';

create or replace function etl.step_type(of_table regclass, of_column smallint)
returns text
language sql stable
set search_path = ''
as $$
  with recursive chain as (
    select
      a.atttypid as type, a.atttypmod as length,
      etl.refuses_null(a.atttypid) or t.typtype = 'd' and t.typdefault is not null as goes_on
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = of_table and a.attnum = of_column
    union all
    select t.typbasetype, greatest(c.length, t.typtypmod), true
    from chain c
    join pg_catalog.pg_type t on t.oid = c.type
    where c.goes_on and t.typtype = 'd'
  )
  select format_type(c.type, c.length) || etl.collation_of(a.attcollation)
  from chain c
  join pg_catalog.pg_type t on t.oid = c.type
  join pg_catalog.pg_attribute a on a.attrelid = of_table and a.attnum = of_column
  where not c.goes_on or t.typtype <> 'd'
$$;
comment on function etl.step_type(regclass, smallint) is
  'SQL text: the type and collation of a column for a temp table in which it may still be null: what is beneath a domain
that refuses one, or would put its default there.';

create or replace function etl.value_of(of_table regclass, a text, column_name text)
returns text
language sql stable
set search_path = ''
as $$
  select coalesce(
    (
      select etl.fill(
        case
          -- Not all of json is a value of jsonb.
          when t.typcategory = 'A' or t.typtype in ('c', 'd') or t.oid = 'pg_catalog.json'::regtype
            then '{a}.{column}::text'
          else $sql$to_jsonb({a}.{column}) #>> '{}'$sql$
        end,
        jsonb_build_object('a', a, 'column', quote_ident(c.attname))
      )
      from pg_catalog.pg_attribute c
      join pg_catalog.pg_type t on t.oid = c.atttypid
      where c.attrelid = of_table and c.attnum > 0 and c.attname = column_name
    ),
    'null::text'
  )
$$;
comment on function etl.value_of(regclass, text, text) is
  'SQL text: the value of a column, by its name, of a row under this alias, as etl.rejects has it; null for no column.';

create or replace function etl.session_path()
returns text
language sql stable
set search_path = ''
as $$
  select coalesce(string_agg(p.part, ',' order by p.place), '')
  from pg_catalog.pg_settings s
  cross join string_to_table(s.reset_val, ',') with ordinality as p(part, place)
  where s.name = 'search_path' and btrim(p.part, ' "') <> 'etl'
$$;
comment on function etl.session_path() is
  'The search_path that the session began with: what the functions of a table''s own CHECKs and triggers know names by
that have no schema. It is set where such are asked, for all of etl''s functions set another one. Without etl itself, so
that its functions are told from others by their name.';

revoke all on all functions in schema etl from public;
