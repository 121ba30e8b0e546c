-- From cells to values of the target's types, of those records alone that are new or differ.

create or replace function etl.cast_cells(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  is_empty boolean := etl.is_empty(target);
  statement text;
  different bigint;
begin
  perform etl.shape_table('etl_typed', '{etl$staged tid,etl$exists boolean}'::text[] || array(
    select format('%I %s%s', c.name, c.type, c.collate_clause)
    from pg_temp.etl_columns c
    where c.name is not null
    order by c.position
  ));
  perform etl.accept_days();
  statement := etl.cast_statement(target, is_empty);
  begin
    execute statement;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    -- Numbers such as 7.0 in columns of integers: only where they are is it worth to look for them.
    update pg_temp.etl_columns set lenient = true where kind = 'integer';
    perform etl.validate_cells();
    execute etl.cast_statement(target, is_empty);
  end;
  get diagnostics different = row_count;
  return different - case when is_empty then 0 else etl.drop_assigned(target) end;
end
$$;
comment on function etl.cast_cells(regclass) is
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
  'SQL text: fills etl_typed from the cells with what is new or differs; is_empty: the target has no row to compare
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
  -- What is *<> as an operator compares what is stored, byte by byte: it needs no equality operator, and sees 1.0
  -- become 1.00. It wants one type on both sides, and the typed record has no domains yet. By its name, for Citus.
  select etl.fill('pg_catalog.record_image_ne(row({fed}), row({stored}))', jsonb_build_object(
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
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select string_agg(
      etl.fill('{a}.{column} {equals} {b}.{column}', jsonb_build_object(
        'a', a, 'b', b, 'column', quote_ident(k.name), 'equals', etl.equals(i.indexrelid, k.position::int)
      )),
      ' and ' order by k.position
    )
    from pg_catalog.pg_index i
    cross join unnest(etl.key_of(target)) with ordinality as k(name, position)
    where i.indrelid = target and i.indisprimary
  );
end
$$;
comment on function etl.same_key(regclass, text, text) is
  'SQL text: whether two rows, under these aliases, have the same primary key, as its index compares.';

create or replace function etl.equals(index oid, place int)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
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
  );
end
$$;
comment on function etl.equals(oid, int) is
  'SQL text: the operator by which a B-tree index finds two values of its column at this position equal.';

create or replace function etl.typed_cells(with_length boolean, of_rejected boolean default false)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select etl.fill($sql$select cells.etl$staged, {values} from ({cells}) cells$sql$, jsonb_build_object(
      'cells', etl.cells(of_rejected),
      'values', string_agg(
        etl.as_type(
          etl.fill(
            case
              when with_length or c.refused = 'false' then '{spelled}'
              else 'case when {usual} then {plain} when {refused} then etl.no_value({spelled}) else {spelled} end'
            end,
            jsonb_build_object(
              -- What is usual is not empty.
              'spelled', c.spelled, 'plain', case when c.nulls = '{}' then c.cell else c.spelled end,
              'usual', coalesce(c.usual, 'false'), 'refused', c.refused
            )
          ),
          c.type, case when with_length then c.type else c.base_type end
        ) || ' as ' || quote_ident(c.name),
        ', ' order by c.position
      )
    ))
    from (
      select
        c.position, c.name, c.type, c.base_type, c.nulls, x.cell,
        etl.spelled(x.cell, c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled,
        etl.usual_form(x.cell, c.kind, c.decimal_comma, c.lenient) as usual,
        etl.refused_cell(x.cell, c.kind, c.refused, c.forms, c.decimal_comma, c.lenient) as refused
      from pg_temp.etl_columns c
      cross join format('cells.%I', c.name) as x(cell)
      where c.name is not null
    ) c
  );
end
$$;
comment on function etl.typed_cells(boolean, boolean) is
  'SQL text: the query that casts the cells, to the columns'' types with their length, or without: a cast to
varchar(3) cuts what is longer, where the assignment to such a column raises. With it, for cells that were cast before;
without it, it raises 22007 for a cell that is refused. of_rejected: as in etl.cells().';

create or replace function etl.as_type(cell text, type text, as_type text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  base oid := etl.base_type(to_regtype(type));
begin
  return format(
    case
      -- A cast reads the text without the fields, and cuts it to them afterwards.
      when base = any ('{interval,interval[]}'::regtype[]) and type not in ('interval', 'interval[]')
        or exists (
          select from pg_catalog.pg_cast c
          where c.castsource = 'text'::regtype and c.casttarget = base and c.castmethod = 'f'
        )
        then '(select x.v from json_to_record(json_build_object(''v'', %s)) as x (v %s))'
      else '%s::%s'
    end,
    cell, as_type
  );
end
$$;
comment on function etl.as_type(text, text, text) is
  'SQL text: a cell (SQL text, too) for a column of this type as a value of another one, mostly that beneath its
domains. As the type''s input reads it, also where a cast from text would not: to 1 an interval day is a day, and 1259 a
regclass.';

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
  execute format('select not exists (select 1 from %s)', target) into is_empty;
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
  spelled text;
begin
  select
    string_agg(
      etl.fill(
        'when {missing} or ({value}) is not null and ({refused}) or not (' || is_valid || ') then {literal}',
        jsonb_build_object(
          'value', c.spelled, 'type', quote_literal(c.type), 'literal', quote_literal(c.name),
          'missing', case when c.refuses_null then format('(%s) is null', c.spelled) else 'false' end,
          'refused', etl.refused_cell(quote_ident(c.name), c.kind, c.refused, c.forms, c.decimal_comma, c.lenient)
        )
      ),
      ' ' order by c.attnum
    ),
    string_agg(format('when %L then %s', c.name, c.spelled), ' ')
  into first_fault, spelled
  from (
    select
      c.*,
      etl.spelled(quote_ident(c.name), c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled,
      etl.refuses_null(c.type::regtype) as refuses_null
    from pg_temp.etl_columns c
    where c.name is not null and c.type <> 'text'
  ) c;
  if first_fault is null then
    return;
  end if;
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate)
    select
      bad.etl$staged, bad.name, bad.value, etl.reason_of(bad.value, c.type, why.sqlstate, c.needs_order), why.sqlstate
    from (
      select
        cells.etl$staged, fault.name, to_jsonb(cells.*) ->> fault.name as value,
        case fault.name {spelled} end as spelled
      from ({cells}) cells
      cross join lateral (select case {first_fault} end as name) fault
      where fault.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    -- Of what is refused Postgres may have read another value than its text says, as 125 in 12.5 with a decimal comma.
    cross join lateral (
      select case
        when bad.spelled is null then '23502'
        when etl.is_refused(bad.value, c.kind, c.refused, c.forms) then etl.refused_state(c.kind)
        else {error}
      end as sqlstate
    ) why
    $sql$,
    jsonb_build_object(
      'first_fault', first_fault, 'spelled', spelled, 'cells', etl.cells(),
      'error', etl.fill(error_of, jsonb_build_object('value', 'bad.spelled', 'type', 'c.type'))
    )
  );
end
$$;
comment on function etl.reject_cells(text, text) is
  'Rejects by two templates with the places {value} and {type}: whether a text is a value of a type, and the SQLSTATE
for one that is not.';

create or replace function etl.reason_of(value text, type text, state text, needs_order boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when state = '23502' then 'is missing'
    when state = '22007' and value ~* etl.signed_zone()
      then 'has a zone of letters and a sign, which some read the other way round: +02 is sure'
    when state = '22007' and value ~* etl.zone_among(etl.common_zones(true) || etl.common_zones(false))
      then 'has a zone of letters that means several, if it is not that of etl.feeds.time_zone: +02 is sure'
    when state = '22007' and type like 'time with time zone%' and value ~* etl.time_without_zone()
      then 'has no zone, and that of its place is another one in summer: +02 is sure'
    when needs_order and state = '22007'
      and (value ~* etl.unordered_date() or value ~ '(?<![-/.\d])\d{1,2}[-/. ]\d{1,2}[-/. ]\d{3,4}(?!\d)')
      then 'is a date in an order that etl.feeds.date_order must name'
    when state in ('22003', '22008') then 'is out of the range of ' || type
    when state = '22001' then 'is too long for ' || type
    when state = '23514' then 'breaks a rule of ' || type
    else 'is no ' || type
  end;
end
$$;
comment on function etl.reason_of(text, text, text, boolean) is
  'Why a text is no value of a type, in words, by the SQLSTATE of its input; needs_order: whether only a date that
begins with its year can be read.';

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
