-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/calls.sql
-- What pg_cron and pg_net remember of our calls, where they exist. Nothing of it is ours: a run that changes nothing
-- writes no row of ours, and yet it can be known that it was.

create or replace function etl.job()
returns table (
  schedule text,
  active boolean,
  last_start timestamptz,
  last_problem text,
  awaited timestamptz,
  forgotten timestamptz,
  next_run timestamptz,
  overdue_from timestamptz
)
language plpgsql stable
set search_path = ''
as $$
declare
  -- The longest answer: the timeout of etl.invoke(), and a little.
  patience constant interval := '400 seconds';
  kept constant interval := coalesce(nullif(current_setting('pg_net.ttl', true), ''), '6 hours');
  job record;
begin
  if not etl.can_read('cron.job') then
    return;
  end if;
  select j.jobid, j.schedule, j.active, substring(j.command from 'since (\S+)')::timestamptz as since
  into job
  from cron.job j
  where j.jobname = 'tdc-etl'
  order by j.active desc, j.jobid
  limit 1;
  if not found then
    return;
  end if;
  schedule := job.schedule;
  active := job.active;
  select
    max(r.start_time),
    max(r.start_time) filter (where r.status = 'succeeded' and r.start_time < now() - kept)
  into last_start, forgotten
  from cron.job_run_details r
  where r.jobid = job.jobid;
  last_problem := (
    select case when r.status = 'failed' then substring(r.return_message from '(?:ERROR: +)?([^\n]{1,200})') end
    from cron.job_run_details r
    where r.jobid = job.jobid and r.status in ('succeeded', 'failed')
    order by r.runid desc
    limit 1
  );
  -- Of two calls one may be lost. A rare job has made but one whose answer pg_net would still keep, or none.
  awaited := (
    select min(call.start_time)
    from (
      select r.start_time
      from cron.job_run_details r
      where r.jobid = job.jobid and r.status = 'succeeded'
        and r.start_time between now() - kept and now() - patience
      order by r.start_time desc
      limit 2
    ) call
  );
  begin
    next_run := case when job.active then etl.next_run(job.schedule) end;
    overdue_from := coalesce(
      etl.next_run(job.schedule, etl.next_run(job.schedule, greatest(last_start, job.since))) + patience, '-infinity'
    );
  exception when sqlstate 'ETL08' then
    -- A line that somebody else has given to pg_cron, and that pg_cron knows how to read.
    overdue_from := 'infinity';
  end;
  return next;
end
$$;
comment on function etl.job() is
  'The job that etl.schedule made, as pg_cron remembers it; no row where nothing is scheduled. awaited: whoever
called then must have an answer by now. forgotten: the latest call whose answer pg_net has dropped by age.
overdue_from: by then pg_cron has missed two starts. last_problem: why the latest call could not be made.';

create or replace function etl.answers()
returns table (at timestamptz, ours boolean, report jsonb, error_code text, problem text)
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('net._http_response') then
    return;
  end if;
  return query
  select
    r.created,
    mark.ours,
    case when jsonb_typeof(body.value -> 'feeds') = 'array' then body.value end,
    body.value #>> '{error,code}',
    case
      when r.timed_out then 'timed out'
      when r.error_msg is not null then left(r.error_msg, 200)
      when body.value ? 'error'
        then 'answered: ' || coalesce(body.value #>> '{error,message}', body.value #>> '{error,code}')
      when r.status_code >= 400 then 'answered ' || r.status_code
      when mark.ours and jsonb_typeof(body.value -> 'feeds') is distinct from 'array' then 'ended without a report'
    end
  from net._http_response r
  cross join lateral (
    select exists (select from jsonb_object_keys(r.headers) k where lower(k) = 'x-tdc-etl') as ours
  ) mark
  cross join lateral (select split_part(rtrim(r.content, e'\n'), e'\n', -1) as line) last
  cross join lateral (
    select case when mark.ours and pg_input_is_valid(last.line, 'jsonb') then last.line::jsonb end as value
  ) body;
end
$$;
comment on function etl.answers() is
  'What pg_net keeps, of the last six hours: our function''s answers (ours), and those of whatever stood in its
place. An answer of ours ends with the run''s report or with {"error":{"code",…}}; problem says what is wrong with
any of them.';

revoke all on all functions in schema etl from public;

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
    $sql$create temp table etl_typed (etl_staged tid, {columns}, etl_exists boolean) on commit drop$sql$,
    jsonb_build_object('columns', (
      select string_agg(format('%I %s', c.name, c.type), ', ' order by c.position)
      from pg_temp.etl_columns c
      where c.name is not null
    ))
  );
  statement := etl.cast_statement(target, is_empty);
  begin
    execute statement;
  exception when data_exception or integrity_constraint_violation then
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
is no value of its column''s type. etl_exists: whether the target has the key.';

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
        insert into pg_temp.etl_typed (etl_staged, {carried}, etl_exists)
        select t.etl_staged, {values}, false
        from ({typed}) t
      $sql$
      -- OFFSET 0: without it Postgres casts behind the join, which then spills the text of all rows.
      else $sql$
        insert into pg_temp.etl_typed (etl_staged, {carried}, etl_exists)
        select t.etl_staged, {values}, {is_known}
        from ({typed} offset 0) t
        left join {target} o on {same_key}
        where not {is_known} or {differs}
      $sql$
    end,
    jsonb_build_object(
      'target', target, 'carried', etl.each(carried, '{column}'), 'values', etl.each(carried, 't.{column}'),
      'typed', etl.typed_cells(with_length => false), 'is_known', etl.each(key[:1], '(o.{column} is not null)'),
      'same_key', etl.each(key, 'o.{column} = t.{column}', ' and '), 'differs', etl.differs(key, carried)
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

create or replace function etl.differs(key name[], carried name[])
returns text
language sql immutable
set search_path = ''
as $$
  -- *<> compares what is stored, byte by byte: it needs no equality operator, and sees 1.0 become 1.00.
  select etl.fill('(row({fed})::record operator(pg_catalog.*<>) row({stored})::record)', jsonb_build_object(
    'fed', coalesce(etl.each(rest.columns, 't.{column}'), ''),
    'stored', coalesce(etl.each(rest.columns, 'o.{column}'), '')
  ))
  from (select array(select c from unnest(carried) c where c <> all (key)) as columns) rest
$$;
comment on function etl.differs(name[], name[]) is
  'SQL text: whether the typed record t and the stored row o differ in what the feed carries beside the key.';

create or replace function etl.typed_cells(with_length boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select etl.fill($sql$select cells.etl_staged, {values} from pg_temp.etl_cells cells$sql$, jsonb_build_object(
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
    'target', target, 'same_key', etl.each(key, 'o.{column} = t.{column}', ' and '),
    'differs', etl.differs(key, etl.carried_columns())
  );
begin
  if not exists (select from pg_temp.etl_columns c where c.type <> c.base_type) then
    return 0;
  end if;
  if exists (select from pg_temp.etl_columns c where c.type <> c.base_type and c.name = any (key)) then
    execute etl.fill(
      $sql$update pg_temp.etl_typed t set etl_exists = true from {target} o where not t.etl_exists and {same_key}$sql$,
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
declare
  first_fault text;
begin
  select string_agg(
    format(
      'when not pg_input_is_valid(%s, %L) then %L',
      format(case when c.textual then '%I' else 'nullif(%I, '''')' end, c.name), c.type, c.name
    ),
    ' ' order by c.attnum
  )
  into first_fault
  from pg_temp.etl_columns c
  where c.name is not null and c.type <> 'text';
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate)
    select
      bad.etl_staged, bad.name, bad.value,
      case why.sql_error_code
        when '22003' then 'is out of the range of '
        when '22008' then 'is out of the range of '
        when '22001' then 'is too long for '
        when '23514' then 'breaks a rule of '
        else 'is no '
      end || c.type,
      why.sql_error_code
    from (
      select cells.etl_staged, fault.name, to_jsonb(cells) ->> fault.name as value
      from pg_temp.etl_cells cells
      cross join lateral (select case {first_fault} end as name) fault
      where fault.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    cross join pg_input_error_info(bad.value, c.type) why
    $sql$,
    jsonb_build_object('first_fault', first_fault)
  );
end
$$;
comment on function etl.validate_cells() is 'Rejects the records with a cell that is no value of its column''s type.';

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
    insert into pg_temp.etl_rejected (etl_staged, reason, sqlstate, raw)
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
  insert into pg_temp.etl_rejected (etl_staged, reason, sqlstate, raw)
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
    and not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid);
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
        (select m.key from jsonb_each_text(feed.columns) m where m.value = a.attname limit 1), a.attname
      ) as source
      from pg_catalog.pg_attribute a
      where a.attrelid = etl.target_of(feed) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
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
    select s.etl_staged, {cells}
    from (select s.ctid as etl_staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  csv_view constant text := $sql$
    create or replace temp view etl_cells as
    select s.etl_staged, {cells}
    from (select s.ctid as etl_staged, s.* from pg_temp.etl_staging s {readable}) s
  $sql$;
begin
  execute (
    select etl.fill(case when as_json then json_view else csv_view end, jsonb_build_object(
      'cells', string_agg(
        case when as_json then format('x.%I::text', c.source) else 's.c' || c.position end || format(' as %I', c.name),
        ', '
      ),
      'keys', string_agg(
        format('%I %s', c.source, case when c.base_type in ('json', 'jsonb') then 'json' else 'text' end), ', '
      ),
      'readable', case
        when etl.rejected_count() = 0 then ''
        -- OFFSET 0: without it Postgres may cast what is rejected, before it finds that it is.
        else 'where not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid) offset 0'
      end
    ))
    from pg_temp.etl_columns c
    where c.name is not null
  );
end
$$;
comment on function etl.name_cells(boolean) is
  'Makes the view etl_cells, or makes it anew without what has been rejected since.';

revoke all on all functions in schema etl from public;

-- supabase/sql/cron_line.sql
-- A cron line: is it one, and when is it due? Needs no extension. pg_cron itself is too kind to trust with the answer:
-- of six fields it drops the last in silence, and of "1-5x" the x.

create or replace function etl.next_run(line text, after timestamptz default now())
returns timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
  f text[] := regexp_split_to_array(btrim(line), '[ \t]+');
  minutes int[] := etl.cron_values(f[1], 0, 59);
  hours int[] := etl.cron_values(f[2], 0, 23);
  month_ends boolean := f[3] = '$';
  days int[] := case when month_ends then '{}' else etl.cron_values(f[3], 1, 31) end;
  months int[] := etl.cron_values(f[4], 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
  weekdays int[] := etl.cron_values(f[5], 0, 7, '{sun,mon,tue,wed,thu,fri,sat}');
  zone text := coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT');
begin
  if line ~ '^([1-9]|[1-5][0-9]) seconds?$' then
    return after + substring(line from '^[0-9]+')::int * interval '1 second';
  end if;
  if cardinality(f) <> 5 or minutes is null or hours is null or days is null or months is null or weekdays is null then
    raise exception '"%" is no cron line', line
      using errcode = 'ETL08',
        hint = 'Five fields: minute, hour, day, month, weekday, as in */10 * * * *; or "30 seconds", up to 59.';
  end if;
  return (
    select t.at
    from (
      select d.day
      from (select (after at time zone zone)::date + n as day from generate_series(0, 366 * 8) n) d
      cross join lateral (
        select
          case
            when month_ends then extract(day from d.day + 1) = 1
            else extract(day from d.day) = any (days)
          end as by_day,
          extract(dow from d.day) = any (weekdays) or extract(isodow from d.day) = any (weekdays) as by_weekday
      ) is_listed
      where extract(month from d.day) = any (months)
        -- As in every cron: with both fields restricted, either will do.
        and case when f[3] ~ '^\*' or f[5] ~ '^\*' then by_day and by_weekday else by_day or by_weekday end
      order by d.day
      -- Today may be over, and a change of the clocks may swallow the only hour of a day.
      limit 3
    ) d
    cross join unnest(hours) h
    cross join unnest(minutes) m
    cross join lateral (select (d.day + make_interval(hours => h, mins => m)) at time zone zone as at) t
    where t.at > after
    order by t.at
    limit 1
  );
end
$$;
comment on function etl.next_run(text, timestamptz) is
  'When a cron line is due next, in the time zone of pg_cron; null where never within eight years. Raises ETL08 for
what is no cron line: pg_cron itself takes six fields and drops the last in silence.';

create or replace function etl.cron_values(field text, low int, high int, names text[] default '{}')
returns int[]
language plpgsql immutable strict
set search_path = ''
as $$
declare
  part text;
  bounds text[];
  every boolean;
  first int;
  last int;
  step int;
  listed int[] := '{}';
begin
  foreach part in array regexp_split_to_array(lower(field), ',') loop
    bounds := regexp_match(part, '^(?:(\*)|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?$');
    every := bounds[1] is not null;
    first := case when every then low else etl.cron_number(bounds[2], low, names) end;
    last := case
      when every then high
      when bounds[3] is null then first
      else etl.cron_number(bounds[3], low, names)
    end;
    step := coalesce(bounds[4]::int, 1);
    if (first >= low and last <= high and first <= last and step > 0) is not true
      or (bounds[4] is not null and not every and bounds[3] is null)
    then
      return null;
    end if;
    listed := listed || array(select generate_series(first, last, step));
  end loop;
  return listed;
end
$$;
comment on function etl.cron_values(text, int, int, text[]) is
  'The values that a field of a cron line stands for; null where it is none.';

create or replace function etl.cron_number(word text, low int, names text[])
returns int
language sql immutable
set search_path = ''
as $$
  select case when word ~ '^[0-9]+$' then word::int else array_position(names, word) + low - 1 end
$$;
comment on function etl.cron_number(text, int, text[]) is
  'A number or, where there are names, a name of a cron field; null where it is neither.';

revoke all on all functions in schema etl from public;

-- supabase/sql/health.sql
-- Health: is each feed loaded as it should be? Built on the ledger and, where they exist, on what pg_cron and pg_net
-- remember; never on the status of pg_cron alone, which says "succeeded" whatever the function answered.

create or replace function etl.health()
returns table (
  feed text,
  verdict text,
  message text,
  last_change timestamptz,
  last_failure timestamptz,
  last_error text,
  open_rejects bigint,
  last_good_answer timestamptz,
  next_run timestamptz
)
language sql stable
set search_path = ''
as $$
  with common as materialized (
    select t.verdict, t.message, j.schedule, j.forgotten, j.next_run from etl.trouble() t left join etl.job() j on true
  ), good as materialized (
    select of_feed ->> 'feed' as feed, max(a.at) as at
    from etl.answers() a
    cross join jsonb_array_elements(a.report -> 'feeds') of_feed
    where of_feed ->> 'status' <> 'failed' and a.report ->> 'dry_run' = 'false'
    group by 1
  ), seen as (
    select
      f.name,
      exists (select from etl.feed_state s where s.feed = f.name) as has_content,
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'changed') as changed,
      failure.finished_at as failed,
      failure.error,
      (select count(*) from etl.rejects r where r.feed = f.name) as rejects,
      good.at as good
    from etl.feeds f
    left join good on good.feed = f.name
    left join lateral (
      select r.finished_at, r.error
      from etl.runs r
      where r.feed = f.name and r.status = 'failed'
      order by r.finished_at desc
      limit 1
    ) failure on true
    where f.enabled
  ), judged as (
    select
      s.*,
      case
        when c.verdict = 'secret refused' then c.verdict
        when fails.itself or c.verdict = 'failing' then 'failing'
        when not s.has_content and s.changed is null and s.good is null then 'never ran'
        else coalesce(c.verdict, 'ok')
      end as verdict,
      fails.itself
    from seen s
    cross join common c
    -- Each failure is in the ledger: a call after the latest one, whose answer is forgotten, must have gone well.
    cross join lateral (
      select s.failed > coalesce(greatest(s.changed, s.good, c.forgotten), '-infinity') as itself
    ) fails
  )
  select
    j.name,
    j.verdict,
    concat_ws(
      '. ',
      case
        when j.verdict = 'failing' and j.itself then j.error
        when j.verdict = 'never ran' then 'Nothing was ever loaded'
      end,
      c.message,
      case when c.schedule is null then 'No schedule: see etl.schedule()' end
    ),
    j.changed,
    j.failed,
    j.error,
    j.rejects,
    j.good,
    c.next_run
  from judged j
  cross join common c
  order by j.name
$$;
comment on function etl.health() is
  'A row for each enabled feed. verdict: ok, late, failing, never ran, secret refused; message says why, empty where
all is well. last_good_answer is null where pg_net is missing, or has lost its answers or dropped them after its six
hours: of a job that is due more rarely, trouble shows for that long only. Without pg_cron and pg_net the ledger
alone is judged: it does not show a recovery that changed nothing.';

create or replace function etl.trouble(out verdict text, out message text)
language plpgsql stable
set search_path = ''
as $$
declare
  job record;
  refused timestamptz;
  let_in timestamptz;
  broken timestamptz;
  ran timestamptz;
  latest_problem text;
  waiting bigint := 0;
begin
  select * into job from etl.job();
  select
    max(a.at) filter (where a.error_code = 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code is distinct from 'secret_refused'),
    max(a.at) filter (where a.error_code not in ('secret_refused', 'busy')),
    max(a.at) filter (where a.report is not null)
  into refused, let_in, broken, ran
  from etl.answers() a;
  ran := greatest(ran, (select max(r.finished_at) from etl.runs r));
  latest_problem := (
    select a.problem
    from etl.answers() a
    where a.problem is not null and a.at > coalesce(ran, '-infinity')
    order by a.at desc
    limit 1
  );

  if refused > coalesce(let_in, '-infinity') then
    verdict := 'secret refused';
    message := 'etl_trigger_secret in the vault is not among the secrets in ETL_TRIGGER_SECRET of the function.';
  elsif broken > coalesce(ran, '-infinity') then
    verdict := 'failing';
    message := 'The function ' || latest_problem;
  elsif not job.active then
    verdict := 'late';
    message := 'The job of pg_cron is switched off: see etl.schedule().';
  elsif job.last_problem is not null then
    verdict := 'late';
    message := 'The function could not be called: ' || job.last_problem;
  elsif now() > job.overdue_from then
    verdict := 'late';
    message := coalesce(
      'pg_cron has not started the job since ' || job.last_start, 'pg_cron has never started the job'
    );
  elsif job.awaited > coalesce(ran, '-infinity') then
    if etl.can_read('net.http_request_queue') then
      select count(*) into waiting from net.http_request_queue;
    end if;
    verdict := 'late';
    message := concat_ws(
      '. ',
      'The function was called and has not answered well since ' || coalesce(ran, job.awaited),
      'The latest bad answer that pg_net has: ' || latest_problem,
      case when waiting > 0 then waiting || ' requests wait in pg_net: is its background worker up?' end
    );
  end if;
end
$$;
comment on function etl.trouble() is
  'What keeps all feeds from being loaded: verdict secret refused, failing or late, and why. Nulls where nothing
does.';

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
    $sql$create index if not exists {index} on pg_temp.{step} (etl_staged)$sql$,
    jsonb_build_object('step', step, 'index', step || '_order')
  );
  execute etl.fill($sql$analyze pg_temp.{step}$sql$, jsonb_build_object('step', step));
  execute etl.fill(
    $sql$select array_agg(etl_staged order by etl_staged) from pg_temp.{step}$sql$, jsonb_build_object('step', step)
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
          'etl_staged', queue[place], 'sqlstate', state, 'constraint_name', nullif(rule, ''),
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
      select count(*) filter (where not d.etl_exists), count(*) filter (where d.etl_exists)
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

-- supabase/sql/plan.sql
-- The feeds of a run, and whether what the loader remembers of them may be trusted.

create or replace function etl.plan(names text[], force boolean default false)
returns setof jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  unknown text;
begin
  select string_agg(n, ', ') into unknown
  from unnest(names) n
  where not exists (select from etl.feeds f where f.name = n);
  if unknown is not null then
    raise exception 'there is no feed %', unknown
      using errcode = 'ETL01',
        hint = 'etl.feeds has: '
          || coalesce((select string_agg(f.name, ', ' order by f.name) from etl.feeds f), 'none');
  end if;
  return query
  with recursive parents as (
    select child.name as child, parent.name as parent
    from etl.feeds child
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(child.target) and c.contype = 'f'
    join etl.feeds parent on to_regclass(parent.target) = c.confrelid
    where c.conrelid <> c.confrelid
  ), depths as (
    select f.name, 0 as depth
    from etl.feeds f
    union
    select p.child, d.depth + 1
    from depths d
    join parents p on p.parent = d.name
    where d.depth < (select count(*) from etl.feeds)
  )
  select to_jsonb(f) || jsonb_build_object(
    'etag', s.etag, 'last_modified', s.last_modified,
    'content_hash', s.content_hash, 'content_length', s.content_length
  )
  from etl.feeds f
  left join etl.feed_state s
    on s.feed = f.name
    and not force
    and s.definition_hash = etl.definition_hash(f)
    and not exists (
      select from etl.rejects r
      where r.feed = f.name and (r.sqlstate !~ '^(22|23502|23514)' or r.reason like 'is refused by a trigger%')
    )
  where f.name = any (names) or (names = '{}' and f.enabled)
  order by (select max(d.depth) from depths d where d.name = f.name), f.name;
end
$$;
comment on function etl.plan(text[], boolean) is
  'The feeds of a run, parents before children by the foreign keys: each a row of etl.feeds with the validators of
its etl.feed_state. All enabled feeds where no name is given. Raises ETL01 for a name that is not in etl.feeds.
Validators are null where they must not be used: when forced, when a definition has changed, while there are rejects
that depend on more than their record. Those alone that hold no value of a type (class 22), lack one (23502) or
break a CHECK (23514) do not; but whatever a trigger refuses does.';

create or replace function etl.remember(
  planned jsonb, etag text, last_modified text, content_hash text, content_length bigint, records bigint
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  present etl.feeds := (select f from etl.feeds f where f.name = planned ->> 'name');
  -- The target's definition is what it is now, under the lock of the merge: the one that was obeyed.
  state etl.feed_state := row(
    present.name, etag, last_modified, content_hash, content_length, etl.definition_hash(present),
    etl.carried_columns(), records
  );
begin
  if etl.definition(present) is distinct from etl.definition(jsonb_populate_record(null::etl.feeds, planned))
    -- ON CONFLICT alone would lock the row, which is a write, too.
    or exists (select from etl.feed_state s where s is not distinct from state)
  then
    return;
  end if;
  insert into etl.feed_state as s (
    feed, etag, last_modified, content_hash, content_length, definition_hash, carried_columns, records
  )
  select state.*
  on conflict on constraint feed_state_pkey do update
  set etag = excluded.etag, last_modified = excluded.last_modified, content_hash = excluded.content_hash,
    content_length = excluded.content_length, definition_hash = excluded.definition_hash,
    carried_columns = excluded.carried_columns, records = excluded.records;
end
$$;
comment on function etl.remember(jsonb, text, text, text, bigint, bigint) is
  'Keeps what lets the next run find out that nothing is new, for a feed as etl.plan() gave it, while its
etl_columns are there. Keeps nothing where the feed was redefined or removed meanwhile, and writes nothing where all
is as it was.';

create or replace function etl.definition(feed etl.feeds)
returns jsonb
language sql immutable
set search_path = ''
as $$
  select to_jsonb(feed) - '{name,reject_limit,enabled}'::text[]
$$;
comment on function etl.definition(etl.feeds) is
  'What of a feed''s row decides what becomes of a body: all columns but its name, its limit and whether it is
enabled.';

create or replace function etl.definition_hash(feed etl.feeds)
returns text
language sql stable
set search_path = ''
as $$
  -- The catalog as it is, not pg_get_constraintdef: that would wait for a lock on the table, and with it the whole run.
  select md5(concat_ws(
    e'\n', etl.definition(feed),
    (
      select string_agg(
        concat_ws(
          ' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
          case when a.attgenerated <> '' then v.adbin end
        ),
        ',' order by a.attnum
      )
      from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum
      where a.attrelid = to_regclass(feed.target) and a.attnum > 0 and not a.attisdropped
    ),
    (
      select string_agg(
        concat_ws(' ', c.conname, c.contype, c.conkey, c.confrelid::regclass, c.confkey, c.conbin),
        ',' order by c.conname
      )
      from pg_catalog.pg_constraint c
      where c.conrelid = to_regclass(feed.target)
    ),
    (
      select string_agg(
        concat_ws(
          ' ', i.indexrelid::regclass, i.indisunique, i.indkey, i.indclass, i.indnullsnotdistinct, i.indpred, i.indexprs
        ),
        ',' order by i.indexrelid::regclass::text
      )
      from pg_catalog.pg_index i
      where i.indrelid = to_regclass(feed.target)
    )
  ))
$$;
comment on function etl.definition_hash(etl.feeds) is
  'MD5 of everything but the body that decides what a load does: the feed''s row, the target''s columns,
constraints, indexes.';

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
    from (select distinct on (etl_staged) * from pg_temp.etl_rejected) r
    join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
      on n.ctid = r.etl_staged
    join pg_temp.etl_staging s on s.ctid = r.etl_staged
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
      'names', quote_literal(array(select c.source from pg_temp.etl_columns c order by c.position)),
      'cells', (select string_agg('s.c' || c.position, ', ' order by c.position) from pg_temp.etl_columns c)
    )
  ))
$$;
comment on function etl.rejected_csv() is
  'SQL text: of a rejected CSV record, its cells under the names of the header, where it could be split, or its
text.';

create or replace function etl.rejected_count()
returns bigint
language sql
set search_path = ''
as $$
  select count(distinct r.etl_staged) from pg_temp.etl_rejected r
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
    insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
    select r.etl_staged, r.column_name, to_jsonb(s) ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
    from unnest($1) fault
    cross join jsonb_populate_record(null::pg_temp.etl_rejected, fault) r
    join pg_temp.{step} s on s.etl_staged = r.etl_staged
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
      $sql$delete from pg_temp.{step} t using pg_temp.etl_rejected r where r.etl_staged = t.etl_staged$sql$,
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
  join pg_temp.etl_rejected r on r.etl_staged = s.ctid
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
    exit when not etl.validate_unique(target);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass) is
  'Rejects orphans and unique violations, until there is none: a record that goes may have been another''s parent.';

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
    select from pg_catalog.pg_constraint k where k.conrelid = target and k.confrelid = target
  );
begin
  while again loop
    again := false;
    for fk in
      select
        k.conname, k.confrelid::regclass as parent,
        etl.each(array_agg(child.attname), 'd.{column} is not null', ' and ') as present,
        string_agg(
          etl.fill('p.{parent} {equals} d.{child}', jsonb_build_object(
            'parent', quote_ident(parent.attname), 'child', quote_ident(child.attname),
            'equals', format('operator(%I.%s)', n.nspname, o.oprname)
          )),
          ' and '
        ) as matches,
        case when cardinality(k.conkey) = 1 then min(child.attname::text) end as column_name,
        k.conkey && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
      from pg_catalog.pg_constraint k
      cross join unnest(k.conkey, k.confkey, k.conpfeqop) as pair(child, parent, equals)
      join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
      join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
      join pg_catalog.pg_operator o on o.oid = pair.equals
      join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
      where k.conrelid = target and k.contype = 'f'
      group by k.oid, k.conname, k.confrelid, k.conkey
      order by k.conname
    loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl_staged, {column_name}, to_jsonb(d) ->> {column_name}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta d
        where {touched} and {present} and not exists (select from {parent} p where {matches}) {nor_in_the_feed}
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.conname),
          'reason', quote_literal('is in no row of ' || fk.parent), 'parent', fk.parent,
          'touched', case when fk.is_carried then 'true' else 'not d.etl_exists' end,
          'present', fk.present, 'matches', fk.matches,
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
      'same_key', etl.each(key, 'g.{column} = e.{column}', ' and ')
    );
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        with fresh as (
          select etl_staged, to_jsonb(r) ->> {column_name} as etl_value, {entry}
          from pg_temp.etl_delta r
          where {holds}
        )
        insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
        select t.etl_staged, {column_name}, t.etl_value, 'is another row''s already', '23505', {constraint_name}
        from (
          select
            d.*, g.etl_staged is null and {is_known} as kept,
            row_number() over (
              partition by {entry_names}
              order by (g.etl_staged = d.etl_staged) is true desc, d.etl_staged
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
        from (select * from pg_temp.etl_delta where etl_staged between $1 and $2 offset 0) d
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
  index oid, name name, columns name[], excludes boolean, entry text, entry_names text, holds text, same text
)
language sql stable
set search_path = ''
as $$
  select
    x.oid, x.relname,
    array_agg(a.attname order by u.position),
    i.indisexclusion,
    string_agg(format('(%s) as etl_%s', u.value, u.position), ', ' order by u.position),
    string_agg('d.etl_' || u.position, ', ' order by u.position),
    concat_ws(
      ' and ', coalesce('(' || pg_get_expr(i.indpred, i.indrelid) || ')', 'true'),
      case
        when not i.indnullsnotdistinct then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
      end
    ),
    string_agg(
      etl.fill('e.etl_{position} {equals} d.etl_{position}', jsonb_build_object('position', u.position, 'equals', case
        when i.indnullsnotdistinct then 'is not distinct from'
        when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname)
        else '='
      end)),
      ' and ' order by u.position
    )
  from pg_catalog.pg_index i
  join pg_catalog.pg_class x on x.oid = i.indexrelid
  cross join lateral (
    select position, pg_get_indexdef(i.indexrelid, position, false) as value
    from generate_series(1, i.indnkeyatts::int) position
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
expression), what they hold of a row, as etl_1, etl_2, …, of which rows (one with a null violates nothing), and when
the entries e and d are the same, or exclude each other.';

revoke all on all functions in schema etl from public;

-- supabase/sql/reports.sql
-- The two reports, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to that moment.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns setof public.trips
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set plan_cache_mode = force_custom_plan
as $$
begin
  -- Planned for each call, by its bounds: for all trips a hash join, for those of a day the index of the charges.
  return query
  select t.*
  from public.trips t
  where t.dropoff_timestamp::timestamptz >= completed_from
    and t.dropoff_timestamp::timestamptz < completed_before
    and not exists (select from public.charges c where c.trip_id = t.id);
end
$$;
comment on function public.trips_without_charges(timestamptz, timestamptz) is
  'Completed trips that no charge points to. completed_from is included, completed_before is not.';

create or replace function public.churned_drivers(
  as_of timestamptz default now(),
  inactive_for interval default '14 days'
)
returns table (
  id public.drivers.id%type,
  tlc_number public.drivers.tlc_number%type,
  first_name public.drivers.first_name%type,
  last_name public.drivers.last_name%type,
  last_dropoff_timestamp timestamptz
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
as $$
  select d.id, d.tlc_number, d.first_name, d.last_name, latest.dropoff_timestamp
  from public.drivers d
  cross join lateral (
    select max(t.dropoff_timestamp::timestamptz) as dropoff_timestamp
    from public.trips t
    where t.driver_id = d.id and t.dropoff_timestamp::timestamptz <= as_of
  ) latest
  where latest.dropoff_timestamp < as_of - inactive_for
$$;
comment on function public.churned_drivers(timestamptz, interval) is
  'Drivers who completed a trip before, and none in the window from as_of - inactive_for to as_of, both ends
included. Trips after as_of are not seen: the answer is the one that as_of would have given.';

do $$
declare
  report regprocedure;
  reader text;
begin
  foreach report in array array[
    'public.trips_without_charges(timestamptz, timestamptz)'::regprocedure,
    'public.churned_drivers(timestamptz, interval)'::regprocedure
  ] loop
    execute format('revoke all on function %s from public', report);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on function %s from %I', report, reader);
      continue when reader = 'anon';
      execute format('grant execute on function %s to %I', report, reader);
    end loop;
  end loop;
end $$;

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
      insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
      select bad.etl_staged, r.column_name, bad.typed ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
      from (
        select t.etl_staged, broken.rule, to_jsonb(t) as typed
        from pg_temp.etl_typed t
        cross join lateral (select {first_broken} as rule) broken
        where broken.rule is not null
      ) bad
      join pg_temp.etl_rules r using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken)
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl_staged between $1 and $2$sql$,
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
  if some_unchanged and exists (select from pg_temp.etl_typed t where t.etl_exists) then
    -- Otherwise Postgres may sort all cells by their key, where a look at each would do.
    analyze pg_temp.etl_typed;
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed d
      using ({typed}) t
      where d.etl_exists and {same_key} and t.etl_staged > d.etl_staged
        and not exists (select from pg_temp.etl_rejected r where r.etl_staged = t.etl_staged)
      $sql$,
      jsonb_build_object(
        'typed', etl.typed_cells(with_length => true), 'same_key', etl.each(key, 't.{column} = d.{column}', ' and ')
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
        select etl_staged, row_number() over (partition by {key} order by etl_staged desc) as place
        from pg_temp.etl_typed
      ) d
      where d.etl_staged = t.etl_staged and d.place > 1
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
  -- A default that takes from a sequence is left out: a look at the rules must not move it.
  select
    string_agg(
      etl.fill('case when {is_known} then o.{column} else {default} end as {column}', jsonb_build_object(
        'is_known', is_known, 'column', quote_ident(a.attname),
        'default', case when a.attidentity = '' and v.value !~ 'nextval\(' then v.value else 'null' end
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
      'target', target, 'same_key', etl.each(key, 'o.{column} = t.{column}', ' and '),
      'columns', concat_ws(', ', 'd.*', generated),
      'carried', concat_ws(
        ', ', 't.etl_staged', etl.each(etl.carried_columns(), 't.{column}'), '(' || is_known || ') as etl_exists', kept
      )
    )
  );
  perform etl.execute_on(
    target, 'etl_typed', 'create temp table etl_delta on commit drop as ' || rows,
    rows || ' where d.etl_staged between $1 and $2'
  );
end
$$;
comment on function etl.complete_rows(regclass) is
  'Makes etl_delta of etl_typed: whole rows, as they would be stored, with what the feed does not carry.';

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
        insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl_staged, {column_name}, to_jsonb(d) ->> {column_name}, {reason}, '23514', {constraint_name}
        from pg_temp.etl_delta d
        where ({holds}) is false
        $sql$,
        places
      ),
      etl.fill($sql$select {holds} from pg_temp.etl_delta where etl_staged between $1 and $2$sql$, places)
    );
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
end
$$;
comment on function etl.validate_checks(regclass) is
  'Rejects what breaks a CHECK that names a column the feed does not carry: it is tried on the row as it would be
stored.';

revoke all on all functions in schema etl from public;

-- supabase/sql/schedule.sql
-- The schedule: pg_cron calls the edge function through pg_net. Both may be missing: everything here can be created
-- without them, and says what is missing when it is called.

create or replace function etl.schedule(cron text default '*/10 * * * *')
returns text
language plpgsql
set search_path = ''
as $$
declare
  due timestamptz := etl.next_run(cron);
  since text := to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
begin
  if due is null then
    raise exception '"%" is never due', cron using errcode = 'ETL08', hint = 'Is there such a day in such a month?';
  end if;
  perform etl.require('pg_cron', 'pg_net', 'supabase_vault');
  perform etl.secrets();
  -- Scheduling again does not switch on again, and cron.alter_job, which would, is not for everyone.
  perform cron.unschedule(j.jobid) from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl purge') and not j.active;
  if not exists (select from cron.job j where j.jobname = 'tdc-etl' and j.schedule = cron) then
    -- pg_cron does not remember when a job was made; etl.health() must know, to miss a first run.
    perform cron.schedule('tdc-etl', cron, 'select etl.invoke() -- since ' || since);
  end if;
  perform cron.schedule('tdc-etl purge', '17 3 * * *', 'select etl.purge()');
  return format('scheduled %s; next run %s', cron, due);
end
$$;
comment on function etl.schedule(text) is
  'Has pg_cron call the edge function, every ten minutes by default; calling it again changes the schedule. Raises
ETL07 where an extension or a secret is missing, ETL08 for what is no cron line.';

create or replace function etl.unschedule()
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  job record;
  ended boolean := false;
begin
  perform etl.require('pg_cron');
  for job in select j.jobid from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl purge') loop
    ended := cron.unschedule(job.jobid);
  end loop;
  return ended;
end
$$;
comment on function etl.unschedule() is 'Ends the schedule; false where there was none.';

create or replace function etl.invoke()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  url text;
  secret text;
begin
  perform etl.require('pg_net');
  select s.url, s.secret into url, secret from etl.secrets() s;
  begin
    return net.http_post(
      url => url,
      body => '{}'::jsonb,
      headers => jsonb_build_object(
        'Authorization', 'Bearer ' || secret, 'Content-Type', 'application/json', 'Accept', 'application/x-ndjson'
      ),
      timeout_milliseconds => 390000
    );
  exception when others then
    -- The words of pg_net may quote the headers, and pg_cron would keep them: the state alone is told.
    raise exception 'pg_net took no request (SQLSTATE %)', sqlstate
      using errcode = 'ETL07', hint = 'Is its background worker up? select net.check_worker_is_up()';
  end;
end
$$;
comment on function etl.invoke() is
  'Asks pg_net to call the edge function once this transaction has committed, and returns the number of the request.
The URL and the trigger secret come from the vault: etl_function_url, etl_trigger_secret. Raises ETL07, never with a
secret in it.';

create or replace function etl.secrets(out url text, out secret text)
language plpgsql stable
set search_path = ''
as $$
declare
  missing text;
begin
  perform etl.require('supabase_vault');
  -- Pasted values often end in a line break.
  select btrim(max(s.decrypted_secret) filter (where s.name = 'etl_function_url'), e' \t\r\n'),
    btrim(max(s.decrypted_secret) filter (where s.name = 'etl_trigger_secret'), e' \t\r\n')
  into url, secret
  from vault.decrypted_secrets s
  where s.name in ('etl_function_url', 'etl_trigger_secret');
  missing := concat_ws(
    ' and ',
    case when coalesce(url, '') = '' then 'etl_function_url' end,
    case when coalesce(secret, '') = '' then 'etl_trigger_secret' end
  );
  if missing <> '' then
    raise exception 'the vault lacks %', missing
      using errcode = 'ETL07', hint = 'select vault.create_secret(''<value>'', ''<name>'');';
  end if;
  -- Names without a dot are this machine or a container's neighbour.
  if url !~ '^https://[^ /]' and url !~ '^http://([a-z0-9_-]+|127\.0\.0\.1|host\.docker\.internal)[:/]' then
    raise exception 'etl_function_url in the vault is no https URL'
      using errcode = 'ETL07', hint = 'It is https://<project>.supabase.co/functions/v1/etl';
  end if;
  if length(secret) not between 32 and 512 or secret ~ '[^!-+\--~]' then
    raise exception 'etl_trigger_secret in the vault cannot be a trigger secret'
      using errcode = 'ETL07', hint = 'It is 32 to 512 printable characters without a space or a comma.';
  end if;
end
$$;
comment on function etl.secrets() is
  'The function''s URL and the trigger secret, from the vault. Raises ETL07, never with a secret in it, where one is
missing or unfit.';

create or replace function etl.require(variadic extensions text[])
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  missing text;
begin
  select string_agg(e.name, ', ') into missing
  from (values
    ('pg_cron', 'cron.job'),
    ('pg_net', 'net._http_response'),
    ('supabase_vault', 'vault.decrypted_secrets')
  ) as e(name, relation)
  where e.name = any (extensions) and not etl.can_read(e.relation);
  if missing is not null then
    raise exception 'the schedule needs %: missing, or not for this role', missing
      using errcode = 'ETL07',
        hint = 'create extension …, by a role that may. Without it, have another scheduler POST to the function.';
  end if;
end
$$;
comment on function etl.require(text[]) is 'Raises ETL07, with their names, where extensions are missing.';

create or replace function etl.can_read(relation text)
returns boolean
language sql stable strict
set search_path = ''
as $$
  select exists (
    select
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where format('%s.%s', n.nspname, c.relname) = relation
      and has_schema_privilege(n.oid, 'usage')
      and has_table_privilege(c.oid, 'select')
  )
$$;
comment on function etl.can_read(text) is
  'Whether a table or view of an extension, as in cron.job, is there and may be read; to_regclass would raise an
error.';

create or replace function etl.purge()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  purged bigint;
begin
  perform etl.require('pg_cron');
  delete from cron.job_run_details d
  where (d.command like 'select etl.invoke()%' or d.command = 'select etl.purge()')
    and coalesce(d.end_time, d.start_time) < now() - interval '2 days'
    -- The latest start of a job stays, however long ago: etl.health() tells by it whether a rare one is late.
    and exists (select from cron.job_run_details later where later.jobid = d.jobid and later.runid > d.runid);
  get diagnostics purged = row_count;
  return purged;
end
$$;
comment on function etl.purge() is
  'Deletes what pg_cron remembers of our runs that ended more than two days ago, but for the latest of each job;
returns how many.';

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
  drop table if exists
    pg_temp.etl_staging, pg_temp.etl_columns, pg_temp.etl_rejected, pg_temp.etl_typed, pg_temp.etl_delta cascade;
  create temp table etl_rejected (
    etl_staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text
  ) on commit drop;
  create temp table etl_columns (
    position bigint, source text, name name, attnum smallint, type text, base_type text, textual boolean
  ) on commit drop;
  if header is null then
    create temp table etl_staging (record text) on commit drop;
    return $copy$copy pg_temp.etl_staging (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$;
  end if;
  perform etl.map_columns(feed, header);
  execute etl.fill(
    $sql$create temp table etl_staging ({columns}) on commit drop$sql$,
    jsonb_build_object(
      'columns', (select string_agg('c' || c.position || ' text', ', ' order by c.position) from pg_temp.etl_columns c)
    )
  );
  return format('copy pg_temp.etl_staging from stdin (format csv, delimiter %L)', delimiter);
end
$$;
comment on function etl.stage(text, text[], text) is
  'Makes the staging table of a feed, for a CSV header or (header null) for JSON, and returns the COPY statement
that fills it. Raises 42P01, ETL02 and ETL03 as etl.target_of() and etl.map_columns() do.';

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
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  return target;
end
$$;
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, ETL02 where it has no primary key.';

create or replace function etl.key_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by k.position)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = target and i.indisprimary
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
  insert into pg_temp.etl_columns (position, source, name, attnum, type, base_type, textual)
  select
    h.position, h.source, a.attname, a.attnum,
    format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), t.typcategory = 'S'
  from unnest(header) with ordinality as h(source, position)
  left join pg_catalog.pg_attribute a
    on a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.attname = coalesce(feed.columns ->> h.source, h.source)
  left join pg_catalog.pg_type t on t.oid = a.atttypid;

  select string_agg(quote_ident(twice.source), ', ') into fault
  from (
    select min(c.source) as source
    from pg_temp.etl_columns c
    group by coalesce(c.name, c.source)
    having count(*) > 1
  ) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and (a.attname = any (etl.key_of(target)) or (a.attnotnull and not a.atthasdef and a.attidentity = ''))
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

revoke all on all functions in schema etl from public;

-- supabase/sql/templates.sql
-- SQL text with named places. Every statement that the merge writes is filled here, and nowhere else.

create or replace function etl.fill(template text, places jsonb)
returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  place constant text := '\{([a-z_]+)\}';
  names text[] := array(select match[1] from regexp_matches(template, place, 'g') match);
  unfilled text := (select min(name) from unnest(names) name where places ->> name is null);
begin
  if unfilled is not null then
    raise exception 'nothing fills {%}', unfilled using errcode = 'internal_error';
  end if;
  return (
    select string_agg(concat(part.piece, places ->> part.name), '' order by part.position)
    from unnest(regexp_split_to_array(template, place), names) with ordinality as part(piece, name, position)
  );
end
$$;
comment on function etl.fill(text, jsonb) is
  'SQL text: the template with each {place} replaced by its value, which is SQL itself: quoted where it is a name or
a literal. One pass: what a value holds is no place. Raises XX000 for a place without a value.';

create or replace function etl.each(columns name[], template text, separator text default ', ')
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(replace(template, '{column}', quote_ident(c.name)), separator order by c.position)
  from unnest(columns) with ordinality as c(name, position)
$$;
comment on function etl.each(name[], text, text) is
  'SQL text: the template with {column} replaced by each column''s name, quoted, and joined; null where there is no
column.';

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
    'same_key', etl.each(key, 'o.{column} = d.{column}', ' and '),
    'part', '($1 is null or d.etl_staged between $1 and $2)',
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta d where not d.etl_exists and {part}
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
      $sql$update {target} o set {fed} from pg_temp.etl_delta d where d.etl_exists and {part} and {same_key}$sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from pg_temp.etl_delta d
    where d.etl_exists and {part} and not exists (select from {target} o where {same_key})
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
      'same_key', etl.each(key, 'd.{column} = e.{column}', ' and '),
      'given_up', etl.each(key, 'g.{column} = e.{column}', ' and '),
      'this_row', etl.each(key, 'o.{column} = e.{column}', ' and ')
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
    -- Two nulls would violate it.
    if (select i.indnullsnotdistinct from pg_catalog.pg_index i where i.indexrelid = ix.index) then
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
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where two nulls violate the index it is
dropped. Returns the statements that put this right again, once all is written.';

create or replace function etl.drop_unique(target regclass, index oid)
returns text
language plpgsql
set search_path = ''
as $$
declare
  rule pg_catalog.pg_constraint := (
    select k from pg_catalog.pg_constraint k where k.conindid = index and k.contype = 'u'
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
  'Drops a unique index, with its constraint where it has one, and returns the statement that makes it again.';

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
