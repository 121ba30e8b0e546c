-- Finding the records at fault where a statement on all of them has raised, and rejecting them.

create or replace function etl.execute_on(target regclass, step text, statement text, probe text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  affected bigint;
  state text;
begin
  perform set_config('search_path', etl.session_path(), true);
  begin
    execute statement;
  exception when others then
    get stacked diagnostics state = returned_sqlstate;
    if not etl.is_record_fault(target, state) then
      raise;
    end if;
    perform etl.reject_faults(step, etl.isolate(target, step, probe));
    execute statement;
  end;
  get diagnostics affected = row_count;
  return affected;
end
$$;
comment on function etl.execute_on(regclass, text, text, text) is
  'Executes a statement that evaluates the target''s own expressions (a CHECK, a generated column, an index) on all
records of a step; returns the rows affected. Where an expression raises, the records at fault are rejected first:
probe evaluates it on a part.';

create or replace function etl.isolate(target regclass, step text, statement text, rejects_left bigint default null)
returns jsonb[]
language plpgsql
set search_path = ''
as $$
declare
  queue tid[];
  place int := 1;
  size int;
  faults jsonb[] := '{}';
  state text;
  said text;
  rule text;
  at_column text;
  at_table text;
  context text;
begin
  -- By no name of its own: the step's table may be called otherwise in the next feed.
  if not exists (select from pg_catalog.pg_index i where i.indrelid = to_regclass('pg_temp.' || step)) then
    execute etl.fill($sql$create index on pg_temp.{step} (etl$staged)$sql$, jsonb_build_object('step', step));
  end if;
  execute etl.fill($sql$analyze pg_temp.{step}$sql$, jsonb_build_object('step', step));
  execute etl.fill(
    $sql$select array_agg(etl$staged order by etl$staged) from pg_temp.{step}$sql$, jsonb_build_object('step', step)
  ) into queue;
  -- All at once have failed already.
  size := (cardinality(queue) + 1) / 2;
  perform set_config('search_path', etl.session_path(), true);
  while place <= cardinality(queue) and (cardinality(faults) > rejects_left) is not true loop
    size := least(size, cardinality(queue) - place + 1);
    begin
      execute statement using queue[place], queue[place + size - 1], size;
      place := place + size;
      size := size * 2;
    exception when others or assert_failure then
      get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
        at_column = column_name, at_table = table_name, context = pg_exception_context;
      if not etl.is_record_fault(target, state, rule, at_column, at_table) then
        raise;
      end if;
      if size > 1 then
        size := size / 2;
      else
        faults := faults || jsonb_build_object(
          'etl$staged', queue[place], 'sqlstate', state, 'constraint_name', nullif(rule, ''),
          'column_name', case
            when etl.is_another(target, at_table) then null
            else coalesce(nullif(at_column, ''), etl.only_column(target, rule))
          end,
          'reason', etl.reason_of(target, state, said, rule, at_table, context)
        );
        place := place + 1;
      end if;
    end;
  end loop;
  return faults;
end
$$;
comment on function etl.isolate(regclass, text, text, bigint) is
  'Runs a statement on a step''s records, part by part in the order of the file ($1 and $2: the part''s first and
last; $3: how many), and returns those at fault as rows of etl_rejected, at most one more than there are rejects
left (null: all). A part that raises is halved, after one that does not the next is twice as large: a fault costs
about 2 log2(n) parts, or one where all are bad.';

create or replace function etl.is_another(target regclass, at_table text)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(at_table, '') <> '' and not exists (
    select
    from etl.parts_of(target) p
    join pg_catalog.pg_class c on c.oid = p.relation
    where c.relname = at_table
  );
end
$$;
comment on function etl.is_another(regclass, text) is
  'Whether the table that an error names, if it names one, is neither the target nor a part of it.';

create or replace function etl.is_record_fault(
  target regclass, state text, constraint_name text default null, column_name text default null,
  at_table text default null
)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when state = '42501' then row_security_active(target)
    when state ~ '^23' and etl.is_another(target, at_table) then true
    when state = '23503' then not exists (
      select from pg_catalog.pg_constraint k
      where k.conrelid = target and k.contype = 'f' and k.conname = constraint_name
    )
    when state = '23502' then not exists (
      select from pg_catalog.pg_attribute a
      where a.attrelid = target and a.attname = column_name and a.attidentity = ''
        and (etl.default_of(target, a.attnum)).value is null
        and not exists (select from pg_temp.etl_columns c where c.name = a.attname)
    )
    else state !~ '^(08|0A|25|40|42|53|55|57|58|XX|ETL)'
  end;
end
$$;
comment on function etl.is_record_fault(regclass, text, text, text, text) is
  'Whether an error can be one record''s fault, so that the others can be written without it. It cannot where the
server, a lock, a privilege or a definition is in the way; where a parent, found before, is gone; or where the table
has come to require a column that the feed does not carry.';

create or replace function etl.reason_of(
  target regclass, state text, said text, rule text, at_table text, context text
)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    -- Beside the function that wrote, another one had a part in it.
    when regexp_count(regexp_substr(context, '^.*?\metl\.(write_rows|isolate)\('), 'PL/') > 1
      then 'is refused by a trigger: ' || said
    -- What a key does to its rows, they refuse.
    when state ~ '^23' and etl.is_another(target, at_table) then 'gives up what a row refers to in ' || at_table
    when state = '23P01' then 'conflicts with another row'
    when state = '23505' then 'is another row''s already'
    when state = '23503' then 'gives up what a row refers to in ' || at_table
    when state = '23502' then 'is missing'
    -- Of a CHECK or a domain the name is known.
    when state = '23514' and rule = '' then 'fits no partition of ' || case
      when at_table = (select c.relname from pg_catalog.pg_class c where c.oid = target) then target::text
      else quote_ident(at_table)
    end
    when state = '23514' then 'breaks the rule ' || coalesce(
      (
        select pg_get_constraintdef(k.oid)
        from pg_catalog.pg_constraint k
        where k.conrelid = target and k.conname = rule
      ),
      rule
    )
    else 'cannot be written: ' || said
  end;
end
$$;
comment on function etl.reason_of(regclass, text, text, text, text, text) is
  'Why Postgres refused a record, in the words of etl.rejects, from the diagnostics of the error that it raised.';

create or replace function etl.only_column(target regclass, rule text)
returns name
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select a.attname
    from pg_catalog.pg_class x
    join pg_catalog.pg_index i on i.indexrelid = x.oid and i.indnkeyatts = 1
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where x.relname = rule and i.indrelid = target
    union
    select a.attname
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
    where k.conname = rule and k.conrelid = target and cardinality(k.conkey) = 1 and a.attnum > 0
    limit 1
  );
end
$$;
comment on function etl.only_column(regclass, text) is
  'The column of a constraint or an index, by its name; null where it has several, or none.';

revoke all on all functions in schema etl from public;
