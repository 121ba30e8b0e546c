-- All that is wrong with a rejected record, so that its partner mends it once. The merge rejects a record for the first
-- rule that it breaks; only then, and of such records alone, the others are looked for.

create or replace function etl.find_faults(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
declare
  style text := current_setting('datestyle');
  target regclass := etl.regclass_of(feed.target);
  depth text;
begin
  if not exists (select from pg_temp.etl_rejected) then
    return;
  end if;
  perform etl.set_date_order(feed);
  foreach depth in array case
    when exists (select from pg_temp.etl_columns c where c.name is not null)
      then '{rules,cells,none}'::text[]
    else '{none}'
  end loop
    begin
      execute etl.faults_statement(target, depth);
      exit;
    exception when others then
      -- A rule, or the input of a type, raises in place of telling: then less is known, and that is no failure.
      if sqlstate ~ '^(08|25|40|53|55|57|58|XX)' then
        raise;
      end if;
    end;
  end loop;
  perform set_config('datestyle', style, true);
end
$$;
comment on function etl.find_faults(etl.feeds) is
  'Fills etl_rejected.faults: first what the record was rejected for; then all cells that are no value of their type,
what else is missing, the CHECKs of carried columns that do not hold, and the parents, but for those in the same table,
that are not there. Unique violations and triggers are not looked for again.';

create or replace function etl.faults_statement(target regclass, depth text)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return etl.fill(
    $sql$
    with {cells}, every as (
      select
        r.etl$staged, 0 as place, r.column_name, r.reason, r.sqlstate, r.constraint_name, r.value
      from pg_temp.etl_rejected r
      {more}
    )
    update pg_temp.etl_rejected r
    set faults = f.faults
    from (
      select
        e.etl$staged,
        jsonb_agg(
          jsonb_strip_nulls(jsonb_build_object(
            'column', e.column_name, 'source', c.source, 'reason', e.reason, 'sqlstate', e.sqlstate,
            'constraint', e.constraint_name, 'value', coalesce(to_jsonb(x.*) ->> e.column_name, e.value)
          ))
          order by e.place
        ) as faults
      from every e
      left join cells x on x.etl$staged = e.etl$staged
      left join pg_temp.etl_columns c on c.name = e.column_name
      group by e.etl$staged
    ) f
    where r.etl$staged = f.etl$staged
    $sql$,
    case
      when depth = 'none' then '{"cells": "cells as (select null::tid as etl$staged)", "more": ""}'::jsonb
      else jsonb_build_object(
        'cells', etl.faulty_cells(target),
        'more', etl.fill(
          $sql$
          union all
          select m.etl$staged, m.place, m.column_name, m.reason, m.sqlstate, m.constraint_name, null
          from ({found}) m
          where not exists (
            select 1
            from pg_temp.etl_rejected r
            where r.etl$staged = m.etl$staged
              and row(r.column_name, r.constraint_name) is not distinct from row(m.column_name, m.constraint_name)
          )
          $sql$,
          jsonb_build_object('found', concat_ws(
            ' union all ',
            -- In parentheses each, so that Citus plans a parent's table by itself.
            $sql$(
            select
              b.etl$staged, c.attnum::int as place, b.column_name,
              etl.reason_of(b.value, c.type, why.state, c.needs_order) as reason, why.state as sqlstate,
              null::text as constraint_name
            from bad b
            join pg_temp.etl_columns c on c.attnum = b.attnum
            cross join lateral (
              select case
                when b.is_missing then '23502'
                when etl.is_refused(b.value, c.kind, c.refused, c.forms) then etl.refused_state(c.kind)
                else (pg_input_error_info(b.spelled, c.type)).sql_error_code
              end as state
            ) why
            )$sql$,
            case when depth = 'rules' then '(' || etl.broken_checks(target) || ')' end,
            case when depth = 'rules' then '(' || etl.lost_parents(target) || ')' end
          ))
        )
      )
    end
  );
end
$$;
comment on function etl.faults_statement(regclass, text) is
  'SQL text: fills etl_rejected.faults. depth: none, with what the records were rejected for; cells, with all their
cells; rules, with CHECKs and parents, too.';

create or replace function etl.faulty_cells(target regclass)
returns text
language sql stable
set search_path = ''
as $$
  select etl.fill(
    $sql$
    cells as materialized (
      select c.*
      from ({cells}) c
      -- The header once more has no faults of its own.
      where exists (
        select 1 from pg_temp.etl_rejected r where r.etl$staged = c.etl$staged and r.sqlstate <> '22P04'
      )
    ), bad as materialized (
      select c.etl$staged, f.*
      from cells c
      cross join lateral (values {each}) f(column_name, attnum, value, spelled, is_invalid, is_missing)
      where f.is_invalid or f.is_missing
    ), typed as materialized (
      select c.etl$staged, c.etl$bad, {typed}
      from (
        select cells.*, coalesce(b.attnums, '{}') as etl$bad
        from cells
        left join (select etl$staged as record, array_agg(attnum) as attnums from bad group by etl$staged) b
          on b.record = cells.etl$staged
      ) c
    )
    $sql$,
    jsonb_build_object(
      'cells', etl.cells(of_rejected => true),
      'each', string_agg(
        etl.fill(
          $sql$(
            {name}, {attnum}::smallint, c.{column}, {spelled},
            not pg_input_is_valid({spelled}, {type}) or (({spelled}) is not null and ({refused})),
            {is_required} and ({spelled}) is null
          )$sql$,
          places.of_column
        ),
        ', '
      ),
      'typed', string_agg(
        etl.fill(
          'case when {attnum} <> all (c.etl$bad) then {typed} end as {column}', places.of_column
        ),
        ', '
      )
    )
  )
  from pg_temp.etl_columns c
  join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum
  cross join etl.spelled(format('c.%I', c.name), c.kind, c.nulls, c.decimal_comma, c.lenient) s(spelled)
  cross join lateral (
    select jsonb_build_object(
      'name', quote_literal(c.name), 'column', quote_ident(c.name), 'attnum', c.attnum,
      'type', quote_literal(c.type), 'is_required', etl.is_required(target, a.attnum),
      'typed', etl.as_type(format('(%s)', s.spelled), c.type, etl.step_type(target, a.attnum)),
      'refused', etl.refused_cell(
        format('c.%I', c.name), c.kind, c.refused, c.forms, c.decimal_comma, c.lenient
      ),
      'spelled', s.spelled
    ) as of_column
  ) places
  where c.name is not null
$$;
comment on function etl.faulty_cells(regclass) is
  'SQL text, for WITH: cells, of the rejected records that could be split; bad, those of them at fault; and typed, the
records with a null for each cell at fault, and in etl$bad the numbers of these.';

create or replace function etl.broken_checks(target regclass)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill(
      $sql$
      select t.etl$staged, {place}, {column_name}, {reason}, '23514', {constraint_name}
      from typed t
      where ({holds}) is false and not t.etl$bad && {columns}
      $sql$,
      jsonb_build_object(
        'place', 2000 + k.place, 'column_name', quote_nullable(k.column_name), 'holds', k.holds,
        'reason', quote_literal('breaks the rule ' || k.definition), 'constraint_name', quote_literal(k.conname),
        'columns', quote_literal(k.conkey) || '::smallint[]'
      )
    ),
    ' union all '
  )
  from (
    select
      row_number() over (order by k.conname) as place, k.conname, k.conkey,
      pg_get_expr(k.conbin, k.conrelid) as holds, pg_get_constraintdef(k.oid) as definition,
      case when cardinality(k.conkey) = 1 then c.name end as column_name
    from pg_catalog.pg_constraint k
    join pg_temp.etl_columns c on c.attnum = k.conkey[1]
    where k.conrelid = target and k.contype = 'c'
      and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
  ) k
$$;
comment on function etl.broken_checks(regclass) is
  'SQL text: of typed the CHECKs that do not hold, of carried columns of which no cell is at fault; null where the table
has none.';

create or replace function etl.lost_parents(target regclass)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill(
      $sql$
      select c.etl$staged, {place}, {column_name}, {reason}, '23503', {constraint_name}
      from typed c
      left join {parent} p on {matches}
      where {present} and p.{parent_column} is null and not c.etl$bad && {columns}
      $sql$,
      jsonb_build_object(
        'place', 4000 + k.place, 'column_name', quote_nullable(k.column_name), 'constraint_name', quote_literal(k.name),
        'reason', quote_literal('is in no row of ' || k.parent), 'parent', etl.own_rows(k.parent),
        'matches', k.matches, 'present', k.present, 'parent_column', quote_ident(k.parent_columns[1]),
        'columns', quote_literal(k.attnums) || '::smallint[]'
      )
    ),
    ' union all '
  )
  from (
    select row_number() over (order by f.name) as place, f.*
    from etl.foreign_keys(target) f
    -- Which rows of its own table there will be is not known of what is not loaded.
    where f.child = target and f.parent <> target
      and f.attnums <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
  ) k
$$;
comment on function etl.lost_parents(regclass) is
  'SQL text: of typed what a foreign key of carried columns finds no parent for in another table, where no cell of it is
at fault; null where the table has none.';

revoke all on all functions in schema etl from public;
