-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/cast.sql
-- From cells to values of the target's types, of those records alone that are new or differ.

create or replace function etl.cast_cells(target regclass, as_json boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  is_empty boolean := etl.is_empty(target);
  statement text;
  different bigint;
begin
  execute etl.fill(
    $sql$create temp table etl_typed (etl$staged tid, {columns}, etl$exists boolean) on commit drop$sql$,
    jsonb_build_object('columns', (
      select string_agg(format('%I %s%s', c.name, c.type, c.collate_clause), ', ' order by c.position)
      from pg_temp.etl_columns c
      where c.name is not null
    ))
  );
  statement := etl.cast_statement(target, is_empty);
  begin
    execute statement;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    perform etl.validate_cells();
    perform etl.name_cells(as_json);
    execute statement;
  end;
  get diagnostics different = row_count;
  return different - case when is_empty then 0 else etl.drop_assigned(target) end;
end
$$;
comment on function etl.cast_cells(regclass, boolean) is
  'Fills etl_typed with what is new or differs, and returns how many records that is; rejects those with a cell that
is no value of its column''s type. etl$exists: whether the target has the key.';

create or replace function etl.cast_statement(target regclass, is_empty boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := etl.carried_columns();
begin
  return etl.fill(
    case when is_empty
      then $sql$
        insert into pg_temp.etl_typed (etl$staged, {carried}, etl$exists)
        select t.etl$staged, {values}, false
        from ({typed}) t
      $sql$
      -- OFFSET 0: without it Postgres casts behind the join, which then spills the text of all rows.
      else $sql$
        insert into pg_temp.etl_typed (etl$staged, {carried}, etl$exists)
        select t.etl$staged, {values}, {is_known}
        from ({typed} offset 0) t
        left join {target} o on {same_key}
        where not {is_known} or {differs}
      $sql$
    end,
    jsonb_build_object(
      'target', target, 'carried', etl.each(carried, '{column}'), 'values', etl.each(carried, 't.{column}'),
      'typed', etl.typed_cells(with_length => false), 'is_known', etl.each(key[:1], '(o.{column} is not null)'),
      'same_key', etl.same_key(target, 'o', 't'), 'differs', etl.differs(key)
    )
  );
end
$$;
comment on function etl.cast_statement(regclass, boolean) is
  'SQL text: fills etl_typed from etl_cells with what is new or differs; is_empty: the target has no row to compare
with.';

create or replace function etl.carried_columns()
returns name[]
language sql stable
set search_path = ''
as $$
  select array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position)
$$;
comment on function etl.carried_columns() is 'The target''s columns that the feed carries, in the feed''s order.';

create or replace function etl.differs(key name[])
returns text
language sql stable
set search_path = ''
as $$
  -- *<> compares what is stored, byte by byte: it needs no equality operator, and sees 1.0 become 1.00. It wants one
  -- type on both sides, and the typed record has no domains yet.
  select etl.fill('(row({fed})::record operator(pg_catalog.*<>) row({stored})::record)', jsonb_build_object(
    'fed', coalesce(string_agg(format('t.%I::%s', c.name, c.base_type), ', ' order by c.position), ''),
    'stored', coalesce(string_agg(format('o.%I::%s', c.name, c.base_type), ', ' order by c.position), '')
  ))
  from pg_temp.etl_columns c
  where c.name <> all (key)
$$;
comment on function etl.differs(name[]) is
  'SQL text: whether the typed record t and the stored row o differ in what the feed carries beside the key.';

create or replace function etl.same_key(target regclass, a text, b text)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill('{a}.{column} {equals} {b}.{column}', jsonb_build_object(
      'a', a, 'b', b, 'column', quote_ident(k.name), 'equals', etl.equals(i.indexrelid, k.position::int)
    )),
    ' and ' order by k.position
  )
  from pg_catalog.pg_index i
  cross join unnest(etl.key_of(target)) with ordinality as k(name, position)
  where i.indrelid = target and i.indisprimary
$$;
comment on function etl.same_key(regclass, text, text) is
  'SQL text: whether two rows, under these aliases, have the same primary key, as its index compares.';

create or replace function etl.equals(index oid, place int)
returns text
language sql stable
set search_path = ''
as $$
  -- By name alone = may be another type's: under an empty search_path that of text, for citext.
  select format('operator(%I.%s)', n.nspname, o.oprname)
  from pg_catalog.pg_index i
  join pg_catalog.pg_opclass c on c.oid = i.indclass[place - 1]
  join pg_catalog.pg_amop m
    on m.amopfamily = c.opcfamily and m.amopstrategy = 3
    and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
  join pg_catalog.pg_operator o on o.oid = m.amopopr
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where i.indexrelid = index
$$;
comment on function etl.equals(oid, int) is
  'SQL text: the operator by which a B-tree index finds two values of its column at this position equal.';

create or replace function etl.typed_cells(with_length boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select etl.fill($sql$select cells.etl$staged, {values} from pg_temp.etl_cells cells$sql$, jsonb_build_object(
      'values', string_agg(
        etl.fill('{cell}::{type} as {column}', jsonb_build_object(
          'column', quote_ident(c.name), 'type', case when with_length then c.type else c.base_type end,
          'cell', format(case when c.textual then 'cells.%I' else 'nullif(cells.%I, '''')' end, c.name)
        )),
        ', ' order by c.position
      )
    ))
    from pg_temp.etl_columns c
    where c.name is not null
  );
end
$$;
comment on function etl.typed_cells(boolean) is
  'SQL text: the query that casts etl_cells, to the columns'' types with their length, or without: a cast to
varchar(3) cuts what is longer, where the assignment to such a column raises.';

create or replace function etl.drop_assigned(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  dropped bigint;
  places jsonb := jsonb_build_object(
    'target', target, 'same_key', etl.same_key(target, 'o', 't'), 'differs', etl.differs(key)
  );
begin
  if not exists (select from pg_temp.etl_columns c where c.has_length) then
    return 0;
  end if;
  if exists (select from pg_temp.etl_columns c where c.has_length and c.name = any (key)) then
    execute etl.fill(
      $sql$update pg_temp.etl_typed t set etl$exists = true from {target} o where not t.etl$exists and {same_key}$sql$,
      places
    );
  end if;
  execute etl.fill(
    $sql$delete from pg_temp.etl_typed t using {target} o where {same_key} and not {differs}$sql$, places
  );
  get diagnostics dropped = row_count;
  return dropped;
end
$$;
comment on function etl.drop_assigned(regclass) is
  'Drops from etl_typed what the assignment to a type with a length has made equal to the stored row, as 1 is stored
as 1.00; returns how many records that is.';

create or replace function etl.is_empty(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
  is_empty boolean;
begin
  execute format('select not exists (select from %s)', target) into is_empty;
  return is_empty;
end
$$;
comment on function etl.is_empty(regclass) is 'Whether the table has no row.';

create or replace function etl.validate_cells()
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.reject_cells(
    'pg_input_is_valid({value}, {type})', '(pg_input_error_info({value}, {type})).sql_error_code'
  );
exception when others then
  -- Some types' input, and some domains' rules, raise in place of telling.
  if not etl.is_input_error(sqlstate) then
    raise;
  end if;
  perform etl.reject_cells('etl.input_error({value}, {type}) is null', 'etl.input_error({value}, {type})');
end
$$;
comment on function etl.validate_cells() is 'Rejects the records with a cell that is no value of its column''s type.';

create or replace function etl.reject_cells(is_valid text, error_of text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  first_fault text;
begin
  select string_agg(
    etl.fill('when not (' || is_valid || ') then {name}', jsonb_build_object(
      'type', quote_literal(c.type), 'name', quote_literal(c.name),
      'value', format(case when c.textual then '%I' else 'nullif(%I, '''')' end, c.name)
    )),
    ' ' order by c.attnum
  )
  into first_fault
  from pg_temp.etl_columns c
  where c.name is not null and c.type <> 'text';
  if first_fault is null then
    return;
  end if;
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate)
    select
      bad.etl$staged, bad.name, bad.value,
      case why.sqlstate
        when '22003' then 'is out of the range of '
        when '22008' then 'is out of the range of '
        when '22001' then 'is too long for '
        when '23514' then 'breaks a rule of '
        else 'is no '
      end || c.type,
      why.sqlstate
    from (
      select cells.etl$staged, fault.name, to_jsonb(cells.*) ->> fault.name as value
      from pg_temp.etl_cells cells
      cross join lateral (select case {first_fault} end as name) fault
      where fault.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    cross join lateral (select {error} as sqlstate) why
    $sql$,
    jsonb_build_object(
      'first_fault', first_fault,
      'error', etl.fill(error_of, jsonb_build_object('value', 'bad.value', 'type', 'c.type'))
    )
  );
end
$$;
comment on function etl.reject_cells(text, text) is
  'Rejects by two templates with the places {value} and {type}: whether a text is a value of a type, and the SQLSTATE
for one that is not.';

create or replace function etl.input_error(value text, type text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  state text;
begin
  select e.sql_error_code into state from pg_catalog.pg_input_error_info(value, type) e;
  return state;
exception when others then
  if not etl.is_input_error(sqlstate) then
    raise;
  end if;
  return sqlstate;
end
$$;
comment on function etl.input_error(text, text) is
  'The SQLSTATE for a text that is no value of a type, also where its input raises; null for one that is.';

create or replace function etl.is_input_error(state text)
returns boolean
language sql immutable
set search_path = ''
as $$
  select state ~ '^(22|23|42|P0)'
$$;
comment on function etl.is_input_error(text) is
  'Whether a type''s input, or a domain''s rule, may have raised this SQLSTATE: that of some is what a wrong
statement raises, too.';

revoke all on all functions in schema etl from public;

-- supabase/sql/cells.sql
-- From staged text to cells under the target's names; the records that cannot be read are rejected on the way.

create or replace function etl.find_cells(feed etl.feeds, as_json boolean, sentinel text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if sentinel is not null then
    perform etl.reject_unreadable(as_json, sentinel);
  end if;
  if as_json then
    perform etl.validate_json();
    perform etl.map_keys(feed);
  end if;
  if exists (select from pg_temp.etl_columns c where c.name is not null) then
    perform etl.name_cells(as_json);
  end if;
end
$$;
comment on function etl.find_cells(etl.feeds, boolean, text) is
  'Makes the view etl_cells of the staged feed, where any record can be read, and rejects the others.';

create or replace function etl.reject_unreadable(as_json boolean, sentinel text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, reason, sqlstate, raw)
    select
      s.ctid, split_part(m.message, e'\n', 1), substr({cell}, length($1) + 1, 5),
      substr(m.message, strpos(m.message, e'\n') + 1)
    from pg_temp.etl_staging s
    cross join lateral substr({cell}, length($1) + 6) as m(message)
    where starts_with({cell}, $1)
    $sql$,
    jsonb_build_object('cell', case when as_json then 's.record' else 's.c1' end)
  ) using sentinel;
end
$$;
comment on function etl.reject_unreadable(boolean, text) is
  'Rejects the records that the loader could not split. It stages such a record as one cell: the sentinel, five
characters of SQLSTATE, the reason, a line end and the record as it came.';

create or replace function etl.validate_json()
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into pg_temp.etl_rejected (etl$staged, reason, sqlstate, raw)
  select
    s.ctid,
    case
      when not s.record is json then 'is not valid JSON'
      when not s.record is json object then 'is not a JSON object'
      when not pg_input_is_valid(s.record, 'jsonb') then 'has a string that holds \u0000 or half of a surrogate pair'
      else 'has a key twice'
    end,
    '22032',
    s.record
  from pg_temp.etl_staging s
  where not s.record is json object with unique keys
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid);
end
$$;
comment on function etl.validate_json() is 'Rejects the staged records that are no JSON object with distinct keys.';

create or replace function etl.map_keys(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
declare
  keys text[];
begin
  if not exists (select from pg_temp.etl_staging s where s.record is json object with unique keys) then
    return;
  end if;
  select array_agg(distinct k) into keys
  from (
    select s.record from pg_temp.etl_staging s where s.record is json object with unique keys limit 1000
  ) s
  cross join json_object_keys(s.record::json) k;

  perform etl.map_columns(feed, array(
    select k from unnest(keys) k
    union
    select w.source
    from (
      select coalesce(
        (select m.key from jsonb_each_text(feed.columns) m where m.value = c.name limit 1), c.name
      ) as source
      from etl.loadable_columns(etl.target_of(feed)) c
    ) w
    where w.source <> all (coalesce(keys, '{}')) and exists (
      select from pg_temp.etl_staging s
      where (strpos(s.record, to_json(w.source)::text) > 0 or strpos(s.record, '\') > 0)
        and case
          when s.record is json object with unique keys then w.source in (select json_object_keys(s.record::json))
        end
    )
  ));
end
$$;
comment on function etl.map_keys(etl.feeds) is
  'Fills etl_columns with the keys of the first 1,000 objects, and any later one that the target has; with none
where no record is an object. Raises ETL03 as etl.map_columns() does.';

create or replace function etl.name_cells(as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  json_view constant text := $sql$
    create or replace temp view etl_cells as
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  csv_view constant text := $sql$
    create or replace temp view etl_cells as
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.* from pg_temp.etl_staging s {readable}) s
  $sql$;
begin
  execute (
    select etl.fill(case when as_json then json_view else csv_view end, jsonb_build_object(
      'cells', string_agg(
        case
          when not as_json then 's.c' || c.position
          -- Postgres would cut the name of a column, and so not find the key.
          when c.is_long and c.is_json then format('(s.record::json -> %L)::text', c.source)
          when c.is_long then format('(s.record::json ->> %L)', c.source)
          else format('x.%I::text', c.source)
        end || format(' as %I', c.name),
        ', '
      ),
      'keys', coalesce(
        string_agg(format('%I %s', c.source, case when c.is_json then 'json' else 'text' end), ', ')
          filter (where not c.is_long),
        'etl$none text'
      ),
      'readable', case
        when etl.rejected_count() = 0 then ''
        -- OFFSET 0: without it Postgres may cast what is rejected, before it finds that it is.
        else 'where not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid) offset 0'
      end
    ))
    from (
      select
        c.position, c.source, c.name, octet_length(c.source) > 63 as is_long,
        c.base_type in ('json', 'jsonb') as is_json
      from pg_temp.etl_columns c
      where c.name is not null
    ) c
  );
end
$$;
comment on function etl.name_cells(boolean) is
  'Makes the view etl_cells, or makes it anew without what has been rejected since.';

revoke all on all functions in schema etl from public;

-- supabase/sql/isolate.sql
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
  execute etl.fill(
    $sql$create index if not exists {index} on pg_temp.{step} (etl$staged)$sql$,
    jsonb_build_object('step', step, 'index', step || '_order')
  );
  execute etl.fill($sql$analyze pg_temp.{step}$sql$, jsonb_build_object('step', step));
  execute etl.fill(
    $sql$select array_agg(etl$staged order by etl$staged) from pg_temp.{step}$sql$, jsonb_build_object('step', step)
  ) into queue;
  -- All at once have failed already.
  size := (cardinality(queue) + 1) / 2;
  while place <= cardinality(queue) and (cardinality(faults) > rejects_left) is not true loop
    size := least(size, cardinality(queue) - place + 1);
    begin
      execute statement using queue[place], queue[place + size - 1], size;
      place := place + size;
      size := size * 2;
    exception when others or assert_failure then
      get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
        at_column = column_name, at_table = table_name, context = pg_exception_context;
      if not etl.is_record_fault(target, state, rule, at_column) then
        raise;
      end if;
      if size > 1 then
        size := size / 2;
      else
        faults := faults || jsonb_build_object(
          'etl$staged', queue[place], 'sqlstate', state, 'constraint_name', nullif(rule, ''),
          'column_name', coalesce(nullif(at_column, ''), etl.only_column(target, rule)),
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

create or replace function etl.is_record_fault(
  target regclass, state text, constraint_name text default null, column_name text default null
)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when state = '42501' then row_security_active(target)
    when state = '23503' then not exists (
      select from pg_catalog.pg_constraint k
      where k.conrelid = target and k.contype = 'f' and k.conname = constraint_name
    )
    when state = '23502' then not exists (
      select from pg_catalog.pg_attribute a
      where a.attrelid = target and a.attname = column_name and not a.atthasdef and a.attidentity = ''
        and not exists (select from pg_temp.etl_columns c where c.name = a.attname)
    )
    else state !~ '^(08|0A|25|40|42|53|55|57|58|XX|ETL)'
  end;
end
$$;
comment on function etl.is_record_fault(regclass, text, text, text) is
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
    when state = '23P01' then 'conflicts with another row'
    when state = '23505' then 'is another row''s already'
    when state = '23503' then 'gives up what a row refers to in ' || at_table
    when state = '23502' then 'is missing'
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

-- supabase/sql/merge.sql
-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql. The temp tables that
-- they hand each other are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, as_json boolean, sentinel text,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out ignored_columns text[], out changed boolean
)
language plpgsql
set search_path = ''
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  caller_time_zone text := current_setting('timezone');
begin
  select count(*) into read from pg_temp.etl_staging;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  perform etl.find_cells(feed, as_json, sentinel);
  if read > etl.rejected_count() then
    perform set_config('timezone', feed.time_zone, true);
    unchanged := read - etl.cast_cells(target, as_json);
    unchanged := unchanged - etl.rejected_count();
    perform etl.validate_rows(target);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.validate_relations(target);
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(
        target, inserted, updated, rejects_left => floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      );
      perform etl.check_limit(feed, read, at_least => true);
    end loop;
    perform set_config('timezone', caller_time_zone, true);
  end if;
  rejected := etl.rejected_count();
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform etl.check_limit(feed, read);
  changed := etl.keep_rejects(feed, run, as_json) or inserted + updated > 0;
  ignored_columns := array(select c.source from pg_temp.etl_columns c where c.name is null order by c.position);
end
$$;
comment on function etl.merge(text, uuid, boolean, text) is
  'Brings the staged feed into its target: casts, rejects what breaks a rule, drops duplicates (the last record
wins), writes what is new or differs, and returns the counts. Nothing is written where nothing changed. sentinel is
what the cell of an unreadable record begins with, null where there is none. Raises ETL05 where a trigger drops
rows, ETL06 above the reject limit, 40001 where another session deletes a row meanwhile.';

revoke all on all functions in schema etl from public;

-- supabase/sql/rejects.sql
-- The rejects of a load: which are kept in etl.rejects, how many there are, and whether they are too many.

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  gone bigint;
  written bigint;
begin
  execute etl.fill(
    $sql$
    create temp table etl_present (
      record_number, record, raw, column_name, value, reason, sqlstate, constraint_name
    ) on commit drop as
    select n.record_number, {record}, {raw}, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
    from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
    join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
      on n.ctid = r.etl$staged
    join pg_temp.etl_staging s on s.ctid = r.etl$staged
    $sql$,
    case when as_json then etl.rejected_json() else etl.rejected_csv() end
  );
  delete from etl.rejects r
  where r.feed = loaded.name
    and not exists (select from pg_temp.etl_present p where p.record_number = r.record_number);
  get diagnostics gone = row_count;
  insert into etl.rejects as r (
    feed, record_number, record, raw, column_name, value, reason, sqlstate, constraint_name, first_run, last_run
  )
  select
    loaded.name, p.record_number, p.record, p.raw, p.column_name, p.value, p.reason, p.sqlstate, p.constraint_name,
    run, run
  from pg_temp.etl_present p
  on conflict (feed, record_number) do update
  set record = excluded.record, raw = excluded.raw, column_name = excluded.column_name, value = excluded.value,
    reason = excluded.reason, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, last_run = run
  where row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name) is distinct from row(
    excluded.record, excluded.raw, excluded.column_name, excluded.value, excluded.reason, excluded.sqlstate,
    excluded.constraint_name
  );
  get diagnostics written = row_count;
  drop table pg_temp.etl_present;
  return gone + written > 0;
end
$$;
comment on function etl.keep_rejects(etl.feeds, uuid, boolean) is
  'Makes etl.rejects what is wrong now, writing only what is new, other or gone; returns whether anything was.';

create or replace function etl.rejected_json()
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Valid JSON can be no jsonb: a number with too large an exponent.
  select jsonb_build_object(
    'record', $sql$case when r.raw is null and pg_input_is_valid(s.record, 'jsonb') then s.record::jsonb end$sql$,
    'raw', $sql$coalesce(r.raw, case when not pg_input_is_valid(s.record, 'jsonb') then s.record end)$sql$
  )
$$;
comment on function etl.rejected_json() is
  'SQL text: of a rejected JSON record, the object where it is one, or its text.';

create or replace function etl.rejected_csv()
returns jsonb
language sql stable
set search_path = ''
as $$
  select jsonb_build_object('raw', 'r.raw', 'record', etl.fill(
    $sql$case when r.raw is null then jsonb_object({names}::text[], array[{cells}]::text[]) end$sql$,
    jsonb_build_object(
      'names', quote_literal(array_agg(c.source order by c.position)),
      'cells', string_agg('s.c' || c.position, ', ' order by c.position)
    )
  ))
  from pg_temp.etl_columns c
  where c.stored
$$;
comment on function etl.rejected_csv() is
  'SQL text: of a rejected CSV record, its cells under the names of the header, where it could be split, or its
text.';

create or replace function etl.rejected_count()
returns bigint
language sql
set search_path = ''
as $$
  select count(distinct r.etl$staged) from pg_temp.etl_rejected r
$$;
comment on function etl.rejected_count() is 'How many of the staged records are rejected so far.';

create or replace function etl.reject_faults(step text, faults jsonb[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
    select r.etl$staged, r.column_name, to_jsonb(s.*) ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
    from unnest($1) fault
    cross join jsonb_populate_record(null::pg_temp.etl_rejected, fault) r
    join pg_temp.{step} s on s.etl$staged = r.etl$staged
    $sql$,
    jsonb_build_object('step', step)
  ) using faults;
  perform etl.remove_rejected(step, cardinality(faults));
end
$$;
comment on function etl.reject_faults(text, jsonb[]) is
  'Rejects what etl.isolate found, and takes it out of the step.';

create or replace function etl.remove_rejected(step text, offenders bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if offenders > 0 then
    execute etl.fill(
      $sql$delete from pg_temp.{step} t using pg_temp.etl_rejected r where r.etl$staged = t.etl$staged$sql$,
      jsonb_build_object('step', step)
    );
  end if;
end
$$;
comment on function etl.remove_rejected(text, bigint) is
  'Takes the records that have been rejected out of a step, where there are any offenders.';

create or replace function etl.check_limit(feed etl.feeds, read bigint, at_least boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rejected bigint := etl.rejected_count();
  example text;
begin
  if rejected <= feed.reject_limit * read then
    return;
  end if;
  -- What a trigger or Postgres said may hold a value.
  select concat_ws(
    ' ', 'record', s.record_number || ',', 'column ' || r.column_name || ':',
    regexp_replace(r.reason, '^(is refused by a trigger|cannot be written): .*', '\1'), '(' || r.constraint_name || ')'
  )
  into example
  from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) s
  join pg_temp.etl_rejected r on r.etl$staged = s.ctid
  order by s.record_number
  limit 1;
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      case when at_least then 'at least ' else '' end || rejected, read, round(feed.reject_limit * 100, 2)::float8,
      example
    using errcode = 'ETL06',
      hint = 'Nothing of this feed was loaded. Have the feed mended, or raise etl.feeds.reject_limit.';
end
$$;
comment on function etl.check_limit(etl.feeds, bigint, boolean) is
  'Raises ETL06 where more of the records read are rejected than the feed''s limit; at_least: not all have been
tried.';

revoke all on all functions in schema etl from public;

-- supabase/sql/relations.sql
-- What a record breaks beside others: FOREIGN KEY and UNIQUE.

create or replace function etl.validate_relations(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform etl.validate_references(target);
    continue when etl.validate_unique(target);
    exit when not etl.validate_referenced(target);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass) is
  'Rejects orphans, unique violations and what gives up a value that rows refer to, until there is none: a record
that goes may have been another''s parent.';

create or replace function etl.validate_references(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  again boolean := true;
  has_self_reference boolean := exists (
    select from etl.foreign_keys(target) k where k.child = target and k.parent = target
  );
begin
  while again loop
    again := false;
    for fk in
      select k.*, k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
      from etl.foreign_keys(target) k
      where k.child = target
      order by k.name
    loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select c.etl$staged, {column_name}, to_jsonb(c.*) ->> {column_name}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta c
        where {touched} and {present} and not exists (select from {parent} p where {matches} {and_stays})
          {nor_in_the_feed}
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.name),
          'reason', quote_literal('is in no row of ' || fk.parent || case
            when fk.parent <> target and etl.refers_to(fk.parent, target)
              then ', which refers to this table in turn: neither can be loaded first'
            else ''
          end),
          'parent', fk.parent,
          'touched', case when fk.is_carried then 'true' else 'not c.etl$exists' end,
          'present', fk.present, 'matches', fk.matches,
          -- A parent in the same table counts as the feed leaves it.
          'and_stays', case
            when fk.parent = target then etl.fill(
              'and not exists (select from pg_temp.etl_delta g where {same_key})',
              jsonb_build_object('same_key', etl.same_key(target, 'g', 'p'))
            )
            else ''
          end,
          'nor_in_the_feed', case
            when fk.parent = target then format('and not exists (select from pg_temp.etl_delta p where %s)', fk.matches)
            else ''
          end
        )
      );
      get diagnostics offenders = row_count;
      perform etl.remove_rejected('etl_delta', offenders);
      again := again or (offenders > 0 and has_self_reference);
    end loop;
  end loop;
end
$$;
comment on function etl.validate_references(regclass) is
  'Rejects orphans: what a foreign key finds no parent for. A parent may be in the same feed; without it, its
children go too.';

create or replace function etl.validate_referenced(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  any_rejected boolean := false;
begin
  for fk in
    select k.*
    from etl.foreign_keys(target) k
    where k.parent = target and not k.cascades
      and exists (select from pg_temp.etl_columns c where c.name = any (k.parent_columns))
      and not k.parent_columns <@ etl.key_of(target)
    order by k.name
  loop
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select d.etl$staged, {column_name}, to_jsonb(d.*) ->> {column_name}, {reason}, '23503', {constraint_name}
      from pg_temp.etl_delta d
      join {target} p on {same_key}
      where d.etl$exists and row({old})::record operator(pg_catalog.*<>) row({new})::record
        and exists (select from {child} c where {matches} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', fk.child, 'matches', fk.matches, 'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.each(fk.parent_columns, 'p.{column}'), 'new', etl.each(fk.parent_columns, 'd.{column}'),
        'and_stays', case
          when fk.child = target then etl.fill(
            'and not exists (select from pg_temp.etl_delta g where {same_key})',
            jsonb_build_object('same_key', etl.same_key(target, 'g', 'c'))
          )
          else ''
        end
      )
    );
    get diagnostics offenders = row_count;
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_referenced(regclass) is
  'Rejects what gives up a value that a row refers to, where the foreign key neither cascades nor sets another.
Returns whether there was any.';

create or replace function etl.foreign_keys(of regclass)
returns table (
  name name, child regclass, parent regclass, attnums smallint[], column_name text, parent_columns name[],
  cascades boolean, present text, matches text
)
language sql stable
set search_path = ''
as $$
  select
    k.conname, k.conrelid::regclass, k.confrelid::regclass, k.conkey,
    case when cardinality(k.conkey) = 1 then min(child.attname::text) end,
    array_agg(parent.attname order by pair.position),
    k.confupdtype not in ('a', 'r'),
    '(' || string_agg(
      format('c.%I is not null', child.attname), case when k.confmatchtype = 'f' then ' or ' else ' and ' end
    ) || ')',
    string_agg(
      etl.fill('p.{parent} {equals} c.{child}{collation}', jsonb_build_object(
        'parent', quote_ident(parent.attname), 'child', quote_ident(child.attname),
        'equals', format('operator(%I.%s)', n.nspname, o.oprname),
        'collation', case
          when parent.attcollation <> child.attcollation then etl.collation_of(parent.attcollation)
          else ''
        end
      )),
      ' and '
    )
  from pg_catalog.pg_constraint k
  cross join unnest(k.conkey, k.confkey, k.conpfeqop) with ordinality as pair(child, parent, equals, position)
  join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
  join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
  join pg_catalog.pg_operator o on o.oid = pair.equals
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where k.contype = 'f' and of in (k.conrelid, k.confrelid)
    -- A key to or from a partitioned table has one more row for each partition, beneath that of the table.
    and not exists (
      select from pg_catalog.pg_constraint whole
      where whole.oid = k.conparentid and (whole.conrelid = k.conrelid or whole.confrelid = k.confrelid)
    )
  group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. SQL text: present, whether
the child''s row c refers to anything (under MATCH FULL, in part); matches, whether the parent''s row p is what it
refers to, as the key compares.';

create or replace function etl.refers_to(child regclass, parent regclass)
returns boolean
language sql stable
set search_path = ''
as $$
  with recursive reached as (
    select child::oid as oid
    union
    select k.confrelid
    from reached r
    join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
  )
  select exists (
    select from reached r join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
    where k.confrelid = parent
  )
$$;
comment on function etl.refers_to(regclass, regclass) is
  'Whether a table has a foreign key to another one, be it by way of others.';

create or replace function etl.validate_unique(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  offenders bigint;
  any_rejected boolean := false;
begin
  for ix in
    select i.*, case when cardinality(i.columns) = 1 then i.columns[1] end as column_name
    from etl.unique_indexes(target) i
    where not i.excludes
  loop
    places := jsonb_build_object(
      'target', target, 'entry', ix.entry, 'entry_names', ix.entry_names, 'holds', ix.holds, 'same', ix.same,
      'column_name', quote_nullable(ix.column_name), 'constraint_name', quote_literal(ix.name),
      'key', etl.each(key, '{column}'), 'is_known', etl.each(key[:1], 'e.{column} is not null'),
      'same_key', etl.same_key(target, 'g', 'e'),
      -- While rows refer to it, it cannot be set to null on its way to another row.
      'is_kept', case
        when ix.is_referenced then '(g.etl$staged = d.etl$staged) is not true'
        else 'g.etl$staged is null'
      end
    );
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        with fresh as (
          select etl$staged, to_jsonb(r.*) ->> {column_name} as etl$value, {entry}
          from pg_temp.etl_delta r
          where {holds}
        )
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select
          t.etl$staged, {column_name}, t.etl$value,
          'is another row''s ' || case when t.is_given_up then 'still, and rows refer to it' else 'already' end,
          '23505', {constraint_name}
        from (
          select
            d.*, {is_known} and {is_kept} as kept, {is_known} and {is_kept} and g.etl$staged is not null as is_given_up,
            row_number() over (
              partition by {entry_names}
              order by (g.etl$staged = d.etl$staged) is true desc, d.etl$staged
            ) as place
          from fresh d
          left join (select {key}, {entry} from {target} where {holds}) e on {same}
          left join pg_temp.etl_delta g on {same_key}
        ) t
        where t.kept or t.place > 1
        $sql$,
        places
      ),
      etl.fill(
        $sql$
        select {entry}
        from (select * from pg_temp.etl_delta where etl$staged between $1 and $2 offset 0) d
        where {holds}
        $sql$,
        places
      )
    );
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_unique(regclass) is
  'Rejects unique violations: a value that a row of the target has and keeps, or an earlier record of the feed has.
Returns whether there was any.';

create or replace function etl.unique_indexes(target regclass)
returns table (
  index oid, name name, columns name[], excludes boolean, is_referenced boolean,
  entry text, entry_names text, holds text, same text
)
language sql stable
set search_path = ''
as $$
  select
    x.oid, x.relname,
    array_agg(a.attname order by u.position),
    i.indisexclusion,
    exists (
      select from pg_catalog.pg_constraint k where k.contype = 'f' and k.confrelid = target and k.conindid = x.oid
    ),
    string_agg(format('(%s)%s as etl$%s', u.value, u.collation, u.position), ', ' order by u.position),
    string_agg('d.etl$' || u.position, ', ' order by u.position),
    concat_ws(
      ' and ', coalesce('(' || pg_get_expr(i.indpred, i.indrelid) || ')', 'true'),
      case
        when not i.indnullsnotdistinct then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
      end
    ),
    string_agg(
      etl.fill(
        case
          when i.indnullsnotdistinct then '(e.{entry} {equals} d.{entry} or (e.{entry} is null and d.{entry} is null))'
          else 'e.{entry} {equals} d.{entry}'
        end,
        jsonb_build_object('entry', 'etl$' || u.position, 'equals', case
          when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname)
          else etl.equals(x.oid, u.position)
        end)
      ),
      ' and ' order by u.position
    )
  from pg_catalog.pg_index i
  join pg_catalog.pg_class x on x.oid = i.indexrelid
  cross join lateral (
    select
      n as position, pg_get_indexdef(i.indexrelid, n, false) as value,
      etl.collation_of(i.indcollation[n - 1]) as collation
    from generate_series(1, i.indnkeyatts::int) n
  ) u
  left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[u.position - 1]
  left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype = 'x'
  left join pg_catalog.pg_operator o on o.oid = k.conexclop[u.position]
  left join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where i.indrelid = target and (i.indisunique or i.indisexclusion) and not i.indisprimary
  group by x.oid, i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct, i.indisexclusion, x.relname
  order by x.relname
$$;
comment on function etl.unique_indexes(regclass) is
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an
expression), whether a foreign key refers to them, what they hold of a row, as etl$1, etl$2, …, of which rows (one
with a null violates nothing), and when the entries e and d are the same, or exclude each other.';

create or replace function etl.collation_of(collation_oid oid)
returns text
language sql stable
set search_path = ''
as $$
  select coalesce(
    (
      select format(' collate %I.%I', n.nspname, c.collname)
      from pg_catalog.pg_collation c
      join pg_catalog.pg_namespace n on n.oid = c.collnamespace
      where c.oid = collation_oid and n.nspname || '.' || c.collname <> 'pg_catalog.default'
    ),
    ''
  )
$$;
comment on function etl.collation_of(oid) is
  'SQL text: a COLLATE clause; empty for the database''s own collation, or none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/rules.sql
-- What a record breaks by itself: NOT NULL, CHECK, the header once more. Then the rows that its keys leave, made whole.

create or replace function etl.validate_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  first_broken text;
  offenders bigint;
begin
  create temp table etl_rules on commit drop as
  select
    row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
  from (
    select c.attnum as place, c.name::text as column_name, format('%I is null', c.name) as broken,
      'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
    from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
    union all
    select
      null,
      case
        when cardinality(k.conkey) = 1 then (select c.name from pg_temp.etl_columns c where c.attnum = k.conkey[1])
      end,
      format('(%s) is false', pg_get_expr(k.conbin, k.conrelid)),
      'breaks the rule ' || pg_get_constraintdef(k.oid), '23514', k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.contype = 'c'
      and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    union all
    select
      null, null, string_agg(format('%I::text = %L', c.name, c.source), ' and '),
      'repeats the header line', '22P04', null
    from pg_temp.etl_columns c
    where c.name is not null
  ) r;
  select 'case ' || string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) || ' end'
  into first_broken
  from pg_temp.etl_rules r;
  offenders := etl.execute_on(
    target, 'etl_typed',
    etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select bad.etl$staged, r.column_name, bad.typed ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
      from (
        select t.etl$staged, broken.rule, to_jsonb(t.*) as typed
        from pg_temp.etl_typed t
        cross join lateral (select {first_broken} as rule) broken
        where broken.rule is not null
      ) bad
      join pg_temp.etl_rules r using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken)
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl$staged between $1 and $2$sql$,
      jsonb_build_object('first_broken', first_broken)
    )
  );
  drop table pg_temp.etl_rules;
  perform etl.remove_rejected('etl_typed', offenders);
end
$$;
comment on function etl.validate_rows(regclass) is
  'Rejects what breaks NOT NULL, a CHECK of carried columns, or is the header line once more.';

create or replace function etl.drop_duplicates(target regclass, some_unchanged boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  places jsonb := jsonb_build_object('key', etl.each(key, '{column}'));
  repeated boolean;
  undone bigint := 0;
  dropped bigint := 0;
begin
  if some_unchanged and exists (select from pg_temp.etl_typed t where t.etl$exists) then
    -- Otherwise Postgres may sort all cells by their key, where a look at each would do.
    analyze pg_temp.etl_typed;
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed d
      using ({typed}) t
      where d.etl$exists and {same_key} and t.etl$staged > d.etl$staged
        and not exists (select from pg_temp.etl_rejected r where r.etl$staged = t.etl$staged)
      $sql$,
      jsonb_build_object(
        'typed', etl.typed_cells(with_length => true), 'same_key', etl.same_key(target, 't', 'd')
      )
    );
    get diagnostics undone = row_count;
  end if;
  execute etl.fill(
    $sql$select exists (select from pg_temp.etl_typed group by {key} having count(*) > 1)$sql$, places
  ) into repeated;
  if repeated then
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed t
      using (
        select etl$staged, row_number() over (partition by {key} order by etl$staged desc) as place
        from pg_temp.etl_typed
      ) d
      where d.etl$staged = t.etl$staged and d.place > 1
      $sql$,
      places
    );
    get diagnostics dropped = row_count;
  end if;
  return undone + dropped;
end
$$;
comment on function etl.drop_duplicates(regclass, boolean) is
  'Of records with the same key the last one stays, and none where that one is what the target has already; returns
how many went. some_unchanged: whether any record is what the target has.';

create or replace function etl.complete_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  is_known constant text := etl.each(key[:1], 'o.{column} is not null');
  kept text;
  generated text;
  rows text;
begin
  -- A volatile default is left out, as one that takes from a sequence: a look at the rules must not move it.
  select
    string_agg(
      etl.fill('case when {is_known} then o.{column} else {default} end as {column}', jsonb_build_object(
        'is_known', is_known, 'column', quote_ident(a.attname),
        'default', case when a.attidentity = '' and not etl.is_volatile(d.adbin::text) then v.value else 'null' end
      )),
      ', '
    ) filter (where a.attgenerated = ''),
    string_agg(v.value || ' as ' || quote_ident(a.attname), ', ') filter (where a.attgenerated <> '')
  into kept, generated
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  cross join lateral (select coalesce(pg_get_expr(d.adbin, d.adrelid), 'null') as value) v
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if kept is null and generated is null then
    -- They are whole: no second copy of them.
    alter table pg_temp.etl_typed rename to etl_delta;
    return;
  end if;
  rows := etl.fill(
    $sql$
    select {columns}
    from (select {carried} from pg_temp.etl_typed t left join {target} o on {same_key}) d
    $sql$,
    jsonb_build_object(
      'target', target, 'same_key', etl.same_key(target, 'o', 't'),
      'columns', concat_ws(', ', 'd.*', generated),
      'carried', concat_ws(
        ', ', 't.etl$staged', etl.each(etl.carried_columns(), 't.{column}'), '(' || is_known || ') as etl$exists', kept
      )
    )
  );
  perform etl.execute_on(
    target, 'etl_typed', 'create temp table etl_delta on commit drop as ' || rows,
    rows || ' where d.etl$staged between $1 and $2'
  );
end
$$;
comment on function etl.complete_rows(regclass) is
  'Makes etl_delta of etl_typed: whole rows, as they would be stored, with what the feed does not carry.';

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

create or replace function etl.validate_checks(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rule record;
  places jsonb;
  offenders bigint;
begin
  for rule in
    select a.attname
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      and a.attnotnull and not a.atthasdef and a.attidentity = ''
      and not exists (select from pg_temp.etl_columns c where c.name = a.attname)
      -- An empty table has come to require it meanwhile: no record is at fault.
      and not etl.is_empty(target)
    order by a.attnum
  loop
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, reason, sqlstate)
      select d.etl$staged, {name}, 'is missing', '23502' from pg_temp.etl_delta d where d.{column} is null
      $sql$,
      jsonb_build_object('name', quote_literal(rule.attname), 'column', quote_ident(rule.attname))
    );
    get diagnostics offenders = row_count;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  for rule in
    select
      k.conname, pg_get_expr(k.conbin, k.conrelid) as holds, pg_get_constraintdef(k.oid) as definition,
      case when cardinality(k.conkey) = 1 then a.attname end as column_name
    from pg_catalog.pg_constraint k
    left join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = k.conkey[1]
    where k.conrelid = target and k.contype = 'c'
      and not k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    order by k.conname
  loop
    places := jsonb_build_object(
      'holds', rule.holds, 'column_name', quote_nullable(rule.column_name),
      'reason', quote_literal('breaks the rule ' || rule.definition), 'constraint_name', quote_literal(rule.conname)
    );
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl$staged, {column_name}, to_jsonb(d.*) ->> {column_name}, {reason}, '23514', {constraint_name}
        from pg_temp.etl_delta d
        where ({holds}) is false
        $sql$,
        places
      ),
      etl.fill($sql$select {holds} from pg_temp.etl_delta where etl$staged between $1 and $2$sql$, places)
    );
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
end
$$;
comment on function etl.validate_checks(regclass) is
  'Rejects what lacks a required column that the feed does not carry, or breaks a CHECK that names such a column:
both are tried on the row as it would be stored.';

revoke all on all functions in schema etl from public;

-- supabase/sql/stage.sql
-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. The steps of a load hand each other temp tables, made anew for each feed:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file
--   etl_columns   which source column feeds which column of the target
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_cells     a view: the staged records that can be read, under the target's names, still text
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

create or replace function etl.stage(feed_name text, header text[], delimiter text)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
begin
  perform etl.target_of(feed);
  perform etl.check_time_zone(feed.time_zone);
  drop table if exists
    pg_temp.etl_staging, pg_temp.etl_columns, pg_temp.etl_rejected, pg_temp.etl_typed, pg_temp.etl_delta cascade;
  create temp table etl_rejected (
    etl$staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text
  ) on commit drop;
  create temp table etl_columns (
    position bigint, source text, stored boolean, name name, attnum smallint,
    type text, collate_clause text, base_type text, has_length boolean, textual boolean
  ) on commit drop;
  if header is null then
    create temp table etl_staging (record text) on commit drop;
    return $copy$copy pg_temp.etl_staging (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$;
  end if;
  perform etl.map_columns(feed, header);
  execute etl.fill(
    $sql$create temp table etl_staging ({columns}) on commit drop$sql$,
    jsonb_build_object(
      -- A "char" keeps one byte of whatever it is given.
      'columns', (
        select string_agg(
          'c' || c.position || case when c.stored then ' text' else ' "char"' end, ', ' order by c.position
        )
        from pg_temp.etl_columns c
      )
    )
  );
  return format('copy pg_temp.etl_staging from stdin (format csv, delimiter %L)', delimiter);
end
$$;
comment on function etl.stage(text, text[], text) is
  'Makes the staging table of a feed, for a CSV header or (header null) for JSON, and returns the COPY statement
that fills it. Raises what etl.target_of(), etl.check_time_zone() and etl.map_columns() raise.';

create or replace function etl.target_of(feed etl.feeds)
returns regclass
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := to_regclass(feed.target);
begin
  if target is null then
    raise exception 'its table % does not exist', feed.target
      using errcode = 'undefined_table', hint = 'Create it in a migration, or correct etl.feeds.target.';
  end if;
  if (select c.relkind not in ('r', 'p') from pg_catalog.pg_class c where c.oid = target) then
    raise exception 'its target % is no table', feed.target
      using errcode = 'ETL04', hint = 'Name the table beneath it in etl.feeds.target.';
  end if;
  if exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.is_instead and r.ev_type in ('2', '3')
  ) then
    raise exception 'its table % has a rule that does something else INSTEAD of a write', feed.target
      using errcode = 'ETL04', hint = 'Drop the rule, or make it a trigger: what it swallows could not be counted.';
  end if;
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  return target;
end
$$;
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, ETL04 where it is no table or has a rule
INSTEAD of a write, ETL02 where it has no primary key.';

create or replace function etl.key_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by k.position)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = target and i.indisprimary and k.position <= i.indnkeyatts
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
begin
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, textual
  )
  select
    h.position, h.source,
    -- A row of up to 340 texts fits a page, for the long ones are kept elsewhere. The first cell may hold the sentinel.
    c.name is not null or cardinality(header) <= 300 or h.position = 1,
    c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.textual
  from unnest(header) with ordinality as h(source, position)
  -- A name is cut to 63 bytes, as Postgres cuts that of a column.
  left join etl.loadable_columns(target) c on c.name = (coalesce(feed.columns ->> h.source, h.source))::name;

  select string_agg(quote_ident(twice.source), ', ') into fault
  from (
    select min(c.source) as source
    from pg_temp.etl_columns c
    group by c.name, case when c.name is null then c.source end
    having count(*) > 1
  ) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    -- Without a required column the rows that are there can still be corrected.
    and (
      a.attname = any (etl.key_of(target))
      or (a.attnotnull and not a.atthasdef and a.attidentity = '' and etl.is_empty(target))
    )
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, (
        select left(string_agg(quote_ident(c.source), ', ' order by c.position), 500) from pg_temp.etl_columns c
      )
      using errcode = 'ETL03', hint = 'Where the feed spells a name differently, say so in etl.feeds.columns.';
  end if;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have. Raises ETL03 where a column is
named twice, or the key or a NOT NULL column without default is missing.';

create or replace function etl.loadable_columns(target regclass)
returns table (
  name name, attnum smallint, type text, collate_clause text, base_type text, has_length boolean, textual boolean
)
language sql stable
set search_path = ''
as $$
  select
    a.attname, a.attnum, format_type(a.atttypid, a.atttypmod),
    case when a.attcollation <> t.typcollation then etl.collation_of(a.attcollation) else '' end,
    format_type(base.oid, -1), a.atttypmod <> -1 or base.has_length, t.typcategory = 'S'
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_type t on t.oid = a.atttypid
  cross join lateral (
    with recursive chain as (
      select t.oid, t.typtype, t.typbasetype, t.typtypmod <> -1 as has_length
      union all
      select b.oid, b.typtype, b.typbasetype, chain.has_length or b.typtypmod <> -1
      from chain
      join pg_catalog.pg_type b on b.oid = chain.typbasetype
      where chain.typtype = 'd'
    )
    select chain.oid, chain.has_length from chain where chain.typtype <> 'd'
  ) base
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    -- What the database alone decides could be inserted, but never updated.
    and (a.attidentity <> 'a' or a.attname = any (etl.key_of(target)))
$$;
comment on function etl.loadable_columns(regclass) is
  'The columns of a table that a feed can fill: their type in full; their collation, as SQL, where it is not the
type''s; the type without length beneath all domains; whether a length can change what is assigned; and whether an
empty text is a value of it.';

create or replace function etl.check_time_zone(zone text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
begin
  -- With a digit in it Postgres would take anything for a zone, and read its sign the other way round.
  if zone ~ '[0-9]' and not exists (select from pg_catalog.pg_timezone_names z where z.name = zone) then
    raise invalid_parameter_value;
  end if;
  perform set_config('timezone', zone, true);
  perform set_config('timezone', before, true);
exception when invalid_parameter_value then
  raise exception 'there is no time zone %', zone
    using errcode = 'ETL09', hint = 'Name a place in etl.feeds.time_zone, as America/New_York: see pg_timezone_names.';
end
$$;
comment on function etl.check_time_zone(text) is 'Raises ETL09 for what is not the name of a time zone.';

revoke all on all functions in schema etl from public;

-- supabase/sql/write.sql
-- Writing etl_delta into the target: all at once, and where that is refused without the records that are at fault.

create or replace function etl.write_delta(target regclass, inserted bigint, updated bigint, rejects_left bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  parts record;
  state text;
  said text;
  rule text;
  at_column text;
  advice text;
begin
  if inserted + updated = 0 then
    return true;
  end if;
  -- What waits for the commit would be nobody's fault there, and the end of the whole run.
  set constraints all immediate;
  begin
    perform etl.write_at_once(target, inserted, updated);
    return true;
  exception when others or assert_failure then
    get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
      at_column = column_name, advice = pg_exception_hint;
    if not etl.is_record_fault(target, state, rule, at_column) then
      raise;
    end if;
  end;
  parts := etl.write_in_parts(target, updated, rejects_left);
  if not parts.written and parts.faults = '{}' then
    raise exception '%', said using errcode = state, hint = advice;
  end if;
  perform etl.reject_faults('etl_delta', parts.faults);
  return parts.written;
end
$$;
comment on function etl.write_delta(regclass, bigint, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones, all at once; true when that is done. Where a record is
refused by what only a write can ask (a trigger, an exclusion constraint, an index), nothing is written, and the
records at fault are rejected, with false: it is then to be called again, for others may have counted on them.
rejects_left: how many more the feed may have.';

create or replace function etl.write_at_once(target regclass, inserted bigint, updated bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  repairs text[] := case when updated > 0 then etl.free_values(target) else etl.defer_indexes(target) end;
  statement record := etl.write_statements(target);
begin
  -- Without ON CONFLICT, which costs a sixth more: it looks each key up first.
  perform etl.write_rows(
    target, statement.insert_new, statement.update_known, statement.count_gone, expected => inserted + updated
  );
  perform etl.repair(repairs);
end
$$;
comment on function etl.write_at_once(regclass, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones. Raises whatever the target raises at any record.';

create or replace function etl.write_in_parts(
  target regclass, updated bigint, rejects_left bigint, out written boolean, out faults jsonb[]
)
language plpgsql
set search_path = ''
as $$
declare
  self_references name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
  statement record := etl.write_statements(target);
  repairs text[] := '{}';
begin
  if updated > 0 then
    repairs := etl.free_values(target);
  end if;
  -- A part may hold a child without its parent. Whether there is one, etl.validate_references tells; this is undone.
  if self_references <> '{}' then
    execute etl.fill($sql$alter table {target} {drops}$sql$, jsonb_build_object(
      'target', target, 'drops', etl.each(self_references, 'drop constraint {column}')
    ));
  end if;
  faults := etl.isolate(target, 'etl_delta', rejects_left => rejects_left, statement => etl.fill(
    $sql$select etl.write_rows({target}, {insert_new}, {update_known}, {count_gone}, $3, $1, $2)$sql$,
    jsonb_build_object(
      'target', quote_literal(target), 'insert_new', quote_literal(statement.insert_new || statement.on_conflict),
      'update_known', quote_nullable(statement.update_known), 'count_gone', quote_literal(statement.count_gone)
    )
  ));
  written := faults = '{}' and self_references = '{}';
  if written then
    perform etl.repair(repairs);
  else
    raise exception using errcode = 'ETL00';
  end if;
exception when sqlstate 'ETL00' then
  return;
end
$$;
comment on function etl.write_in_parts(regclass, bigint, bigint) is
  'Writes etl_delta part by part, and finds the records at fault. written: whether what it wrote stays, since none
was; otherwise all is as before.';

create or replace function etl.write_statements(
  target regclass, out insert_new text, out on_conflict text, out update_known text, out count_gone text
)
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := etl.carried_columns();
  rest name[] := array(select c from unnest(carried) c where c <> all (key));
  is_immediate boolean := (
    select i.indimmediate from pg_catalog.pg_index i where i.indrelid = target and i.indisprimary
  );
  places jsonb := jsonb_build_object(
    'target', target, 'carried', etl.each(carried, '{column}'), 'key', etl.each(key, '{column}'),
    'same_key', etl.same_key(target, 'o', 'd'),
    'part', '($1 is null or d.etl$staged between $1 and $2)',
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta d where not d.etl$exists and {part}
    $sql$,
    places
  );
  on_conflict := case
    when not is_immediate then ''
    when rest = '{}' then etl.fill($sql$ on conflict ({key}) do nothing$sql$, places)
    else etl.fill($sql$ on conflict ({key}) do update set {excluded}$sql$, places)
  end;
  -- Not by ON CONFLICT: Postgres would try the CHECKs of a known row on defaults in place of what the feed does not
  -- carry.
  update_known := case
    when rest <> '{}' then etl.fill(
      $sql$update {target} o set {fed} from pg_temp.etl_delta d where d.etl$exists and {part} and {same_key}$sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from pg_temp.etl_delta d
    where d.etl$exists and {part} and not exists (select from {target} o where {same_key})
    $sql$,
    places
  );
end
$$;
comment on function etl.write_statements(regclass) is
  'SQL text. Of etl_delta, or its part from record $1 to $2: to insert the new rows, and what to do with one that
another session has inserted meanwhile; to update the known ones (null where the feed carries the key alone), and to
count those that are no longer known.';

create or replace function etl.write_rows(
  target regclass, insert_new text, update_known text, count_gone text, expected bigint,
  first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  written bigint;
  updated bigint;
  gone bigint;
begin
  execute insert_new using first, last;
  get diagnostics written = row_count;
  if written < expected and update_known is not null then
    execute update_known using first, last;
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  if written = expected then
    return;
  end if;
  execute count_gone into gone using first, last;
  if gone > 0 then
    raise exception 'another session deleted % of the rows to be updated', gone
      using errcode = 'serialization_failure', hint = 'Run again.';
  end if;
  raise exception '% of % rows were not written', expected - written, expected
    using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
end
$$;
comment on function etl.write_rows(regclass, text, text, text, bigint, tid, tid) is
  'Executes etl.write_statements, for so many rows. Raises 40001 where another session has deleted a row since it
was compared, ETL05 where a trigger or rule drops rows.';

create or replace function etl.free_values(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  moving text;
  wanted boolean;
  sees_updates boolean := exists (
    select from pg_catalog.pg_trigger g where g.tgrelid = target and not g.tgisinternal and g.tgtype & 16 > 0
  );
  loosened name[] := '{}';
  repairs text[] := '{}';
begin
  for ix in
    select i.*, a.attname as freed, a.attnotnull as required
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an exclusion's expression a null need not make a null: a range without a bound is the larger one.
      select a.attname, a.attnotnull
      from pg_catalog.pg_attribute a
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      left join pg_catalog.pg_depend p
        on p.classid = 'pg_catalog.pg_class'::regclass and p.objid = i.index
        and p.refobjid = target and p.refobjsubid = a.attnum
      where a.attrelid = target and (a.attname = any (i.columns) or (p.objid is not null and not i.excludes))
      order by (a.attname = any (i.columns)) is true desc, a.attnotnull, a.attnum
      limit 1
    ) a
  loop
    places := jsonb_build_object(
      'target', target, 'freed', quote_ident(ix.freed), 'key', etl.each(key, '{column}'),
      'entry', ix.entry, 'holds', ix.holds, 'same', ix.same,
      'same_key', etl.same_key(target, 'd', 'e'), 'given_up', etl.same_key(target, 'g', 'e'),
      'this_row', etl.same_key(target, 'o', 'e')
    );
    moving := etl.fill(
      $sql$
      from (select {key}, {entry} from {target} where {holds}) e
      join (select {key}, {entry} from pg_temp.etl_delta where {holds}) d on {same} and not ({same_key})
      $sql$,
      places
    );
    if ix.excludes then
      moving := moving || etl.fill($sql$join pg_temp.etl_delta g on {given_up}$sql$, places);
    end if;
    execute format('select exists (select %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    -- Two nulls would violate it, or a trigger would see them.
    if sees_updates or (select i.indnullsnotdistinct from pg_catalog.pg_index i where i.indexrelid = ix.index) then
      repairs := repairs || etl.drop_unique(target, ix.index);
      continue;
    end if;
    if ix.required and ix.freed <> all (loosened) then
      execute etl.fill($sql$alter table {target} alter {freed} drop not null$sql$, places);
      loosened := loosened || ix.freed;
      repairs := repairs || etl.fill($sql$alter table {target} alter {freed} set not null$sql$, places);
    end if;
    execute etl.fill(
      $sql$update {target} o set {freed} = null {moving} where {this_row}$sql$,
      places || jsonb_build_object('moving', moving)
    );
  end loop;
  return repairs;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each value of a unique index or an exclusion constraint that a row gives up and another takes in
this run, in a column that the feed carries and so fills again: Postgres looks for violations row by row, so that
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where two nulls violate the index, or a
trigger would see them, the index is dropped. Returns the statements that put this right again, once all is written.';

create or replace function etl.drop_unique(target regclass, index oid)
returns text
language plpgsql
set search_path = ''
as $$
declare
  rule pg_catalog.pg_constraint := (
    select k from pg_catalog.pg_constraint k where k.conindid = index and k.contype in ('u', 'x')
  );
  repair text;
begin
  if rule.oid is null then
    repair := pg_get_indexdef(index);
    execute format('drop index %s', index::regclass);
  else
    repair := format('alter table %s add constraint %I ', target, rule.conname) || pg_get_constraintdef(rule.oid);
    execute format('alter table %s drop constraint %I', target, rule.conname);
  end if;
  return repair;
end
$$;
comment on function etl.drop_unique(regclass, oid) is
  'Drops a unique index or that of an exclusion constraint, with its constraint where it has one, and returns the
statement that makes it again.';

create or replace function etl.defer_indexes(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  deferred record;
  repairs text[] := '{}';
begin
  -- A trigger may look things up by these indexes, for each row.
  if not etl.is_empty(target)
    or exists (select from pg_catalog.pg_trigger g where g.tgrelid = target and not g.tgisinternal)
  then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  for deferred in
    select i.indexrelid::regclass as index, pg_get_indexdef(i.indexrelid) as definition
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and i.indisvalid and not i.indisunique and not i.indisexclusion
      -- What the definition does not tell.
      and x.relkind = 'i' and not x.relispartition and not i.indisclustered and x.reltablespace = 0
      and obj_description(i.indexrelid, 'pg_class') is null
    order by i.indexrelid
  loop
    execute format('drop index %s', deferred.index);
    repairs := repairs || deferred.definition;
  end loop;
  return repairs;
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all
is written: at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table
waiting until the commit; where it cannot be had at once, nothing is dropped.';

create or replace function etl.repair(statements text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  statement text;
begin
  foreach statement in array statements loop
    execute statement;
  end loop;
end
$$;
comment on function etl.repair(text[]) is 'Executes what etl.free_values and etl.defer_indexes returned.';

revoke all on all functions in schema etl from public;

reset check_function_bodies;
