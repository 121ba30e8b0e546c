-- The rejects of a load: which are kept in etl.rejects, how many there are, and whether they are too many.

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  perform etl.find_faults(loaded);
  execute etl.fill(
    $sql$
    with present as materialized ({present}
    ), known as materialized (
      select distinct on (r.record_number) r.id, r.record_number
      from etl.rejects r
      join present p on p.record_number = r.record_number
      where r.feed = $1
      order by r.record_number, r.since desc
    ), gone as (
      delete from etl.rejects r
      where r.feed = $1 and (r.record_number is not null or $3) and not exists (select from known k where k.id = r.id)
      returning 1
    ), rewritten as (
      update etl.rejects r
      set record = p.record, raw = p.raw, as_json = p.as_json, column_name = p.column_name, value = p.value,
        reason = p.reason, sqlstate = p.sqlstate, constraint_name = p.constraint_name, faults = p.faults, last_run = $2
      from known k
      join present p on p.record_number = k.record_number
      where r.id = k.id
        and row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults)
          is distinct from row(
            p.record, p.raw, p.column_name, p.value, p.reason, p.sqlstate, p.constraint_name, p.faults
          )
      returning 1
    ), written as (
      insert into etl.rejects (
        feed, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name, faults,
        first_run, last_run
      )
      select
        $1, p.record_number, p.record, p.raw, p.as_json, p.column_name, p.value, p.reason, p.sqlstate,
        p.constraint_name, p.faults, $2, $2
      from present p
      where not exists (select from known k where k.record_number = p.record_number)
      returning 1
    )
    select exists (table gone) or exists (table rewritten) or exists (table written)
    $sql$,
    jsonb_build_object('present', etl.rejected_records(as_json))
  ) into is_written using loaded.name, run, loaded.absent = 'keep';
  return is_written;
end
$$;
comment on function etl.keep_rejects(etl.feeds, uuid, boolean) is
  'Makes etl.rejects what is wrong now, writing only what is new, other or gone; returns whether anything was.
What has no number is a row that the file lacks: see etl.keep_kept().';

create or replace function etl.rejected_records(as_json boolean)
returns text
language sql stable
set search_path = ''
as $$
  select etl.fill(
    $sql$
      select
        r.etl$staged, n.record_number, {record} as record, {raw} as raw, {as_json} as as_json, r.column_name, r.value,
        r.reason, r.sqlstate, r.constraint_name, r.faults
      from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
      join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
        on n.ctid = r.etl$staged
      join pg_temp.etl_staging s on s.ctid = r.etl$staged
    $sql$,
    case when as_json then etl.rejected_json() else etl.rejected_csv() end
      || jsonb_build_object('as_json', as_json)
  )
$$;
comment on function etl.rejected_records(boolean) is
  'SQL text: the query for the staged records that are rejected, with their numbers, as etl.rejects has them.';

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
    $sql$
    case when r.raw is null then (select jsonb_object({names}::text[], array[{cells}]::text[]) {unpacked}) end
    $sql$,
    jsonb_build_object(
      'names', quote_literal(array_agg(n.name order by c.position)),
      'cells', string_agg(etl.cell_at(c.position, etl.wide_cells()), ', ' order by c.position),
      'unpacked', coalesce('from ' || etl.unpacked(etl.wide_cells()), '')
    )
  ))
  from pg_temp.etl_columns c
  join etl.source_names() n on n.place = c.position
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
    select r.etl$staged, r.column_name, {value}, r.reason, r.sqlstate, r.constraint_name
    from unnest($1) fault
    cross join jsonb_populate_record(null::pg_temp.etl_rejected, fault) r
    join pg_temp.{step} s on s.etl$staged = r.etl$staged
    $sql$,
    jsonb_build_object('step', step, 'value', (
      select 'case r.column_name ' || coalesce(string_agg(
        format('when %L then %s', n.name, etl.value_of(('pg_temp.' || step)::regclass, 's', n.name)), ' '
      ), 'when null then null') || ' end'
      from (select distinct f ->> 'column_name' as name from unnest(faults) f) n
      where n.name is not null
    ))
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
begin
  if rejected > feed.reject_limit * read then
    perform etl.raise_limit(feed, rejected, read, at_least, etl.rejected_records(etl.is_staged_json()));
  end if;
end
$$;
comment on function etl.check_limit(etl.feeds, bigint, boolean) is
  'Raises ETL06 where more of the records read are rejected than the feed''s limit; at_least: not all have been
tried.';

revoke all on all functions in schema etl from public;
