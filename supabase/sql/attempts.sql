-- A file above the reject limit loads nothing. What was wrong with it is carried out of the savepoint that undoes it:
-- a summary without values, for the report, and at most 200 rejects, for etl.attempt_rejects.

create or replace function etl.merge_within_limit(
  feed_name text, run uuid, place int, header text[], sentinel text, is_whole boolean default false
)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  merged jsonb;
  said text;
  way_out text;
  detail text;
begin
  perform set_config('etl.attempt', 'kept', true);
  select to_jsonb(m) into merged from etl.merge(feed_name, run, place, header, sentinel, is_whole) m;
  perform set_config('etl.attempt', '', true);
  return merged || jsonb_build_object('rejects', case
    when merged -> 'rejected' = '0' then '[]'
    else etl.summary_of(format('select r.* from etl.rejects r where r.feed = %L', feed_name))
  end);
exception when sqlstate 'ETL06' then
  get stacked diagnostics said = message_text, way_out = pg_exception_hint, detail = pg_exception_detail;
  -- As a text: JavaScript would round the numbers in the records.
  return jsonb_build_object('rejects', detail::jsonb -> 'rejects', 'refused', jsonb_build_object(
    'message', said, 'hint', way_out, 'attempt', detail
  ));
end
$$;
comment on function etl.merge_within_limit(text, uuid, int, text[], text, boolean) is
  'What etl.merge() returns, as JSON, with rejects: etl.summary_of() what is in etl.rejects after it. Where too many
records break a rule it raises nothing, and undoes all: then it has the summary and refused alone, which is the error''s
message and hint, and the attempt, for etl.keep_attempt().';

create or replace function etl.raise_limit(
  feed etl.feeds, rejected bigint, read bigint, is_least boolean, listed text, has_faults boolean default false
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  summary jsonb := etl.summary_of(listed);
  first record;
  records jsonb;
begin
  execute etl.fill(
    $sql$
    select f.record_number, f.column_name, etl.told(f.reason) as reason, f.constraint_name
    from ({listed}) f
    order by f.record_number
    limit 1
    $sql$,
    jsonb_build_object('listed', listed)
  ) into first;
  -- Values: never in an error that somebody else may see, or Postgres log.
  if current_setting('etl.attempt', true) = 'kept' then
    records := etl.sample_of(feed, listed, has_faults);
  end if;
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      case when is_least then 'at least ' else '' end || rejected, read,
      round(feed.reject_limit * 100, 2)::float8,
      concat_ws(
        ' ', 'record', first.record_number || ',', 'column ' || first.column_name || ':', first.reason,
        '(' || first.constraint_name || ')'
      )
    using errcode = 'ETL06',
      detail = jsonb_build_object('read', read, 'rejected', rejected, 'is_least', is_least, 'rejects', summary)
        || case when records is null then '{}' else jsonb_build_object('records', records) end,
      hint = format(
        case
          when current_setting('etl.attempt', true) is distinct from 'kept'
            then 'Nothing of this feed was loaded: have it mended, or raise etl.feeds.reject_limit.'
          when current_setting('etl.dry_run', true) = 'on'
            then 'Nothing of this feed would be loaded, and a dry run keeps none of its rejects. After a run that is '
              'none, deno task rejects %s --letter writes what its partner must mend; or raise etl.feeds.reject_limit.'
          else 'Nothing of this feed was loaded. deno task rejects %s --letter writes what its partner must mend; or '
            'raise etl.feeds.reject_limit.'
        end,
        feed.name
      );
end
$$;
comment on function etl.raise_limit(etl.feeds, bigint, bigint, boolean, text, boolean) is
  'Raises ETL06: so many of the records read are rejected (is_least: or more), with a summary as the detail. listed: SQL
text, a query for them, whose faults are known or not. Within etl.merge_within_limit() alone, which catches it, the
detail holds records, too, and the hint says who lists them: in a dry run (the setting etl.dry_run) nobody.';

create or replace function etl.attempt_id(feed text, record_number bigint)
returns uuid
language sql immutable
set search_path = ''
as $$
  select md5(feed || record_number)::uuid
$$;
comment on function etl.attempt_id(text, bigint) is
  'What stands for the id of a reject in etl.attempt_rejects, which has none.';

create or replace function etl.summary_of(listed text)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  summary jsonb;
begin
  execute etl.fill(
    $sql$
    select coalesce(jsonb_agg(to_jsonb(s) order by s.count desc, s.first, s."column", s.reason), '[]')
    from (
      select
        f.column_name as "column", f.told as reason, count(*) as count,
        coalesce(
          (array_agg(f.record_number order by f.record_number) filter (where f.record_number is not null))[:3], '{}'
        ) as first
      from (select f.*, etl.told(f.reason) as told from ({listed}) f) f
      group by f.column_name, f.told
      order by count(*) desc, min(f.record_number), f.column_name, f.told
      limit 20
    ) s
    $sql$,
    jsonb_build_object('listed', listed)
  ) into summary;
  return summary;
end
$$;
comment on function etl.summary_of(text) is
  'How many rejects have the same reason for the same column, and the numbers of the first three, the most first, at
most 20: an array of {column, reason, count, first}, and no value. listed: SQL text, a query for the rejects.';

create or replace function etl.told(reason text)
returns text
language sql immutable
set search_path = ''
as $$
  select regexp_replace(reason, '^(is refused by a trigger|cannot be written): .*', '\1')
$$;
comment on function etl.told(text) is
  'A reason of etl.rejects without what a trigger or Postgres said, which may hold a value.';

create or replace function etl.sample_of(feed etl.feeds, listed text, has_faults boolean)
returns jsonb
language plpgsql
set search_path = ''
as $$
declare
  places constant jsonb := jsonb_build_object('listed', listed);
  chosen tid[];
  records jsonb;
begin
  execute etl.fill(
    $sql$
    select array_agg(c.etl$staged)
    from (
      select f.etl$staged
      from (
        select
          f.etl$staged, f.record_number,
          row_number() over (partition by f.column_name, etl.told(f.reason) order by f.record_number) as nth
        from ({listed}) f
      ) f
      order by f.nth, f.record_number
      limit 200
    ) c
    $sql$,
    places
  ) into chosen;
  if not has_faults then
    -- All this is about to be undone.
    delete from pg_temp.etl_rejected r where r.etl$staged not in (select c from unnest(chosen) c);
    perform etl.find_faults(feed);
  end if;
  execute etl.fill(
    $sql$
    select jsonb_agg(
      jsonb_build_object(
        'record_number', f.record_number, 'as_json', f.as_json, 'column_name', f.column_name,
        'value', left(f.value, 1000), 'reason', left(f.reason, 1000), 'sqlstate', f.sqlstate,
        'constraint_name', f.constraint_name, 'record', case when length(f.record::text) <= 10000 then f.record end,
        'raw', left(coalesce(f.raw, case when length(f.record::text) > 10000 then f.record::text end), 10000),
        'faults', (
          select jsonb_agg(
            jsonb_strip_nulls(x.fault || jsonb_build_object('value', left(x.fault ->> 'value', 1000)))
            order by x.place
          )
          from jsonb_array_elements(f.faults) with ordinality x(fault, place)
          where x.place <= 20
        )
      )
      order by f.record_number
    )
    from ({listed}) f
    where f.etl$staged = any ($1)
    $sql$,
    places
  ) into records using chosen;
  return records;
end
$$;
comment on function etl.sample_of(etl.feeds, text, boolean) is
  'At most 200 of the rejects that the query listed (SQL text) gives, the first of each reason first, their texts cut,
as rows of etl.attempt_rejects.';

create or replace function etl.keep_attempt(feed_name text, run uuid, attempt text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  told jsonb := attempt;
begin
  if exists (select from etl.attempts a where a.feed = feed_name and a.digest = md5(attempt)) then
    return;
  end if;
  perform etl.end_attempt(feed_name);
  insert into etl.attempts (feed, run, read, rejected, is_least, digest)
  values (
    feed_name, keep_attempt.run, (told ->> 'read')::bigint, (told ->> 'rejected')::bigint,
    (told ->> 'is_least')::boolean, md5(attempt)
  );
  insert into etl.attempt_rejects
  select r.*
  from jsonb_array_elements(told -> 'records') x(record)
  cross join jsonb_populate_record(null::etl.attempt_rejects, x.record || jsonb_build_object('feed', feed_name)) r;
end
$$;
comment on function etl.keep_attempt(text, uuid, text) is
  'Keeps what etl.merge_within_limit() has refused as the feed''s last attempt, in place of another one; writes nothing
where it is the same.';

create or replace function etl.end_attempt(feed_name text)
returns void
language sql
set search_path = ''
as $$
  delete from etl.attempts a where a.feed = feed_name
$$;
comment on function etl.end_attempt(text) is 'Forgets the feed''s last attempt: it is loaded.';

revoke all on all functions in schema etl from public;
