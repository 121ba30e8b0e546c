-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/calls.sql
-- What pg_cron and pg_net remember of our calls, where they exist. Nothing of it is ours: a run that changes nothing
-- writes no row of ours, and yet it can be known that it was. looks.sql makes pg_cron remember for longer than pg_net.

create or replace function etl.job()
returns table (
  schedule text,
  active boolean,
  looked_at boolean,
  last_start timestamptz,
  last_problem text,
  awaited timestamptz,
  known timestamptz,
  next_run timestamptz,
  overdue_from timestamptz
)
language plpgsql stable
set search_path = ''
as $$
declare
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
  looked_at := exists (select from cron.job j where j.jobname = 'tdc-etl look' and j.active);
  last_start := (select max(r.start_time) from cron.job_run_details r where r.jobid = job.jobid);
  last_problem := (
    select case when r.status = 'failed' then substring(r.return_message from '(?:ERROR: +)?([^\n]{1,200})') end
    from cron.job_run_details r
    where r.jobid = job.jobid and r.status in ('succeeded', 'failed')
    order by r.runid desc
    limit 1
  );
  -- Of two calls one may be lost, but not where the next comes only hours later.
  awaited := (
    select case when max(call.start_time) < min(call.start_time) + interval '6 hours' then min(call.start_time)
      else max(call.start_time) end
    from (
      select r.start_time
      from cron.job_run_details r
      where r.jobid = job.jobid and r.status = 'succeeded' and r.start_time < now() - etl.patience()
      order by r.start_time desc
      limit 2
    ) call
  );
  known := (select max(l.at) from etl.looks() l where l.of_call is not null);
  begin
    next_run := case when job.active then etl.next_run(job.schedule) end;
    overdue_from := coalesce(
      etl.next_run(job.schedule, etl.next_run(job.schedule, greatest(last_start, job.since))) + etl.patience(),
      '-infinity'
    );
  exception when sqlstate 'ETL08' then
    -- A line that somebody else has given to pg_cron, and that pg_cron knows how to read.
    overdue_from := 'infinity';
  end;
  return next;
end
$$;
comment on function etl.job() is
  'The job that etl.schedule made, as pg_cron remembers it; no row where nothing is scheduled. looked_at: whether
etl.look() is scheduled too. awaited: whoever called then must have an answer by now. known: the latest call of which
a look has seen a good answer. overdue_from: by then pg_cron has missed two starts. last_problem: why the latest call
could not be made.';

create or replace function etl.patience()
returns interval
language sql immutable
set search_path = ''
as $$
  select interval '400 seconds'
$$;
comment on function etl.patience() is 'The longest that an answer takes: the timeout of etl.invoke(), and a little.';

create or replace function etl.answers_kept()
returns interval
language sql stable
set search_path = ''
as $$
  select coalesce(nullif(current_setting('pg_net.ttl', true), ''), '6 hours')::interval
$$;
comment on function etl.answers_kept() is 'How long pg_net keeps an answer.';

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
    body.report,
    case when mark.ours then body.value #>> '{error,code}' when r.status_code between 200 and 299 then 'not_ours' end,
    case
      when body.report is not null then null
      when body.value ? 'error'
        then 'The function answered: '
          || coalesce(body.value #>> '{error,message}', body.value #>> '{error,code}', 'an error without a word')
      when mark.ours then 'The function was cut off before its report: see its logs'
      else etl.no_answer(r.status_code, r.content_type, r.timed_out, r.error_msg)
    end
  from net._http_response r
  cross join lateral (
    select exists (select from jsonb_object_keys(r.headers) k where lower(k) = 'x-tdc-etl') as ours
  ) mark
  cross join lateral (select split_part(rtrim(r.content, e'\n'), e'\n', -1) as line) last
  cross join lateral (
    select case when mark.ours and pg_input_is_valid(last.line, 'jsonb') then last.line::jsonb end as value
  ) parsed
  cross join lateral (
    select parsed.value, case when jsonb_typeof(parsed.value -> 'feeds') = 'array' then parsed.value end as report
  ) body
  union all
  select
    l.at,
    l.of_call is not null or coalesce(l.error_code <> 'not_ours', false),
    case when l.of_call is not null then '{"feeds": []}'::jsonb end,
    l.error_code,
    l.problem
  from etl.looks() l;
end
$$;
comment on function etl.answers() is
  'The answers that pg_net keeps, and those that a look has seen before pg_net dropped them: our function''s (ours), and
those of whatever stood in its place. An answer of ours ends with the run''s report or with {"error":{"code",…}};
problem says what is wrong with any of them.';

create or replace function etl.no_answer(status int, content_type text, timed_out boolean, error_msg text)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    -- Before pg_net 0.19.6 timed_out is null, and the words of curl alone tell.
    when timed_out or error_msg ~* '^timeout'
      then 'The function did not answer in time: ' || coalesce(left(error_msg, 200), 'pg_net gives no reason')
    when status is null
      then 'The function could not be reached: ' || coalesce(left(error_msg, 200), 'pg_net gives no reason')
    when status = 401
      then 'The gateway refused the call before it came to the function (401): set verify_jwt = false for it in '
        || 'supabase/config.toml, and deploy it again'
    when status = 404
      then 'There is no function at etl_function_url (404): deploy it, or correct the URL by etl.connect(…)'
    when status = 503 then 'The function does not start (503): see its logs'
    when status = 504 then 'The function did not answer the gateway in time (504): see its logs'
    when status = 546 then 'The platform stopped the function at a limit of memory, CPU or time (546): see its logs'
    when status between 300 and 399
      then format('etl_function_url redirects to elsewhere (%s): correct it by etl.connect(…)', status)
    when status < 300
      then format(
        'What answers at etl_function_url is not the function (%s): correct it by etl.connect(…)',
        concat_ws(', ', status, left(content_type, 100))
      )
    else format('Something before the function answered in its place (%s): see the logs', status)
  end
$$;
comment on function etl.no_answer(int, text, boolean, text) is
  'Why an answer that pg_net keeps is not the function''s, and what to do.';

revoke all on all functions in schema etl from public;

-- supabase/sql/cast.sql
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
  statement := etl.cast_statement(target, is_empty);
  begin
    execute statement;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
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
    select etl.fill($sql$select cells.etl$staged, {values} from ({cells}) cells$sql$, jsonb_build_object(
      'cells', etl.cells(),
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
  'SQL text: the query that casts the cells, to the columns'' types with their length, or without: a cast to
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
      from ({cells}) cells
      cross join lateral (select case {first_fault} end as name) fault
      where fault.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    cross join lateral (select {error} as sqlstate) why
    $sql$,
    jsonb_build_object(
      'first_fault', first_fault, 'cells', etl.cells(),
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
end
$$;
comment on function etl.find_cells(etl.feeds, boolean, text) is
  'Rejects the staged records that cannot be read, and for JSON maps the keys of the others.';

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
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)));
end
$$;
comment on function etl.map_keys(etl.feeds) is
  'Fills etl_columns with the keys of the first 1,000 objects, and any later one that the target has; with none
where no record is an object. Raises ETL03 as etl.check_columns() does.';

create or replace function etl.cells()
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  as_json boolean := exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'record'
  );
  of_json constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  of_csv constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.* from pg_temp.etl_staging s {readable}) s
  $sql$;
begin
  return (
    select etl.fill(case when as_json then of_json else of_csv end, jsonb_build_object(
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
        else 'where not exists (select 1 from pg_temp.etl_rejected r where r.etl$staged = s.ctid) offset 0'
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
comment on function etl.cells() is
  'SQL text: the query for the cells, which are the staged records that are not rejected so far, under the target''s
names, still text.';

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
    select t.verdict, t.message, j.schedule, j.known, j.next_run from etl.trouble() t left join etl.job() j on true
  ), good as materialized (
    select of_feed ->> 'feed' as feed, max(a.at) as at
    from etl.answers() a
    cross join jsonb_array_elements(a.report -> 'feeds') of_feed
    where of_feed ->> 'status' in ('unchanged', 'changed') and a.report ->> 'dry_run' = 'false'
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
    -- All at once: feed by feed Postgres might read all rejects for each.
    left join (select r.feed, count(*) as rejects from etl.rejects r group by r.feed) waiting on waiting.feed = f.name
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
    -- Each failure is in the ledger: a later call that is known to be answered well has not failed.
    cross join lateral (
      select s.failed > coalesce(greatest(s.changed, s.good, c.known), '-infinity') as itself
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
hours. Without pg_cron and pg_net the ledger alone is judged: it does not show a recovery that changed nothing.';

create or replace function etl.trouble(out verdict text, out message text, out rests_on timestamptz)
language plpgsql stable
set search_path = ''
as $$
declare
  job record;
  refused timestamptz;
  let_in timestamptz;
  broken timestamptz;
  ran timestamptz;
  bad record;
  queue text;
begin
  select * into job from etl.job();
  select
    max(a.at) filter (where a.error_code = 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code is distinct from 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code not in ('secret_refused', 'busy')),
    max(a.at) filter (where a.report is not null)
  into refused, let_in, broken, ran
  from etl.answers() a;
  ran := greatest(ran, (select max(r.finished_at) from etl.runs r));

  -- What was answered before the calls that have had no answer of ours since says nothing of them.
  if refused > coalesce(let_in, '-infinity') and refused >= coalesce(job.awaited, '-infinity') then
    verdict := 'secret refused';
    message := 'etl_trigger_secret in the vault is not among the secrets in ETL_TRIGGER_SECRET of the function.';
    rests_on := refused;
  elsif broken > coalesce(ran, '-infinity') and broken >= coalesce(job.awaited, '-infinity') then
    verdict := 'failing';
    message := (select a.problem from etl.answers() a where a.at = broken and a.ours and a.problem is not null limit 1);
    rests_on := broken;
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
    select a.at, a.problem into bad
    from etl.answers() a
    where a.problem is not null and a.at > coalesce(ran, '-infinity')
    -- What went well may be the answer to another user of pg_net.
    order by a.error_code is not distinct from 'not_ours', a.at desc
    limit 1;
    verdict := 'late';
    queue := etl.queue_trouble();
    message := case
      when bad.problem is null and queue is null and job.awaited < now() - etl.answers_kept() then concat_ws(
        '. ',
        'What the function answered to the call of ' || job.awaited || ' is not known: pg_net has dropped it unseen',
        case when not job.looked_at then format('Have pg_cron look in time: select etl.schedule(%L)', job.schedule) end
      )
      else concat_ws(
        '. ',
        'The function was called and has not answered well since ' || coalesce(ran, job.awaited),
        'The latest bad answer that is known: ' || bad.problem,
        queue
      )
    end;
    rests_on := bad.at;
  end if;
end
$$;
comment on function etl.trouble() is
  'What keeps all feeds from being loaded: verdict secret refused, failing or late, why, and when the bad answer came
on which that rests. Nulls where nothing does.';

create or replace function etl.queue_trouble()
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  is_up boolean := etl.net_worker_is_up();
  waiting bigint := 0;
begin
  if etl.can_read('net.http_request_queue') then
    -- While a call is in flight pg_net has deleted its row, and may not have committed that yet.
    select count(*) into waiting from net.http_request_queue q where is_up is false or q.xmax = '0'::xid;
  end if;
  return nullif(
    concat_ws(
      '. ',
      case when not is_up then 'The background worker of pg_net is down: select net.worker_restart()' end,
      case
        when waiting > 0 and is_up
          then 'Requests that wait while pg_net sends others, one batch at a time: ' || waiting
        when waiting > 0 then 'Requests that wait in pg_net: ' || waiting
      end
    ),
    ''
  );
end
$$;
comment on function etl.queue_trouble() is
  'What in pg_net may keep a call from being sent; null where nothing is known to.';

create or replace function etl.net_worker_is_up()
returns boolean
language sql stable
set search_path = ''
as $$
  select case
    when pg_has_role('pg_read_all_stats', 'usage')
      then exists (select from pg_catalog.pg_stat_activity a where a.backend_type ilike '%pg_net%')
  end
$$;
comment on function etl.net_worker_is_up() is
  'Whether the background worker of pg_net runs; null where this role may not know.';

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

-- supabase/sql/looks.sql
-- pg_net drops an answer after six hours, or sooner. So pg_cron has someone look before that, and keeps what was seen:
-- of a look that succeeds how many rows it returned, of one that fails its words.

create or replace function etl.look()
returns setof timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
  bad record;
begin
  select a.* into bad
  from etl.trouble() t
  join etl.answers() a on a.at = t.rests_on and a.problem is not null
  where not exists (select from etl.looks() l where l.problem is not null and l.at >= a.at)
    -- An error is a line in the log of Postgres: not where the next call will tell in time.
    and not exists (select from etl.job() j where j.next_run + etl.patience() < a.at + etl.answers_kept())
  order by a.ours desc
  limit 1;
  if found then
    raise exception '% [%, %]', regexp_replace(bad.problem, '\s+', ' ', 'g'), coalesce(bad.error_code, '-'),
      to_char(bad.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  end if;
  return query
  select max(a.at)
  from etl.answers() a
  where a.report is not null
  having max(a.at) >= (select c.start_time from etl.call_before(now()) c);
end
$$;
comment on function etl.look() is
  'For pg_cron, which keeps what it saw: returns a row if the latest call has a good answer, and raises the bad answer
that keeps the feeds from being loaded, once, where pg_net would drop it before the next call.';

create or replace function etl.looks()
returns table (runid bigint, of_call bigint, at timestamptz, error_code text, problem text)
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('cron.job_run_details') then
    return;
  end if;
  return query
  with look as (
    select r.runid, r.start_time, r.status, r.return_message
    from cron.job_run_details r
    join cron.job j on j.jobid = r.jobid
    where j.jobname = 'tdc-etl look'
  )
  (
    select l.runid, c.runid, c.start_time, null::text, null::text
    from look l
    cross join lateral etl.call_before(l.start_time) c
    -- "1 row", or "SELECT 1" where cron.use_background_workers is on.
    where l.status = 'succeeded' and l.return_message ~ '[1-9]'
    order by l.runid desc
    limit 1
  )
  union all
  (
    select l.runid, null, kept.words[3]::timestamptz, nullif(kept.words[2], '-'), kept.words[1]
    from look l
    cross join lateral (
      select regexp_match(l.return_message, '^(?:ERROR: +)?([^\n]+) \[([a-z_0-9]+|-), ([-0-9T:.]+Z)\]') as words
    ) kept
    where l.status = 'failed' and kept.words is not null
    order by l.runid desc
    limit 1
  );
end
$$;
comment on function etl.looks() is
  'What the looks have seen: the latest call of which one saw a good answer (of_call, and when it was made), and the
latest bad answer that one has kept (when it came, its code, its words). runid: of the look, in
cron.job_run_details.';

create or replace function etl.call_before(moment timestamptz)
returns table (runid bigint, start_time timestamptz)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select r.runid, r.start_time
  from cron.job_run_details r
  join cron.job j on j.jobid = r.jobid
  -- What starts with a look may be seen by it, or not.
  where j.jobname = 'tdc-etl' and r.status = 'succeeded' and r.start_time < moment - interval '1 minute'
  order by r.start_time desc
  limit 1;
end
$$;
comment on function etl.call_before(timestamptz) is
  'The latest call that was made a minute or more before: the one whose answer a look at this moment is after.';

revoke all on all functions in schema etl from public;

-- supabase/sql/merge.sql
-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql. The temp tables that
-- they hand each other are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, place int, header text[], sentinel text,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out ignored_columns text[], out changed boolean
)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  as_json boolean := header is null;
  different bigint := 0;
  caller_time_zone text := current_setting('timezone');
begin
  perform etl.take_staged(feed, place, header);
  select count(*) into read from pg_temp.etl_staging;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  perform etl.find_cells(feed, as_json, sentinel);
  if read > etl.rejected_count() then
    perform set_config('timezone', feed.time_zone, true);
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
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
  end if;
  perform set_config('timezone', caller_time_zone, true);
  rejected := etl.rejected_count();
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform etl.check_limit(feed, read);
  changed := etl.keep_rejects(feed, run, as_json) or inserted + updated > 0;
  ignored_columns := array(select c.source from pg_temp.etl_columns c where c.name is null order by c.position);
  drop table pg_temp.etl_staging;
end
$$;
comment on function etl.merge(text, uuid, int, text[], text) is
  'Brings the feed that was staged at this place into its target: casts, rejects what breaks a rule, drops duplicates
(the last record wins), writes what is new or differs, and returns the counts. Nothing is written where nothing
changed. The staging table is gone after it; etl_columns stays for etl.remember(). header: as it was staged; sentinel:
what the cell of an unreadable record begins with, null where there is none. Raises ETL03 as etl.check_columns() does,
ETL05 where a trigger drops rows, ETL06 above the reject limit, 40001 where another session deletes a row meanwhile.';

revoke all on all functions in schema etl from public;

-- supabase/sql/plan.sql
-- The feeds of a run, whether another run is in their way, and whether what the loader remembers of them may be
-- trusted.

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
    'parents', (select coalesce(jsonb_agg(p.parent), '[]') from parents p where p.child = f.name),
    'last_run', greatest(
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'changed'),
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'failed')
    ),
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
      where r.feed = f.name
        and (r.sqlstate !~ '^(22|23502|23514)' or r.reason ~ '^(is refused by a trigger|fits no partition)')
    )
  where f.name = any (names) or (names = '{}' and f.enabled)
  order by (select max(d.depth) from depths d where d.name = f.name), f.name;
end
$$;
comment on function etl.plan(text[], boolean) is
  'The feeds of a run, parents before children by the foreign keys: each a row of etl.feeds with the names of its
parents, when it was last changed or failed (last_run), and the validators of its etl.feed_state. All enabled feeds
where no name is given. Raises ETL01 for a name that is not in etl.feeds. Validators are null where they must not be
used: when forced, when a definition has changed, while there are rejects that depend on more than their record. Those
alone that hold no value of a type (class 22), lack one (23502) or break a CHECK (23514) do not; but whatever a
trigger refuses does, and what fits no partition.';

create or replace function etl.claim_feeds(names text[])
returns setof text
language plpgsql
set search_path = ''
as $$
declare
  wanted text;
begin
  for wanted in
    select f.name from etl.feeds f where f.name = any (names) or (names = '{}' and f.enabled) order by f.name
  loop
    if not pg_try_advisory_xact_lock(hashtext('tdc-etl feed'), hashtext(wanted)) then
      return next wanted;
    end if;
  end loop;
end
$$;
comment on function etl.claim_feeds(text[]) is
  'Has these feeds, or all enabled ones where no name is given, for this transaction alone. Returns those that another
run has; waits for nothing.';

create or replace function etl.claim_tables(feed_name text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  target regclass := (select to_regclass(f.target) from etl.feeds f where f.name = feed_name);
  parent oid;
begin
  -- Where one is refused, the block gives up the others.
  if not pg_try_advisory_xact_lock(hashtext('tdc-etl table'), hashoid(etl.root_of(target))) then
    raise exception using errcode = 'ETL00';
  end if;
  for parent in
    select distinct etl.root_of(k.parent) from etl.foreign_keys(target) k where k.child = target order by 1
  loop
    if not pg_try_advisory_xact_lock_shared(hashtext('tdc-etl table'), hashoid(parent)) then
      raise exception using errcode = 'ETL00';
    end if;
  end loop;
  return true;
exception when sqlstate 'ETL00' then
  return false;
end
$$;
comment on function etl.claim_tables(text) is
  'Has the feed''s table for this transaction alone, and shares those that its keys refer to with other runs that do.
False where another run is in the way; waits for nothing. A parent that is being loaded so makes no orphans.';

create or replace function etl.root_of(relation regclass)
returns oid
language sql stable
set search_path = ''
as $$
  select coalesce(pg_partition_root(relation), relation)::oid
$$;
comment on function etl.root_of(regclass) is 'The partitioned table that a partition belongs to; any other itself.';

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
  is_written boolean;
begin
  execute etl.fill(
    $sql$
    with present as materialized (
      select
        n.record_number, {record} as record, {raw} as raw, r.column_name, r.value, r.reason, r.sqlstate,
        r.constraint_name
      from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
      join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
        on n.ctid = r.etl$staged
      join pg_temp.etl_staging s on s.ctid = r.etl$staged
    ), gone as (
      delete from etl.rejects r
      where r.feed = $1 and not exists (select from present p where p.record_number = r.record_number)
      returning 1
    ), written as (
      insert into etl.rejects as r (
        feed, record_number, record, raw, column_name, value, reason, sqlstate, constraint_name, first_run, last_run
      )
      select $1, p.*, $2, $2
      from present p
      on conflict (feed, record_number) do update
      set record = excluded.record, raw = excluded.raw, column_name = excluded.column_name, value = excluded.value,
        reason = excluded.reason, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name,
        last_run = excluded.last_run
      where row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name) is distinct from row(
        excluded.record, excluded.raw, excluded.column_name, excluded.value, excluded.reason, excluded.sqlstate,
        excluded.constraint_name
      )
      returning 1
    )
    select (select count(*) from gone) + (select count(*) from written) > 0
    $sql$,
    case when as_json then etl.rejected_json() else etl.rejected_csv() end
  ) into is_written using loaded.name, run;
  return is_written;
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
        from {children} c
        left join {parent} p on {matches}
        {given}
        where {touched} and {present} and (p.{parent_column} is null {or_given})
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.name),
          'reason', quote_literal('is in no row of ' || fk.parent || case
            when etl.is_inherited(fk.parent) then ' itself: the tables that inherit from it do not count'
            when fk.parent <> target and etl.refers_to(fk.parent, target)
              then ', which refers to this table in turn: neither can be loaded first'
            else ''
          end),
          'parent', etl.own_rows(fk.parent),
          'touched', case when fk.is_carried then 'true' else 'not c.etl$exists' end,
          'present', fk.present, 'matches', fk.matches,
          'parent_column', quote_ident(fk.parent_columns[1]),
          -- A parent in the same table counts as the feed leaves it.
          'children', case
            when fk.parent = target then etl.fill(
              $sql$
              (
                select c.*
                from pg_temp.etl_delta c
                left join pg_temp.etl_delta p on {matches}
                where p.{parent_column} is null
              )
              $sql$,
              jsonb_build_object('matches', fk.matches, 'parent_column', quote_ident(fk.parent_columns[1]))
            )
            else 'pg_temp.etl_delta'
          end,
          'given', case
            when fk.parent = target then 'left join pg_temp.etl_delta g on ' || etl.same_key(target, 'g', 'p')
            else ''
          end,
          'or_given', case
            when fk.parent = target then format('or g.%I is not null', (etl.key_of(target))[1])
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
    select k.*, k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
    from etl.foreign_keys(target) k
    where k.parent = target and k.on_update in ('a', 'r')
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
      where d.etl$exists and pg_catalog.record_image_ne(row({old}), row({new}))
        and exists (select 1 from {child} c where {matches} {and_lost} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', etl.own_rows(fk.child), 'matches', fk.matches,
        'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.each(fk.parent_columns, 'p.{column}'), 'new', etl.each(fk.parent_columns, 'd.{column}'),
        -- Another spelling of what the key takes for the same is no other value, unless the key restricts any change.
        'and_lost', case
          when fk.on_update = 'a' then format('and not exists (select 1 from (select d.*) p where %s)', fk.matches)
          else ''
        end,
        -- A child whose reference the feed changes, too, was an orphan or was not.
        'and_stays', case
          when fk.child = target and fk.is_carried then etl.fill(
            'and not exists (select 1 from pg_temp.etl_delta g where {same_key})',
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
  on_update "char", present text, matches text
)
language sql stable
set search_path = ''
as $$
  select
    k.conname, k.conrelid::regclass, k.confrelid::regclass, k.conkey,
    case when cardinality(k.conkey) = 1 then min(child.attname::text) end,
    array_agg(parent.attname order by pair.position),
    k.confupdtype,
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
        -- Of a partition by itself that row is the only one.
        and of in (whole.conrelid, whole.confrelid)
    )
  group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. on_update: a letter, as
in pg_constraint. SQL text: present, whether the child''s row c refers to anything (under MATCH FULL, in part);
matches, whether the parent''s row p is what it refers to, as the key compares.';

create or replace function etl.own_rows(of regclass)
returns text
language sql stable
set search_path = ''
as $$
  select case when etl.is_inherited(of) then 'only ' else '' end || of
$$;
comment on function etl.own_rows(regclass) is
  'SQL text: the rows that a foreign key from or to the table holds: those of its partitions, too, but not of tables
that inherit from it.';

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

-- supabase/sql/reports.sql
-- The two reports, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to that moment.
-- Both are for staff, and for whoever row security does not hold: the owner, service_role.
-- Signed-in users have 8 s for a request; PostgREST takes a function's own statement_timeout for the whole of it.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns setof public.trips
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
set plan_cache_mode = force_custom_plan
as $$
begin
  if row_security_active('public.trips') then
    -- Not in one condition: those above may not look into etl.
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  -- Planned for each call, by its bounds: for all trips a hash join, for those of a day the index of the charges.
  return query
  select t.*
  from public.trips t
  where t.dropoff_timestamp::timestamptz >= completed_from
    and t.dropoff_timestamp::timestamptz < completed_before
    and not exists (select 1 from public.charges c where c.trip_id = t.id);
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
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
begin
  if row_security_active('public.trips') then
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  return query
  select d.id, d.tlc_number, d.first_name, d.last_name, latest.dropoff_timestamp
  from public.drivers d
  cross join lateral (
    select max(t.dropoff_timestamp::timestamptz) as dropoff_timestamp
    from public.trips t
    where t.driver_id = d.id and t.dropoff_timestamp::timestamptz <= as_of
  ) latest
  where latest.dropoff_timestamp < as_of - inactive_for;
end
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
  rules jsonb;
  first_broken text;
  offenders bigint;
begin
  select
    jsonb_agg(to_jsonb(r)),
    'case ' || string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) || ' end'
  into rules, first_broken
  from (
    select row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
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
    ) r
  ) r;
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
      join jsonb_to_recordset({rules}) as r(
        rule int, column_name text, reason text, sqlstate text, constraint_name text
      ) using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken, 'rules', quote_literal(rules))
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl$staged between $1 and $2$sql$,
      jsonb_build_object('first_broken', first_broken)
    )
  );
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
set client_min_messages = warning
as $$
declare
  key name[] := etl.key_of(target);
  is_known constant text := etl.each(key[:1], 'o.{column} is not null');
  kept text;
  generated text;
  kept_names text;
  rows text;
  filled text;
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
    string_agg(v.value || ' as ' || quote_ident(a.attname), ', ') filter (where a.attgenerated <> ''),
    string_agg(quote_ident(a.attname), ', ')
  into kept, generated, kept_names
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  cross join lateral (select coalesce(pg_get_expr(d.adbin, d.adrelid), 'null') as value) v
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if kept is null and generated is null then
    -- They are whole: no second copy of them. The other table is the next feed's etl_typed.
    alter table if exists pg_temp.etl_delta rename to etl_spare;
    alter table pg_temp.etl_typed rename to etl_delta;
    alter table if exists pg_temp.etl_spare rename to etl_typed;
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
  if generated is null then
    perform etl.shape_table('etl_delta', '{etl$staged tid,etl$exists boolean}'::text[] || array(
      select format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), etl.collation_of(a.attcollation))
      from pg_catalog.pg_attribute a
      where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      order by a.attnum
    ));
    filled := etl.fill('insert into pg_temp.etl_delta ({columns}) ', jsonb_build_object(
      'columns', concat_ws(', ', 'etl$staged', etl.each(etl.carried_columns(), '{column}'), 'etl$exists', kept_names)
    ));
  else
    -- What a generated column's expression gives is converted at the write alone, where that is asked of each record.
    drop table if exists pg_temp.etl_delta;
    filled := 'create temp table etl_delta on commit drop as ';
  end if;
  perform etl.execute_on(
    target, 'etl_typed', filled || rows, rows || ' where d.etl$staged between $1 and $2'
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
  perform cron.unschedule(j.jobid)
  from cron.job j
  where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl purge') and not j.active;
  if not exists (select from cron.job j where j.jobname = 'tdc-etl' and j.schedule = cron) then
    -- pg_cron does not remember when a job was made; etl.health() must know, to miss a first run.
    perform cron.schedule('tdc-etl', cron, 'select etl.invoke() -- since ' || since);
  end if;
  -- Often enough for a pg_net.ttl of a quarter of an hour, and not in the minute of most runs.
  perform cron.schedule('tdc-etl look', '2-57/5 * * * *', 'select from etl.look()');
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
  for job in select j.jobid from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl purge') loop
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

create or replace function etl.purge(ledger_kept interval default '90 days')
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  purged bigint;
  forgotten bigint := 0;
  -- The latest looks that saw something, and the call whose answer one saw.
  seen bigint[] := array(select run from etl.looks() l cross join unnest(array[l.runid, l.of_call]) run where run > 0);
begin
  delete from etl.runs r
  where r.finished_at < now() - ledger_kept
    -- Health tells by the latest of each kind how a feed is, however long ago that was.
    and exists (
      select from etl.runs later
      where later.feed = r.feed and later.status = r.status and later.finished_at > r.finished_at
    );
  get diagnostics purged = row_count;
  if etl.can_read('cron.job_run_details') then
    delete from cron.job_run_details d
    where (d.command like 'select etl.invoke()%' or d.command in ('select etl.purge()', 'select from etl.look()'))
      and coalesce(d.end_time, d.start_time) < now() - interval '2 days'
      -- The latest start of a job stays, however long ago: etl.health() tells by it whether a rare one is late.
      and exists (select from cron.job_run_details later where later.jobid = d.jobid and later.runid > d.runid)
      and d.runid <> all (seen);
    get diagnostics forgotten = row_count;
  end if;
  return purged + forgotten;
end
$$;
comment on function etl.purge(interval) is
  'Deletes the rows of the ledger that are older, and what pg_cron remembers of our runs that ended more than two
days ago, but for the latest of each feed, status and job, and what the looks have seen; returns how many rows that
is.';

revoke all on all functions in schema etl from public;

-- supabase/sql/stage.sql
-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. All feeds of a run are staged, each in a table of its own, before the first is
-- merged. The steps of a merge hand each other temp tables, which are made once a run, but for the staged feeds:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file.
--                 Until its merge it is etl_staging_1, etl_staging_2, …, by the feed's place in the run
--   etl_columns   which source column feeds which column of the target
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

create or replace function etl.stage(feed_name text, place int, header text[], delimiter text)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  staging text := 'etl_staging_' || place;
begin
  perform etl.target_of(feed);
  perform etl.check_time_zone(feed.time_zone);
  if header is null then
    execute format('create temp table %s (record text) on commit drop', staging);
    return format(
      $copy$copy pg_temp.%s (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$, staging
    );
  end if;
  perform etl.empty_tables();
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, is_empty => false);
  execute etl.fill(
    $sql$create temp table {staging} ({columns}) on commit drop$sql$,
    jsonb_build_object(
      'staging', staging,
      -- A "char" keeps one byte of whatever it is given.
      'columns', (
        select string_agg(
          'c' || c.position || case when c.stored then ' text' else ' "char"' end, ', ' order by c.position
        )
        from pg_temp.etl_columns c
      )
    )
  );
  return format('copy pg_temp.%s from stdin (format csv, delimiter %L)', staging, delimiter);
end
$$;
comment on function etl.stage(text, int, text[], text) is
  'Makes the staging table of the feed at this place in the run, counted from 1, for a CSV header or (header null)
for JSON, and returns the COPY statement that fills it. Takes no lock on the target, and so asks what the catalogs
tell: raises what etl.target_of(), etl.check_time_zone() and etl.check_columns() raise.';

create or replace function etl.take_staged(feed etl.feeds, place int, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- A new name takes no further lock.
  execute format('alter table pg_temp.etl_staging_%s rename to etl_staging', place);
  perform etl.empty_tables();
  if header is null then
    return;
  end if;
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)));
  if exists (
    select from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || c.position
    where c.stored and a.atttypid <> 'pg_catalog.text'::regtype
  ) then
    raise exception 'its table was given a column while it was staged'
      using errcode = 'ETL03', hint = 'Run again.';
  end if;
end
$$;
comment on function etl.take_staged(etl.feeds, int, text[]) is
  'Makes the staged feed at this place etl_staging, and maps the columns of its header (null for JSON) as the target
is now. Raises what etl.check_columns() raises, and ETL03 where a column has come that was staged as a single byte.';

create or replace function etl.empty_tables()
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  fixed text;
begin
  create temp table if not exists etl_columns (
    position bigint, source text, stored boolean, name name, attnum smallint,
    type text, collate_clause text, base_type text, has_length boolean, textual boolean
  ) on commit drop;
  create temp table if not exists etl_rejected (
    etl$staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text
  ) on commit drop;
  foreach fixed in array '{pg_temp.etl_columns,pg_temp.etl_rejected}'::text[] loop
    -- TRUNCATE writes to the catalogs; what DELETE leaves is read at each scan.
    if pg_relation_size(fixed) > 65536 then
      execute format('truncate %s', fixed);
    else
      execute format('delete from %s', fixed);
    end if;
  end loop;
end
$$;
comment on function etl.empty_tables() is
  'Makes etl_columns and etl_rejected, once a run, or empties them for the next feed.';

create or replace function etl.shape_table(name text, columns text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  shaped regclass := to_regclass('pg_temp.' || name);
  places jsonb := jsonb_build_object('name', name, 'columns', array_to_string(columns, ', '));
  dropped text;
begin
  -- A dropped column costs a null in each row; an index, of etl.isolate(), each insert.
  if (
    select c.relnatts + cardinality(columns) > 100 or c.relhasindex from pg_catalog.pg_class c where c.oid = shaped
  ) then
    execute etl.fill('drop table pg_temp.{name}', places);
    shaped := null;
  end if;
  if shaped is null then
    execute etl.fill('create temp table {name} ({columns}) on commit drop', places);
    return;
  end if;
  if pg_relation_size(shaped) > 0 then
    execute etl.fill('truncate pg_temp.{name}', places);
  end if;
  select string_agg(format('drop column %I', a.attname), ', ') into dropped
  from pg_catalog.pg_attribute a
  where a.attrelid = shaped and a.attnum > 0 and not a.attisdropped;
  execute etl.fill('alter table pg_temp.{name} {dropped}, {added}', places || jsonb_build_object(
    'dropped', dropped,
    'added', (select string_agg('add column ' || c, ', ' order by n) from unnest(columns) with ordinality u(c, n))
  ));
end
$$;
comment on function etl.shape_table(text, text[]) is
  'Makes etl_typed or etl_delta an empty table of these columns (SQL text: name and type). Where the feed before left
one, that one is altered: until the commit each table that a run makes and drops keeps its locks, and the room for
locks is limited.';

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
  if etl.is_inherited(target) then
    raise exception 'its table % has tables that inherit from it', feed.target
      using errcode = 'ETL04',
        hint = 'Its key does not hold their rows. Part them (alter table … no inherit …), or make it partitioned.';
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
  'The table that the feed loads. Raises 42P01 where it does not exist, ETL04 where it is no table, has tables that
inherit from it or a rule INSTEAD of a write, ETL02 where it has no primary key.';

create or replace function etl.is_inherited(parent regclass)
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent and not c.relispartition
  )
$$;
comment on function etl.is_inherited(regclass) is
  'Whether tables inherit from it that are no partitions: their rows are seen in it, and its keys do not hold them.';

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
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have.';

create or replace function etl.check_columns(feed etl.feeds, is_empty boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
begin
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
      or (a.attnotnull and not a.atthasdef and a.attidentity = '' and is_empty)
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
comment on function etl.check_columns(etl.feeds, boolean) is
  'Raises ETL03 where etl_columns names a column twice, or lacks the key or, where the target is empty, a NOT NULL
column without default.';

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
  written bigint;
begin
  -- Without ON CONFLICT, which costs a sixth more: it looks each key up first.
  if inserted > 0 and updated > 0 and statement.update_known is not null and etl.refers_to(target, target) then
    -- As one statement: a new row may refer to what a known one gets just now, and the other way round.
    execute etl.fill(
      $sql$
      with new as ({insert_new} returning 1), known as ({update_known} returning 1)
      select (select count(*) from new) + (select count(*) from known)
      $sql$,
      jsonb_build_object('insert_new', statement.insert_new, 'update_known', statement.update_known)
    ) into written using null::tid, null::tid;
    perform etl.require_written(target, statement.count_gone, written, expected => inserted + updated);
  else
    perform etl.write_rows(
      target, statement.insert_new, statement.update_known, statement.count_gone, expected => inserted + updated
    );
  end if;
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
    'part', '($1 is null or etl$staged between $1 and $2)', 'key_column', quote_ident(key[1]),
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta where not etl$exists and {part}
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
      $sql$
      update {target} o set {fed}
      from (select * from pg_temp.etl_delta where etl$exists and {part}) d
      where {same_key}
      $sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from (select * from pg_temp.etl_delta where etl$exists and {part}) d
    left join {target} o on {same_key}
    where o.{key_column} is null
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
begin
  execute insert_new using first, last;
  get diagnostics written = row_count;
  if written < expected and update_known is not null then
    execute update_known using first, last;
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  perform etl.require_written(target, count_gone, written, expected, first, last);
end
$$;
comment on function etl.write_rows(regclass, text, text, text, bigint, tid, tid) is
  'Executes etl.write_statements, for so many rows. Raises as etl.require_written does.';

create or replace function etl.require_written(
  target regclass, count_gone text, written bigint, expected bigint, first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  gone bigint;
begin
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
comment on function etl.require_written(regclass, text, bigint, bigint, tid, tid) is
  'Raises 40001 where fewer rows than expected were written, since another session has deleted one after it was
compared; ETL05 where a trigger or rule drops rows.';

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
    select i.*, a.attname as freed, a.attnotnull as required, a.frees
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an expression or a condition a null need not make a null; where a key refers to, it would cascade; and to
      -- some indexes two nulls are the same.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
      ) and not exists (
        select from pg_catalog.pg_index n
        where n.indrelid = target and n.indnullsnotdistinct and a.attnum = any (n.indkey::int2[])
      ) as frees
      from pg_catalog.pg_attribute a
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      left join pg_catalog.pg_depend p
        on p.classid = 'pg_catalog.pg_class'::regclass and p.objid = i.index
        and p.refobjid = target and p.refobjsubid = a.attnum
      where a.attrelid = target and (a.attname = any (i.columns) or p.objid is not null)
      order by frees desc, a.attnotnull, a.attnum
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
    execute format('select exists (select 1 %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    -- A null would not do, two nulls would violate it, or a trigger would see them.
    if sees_updates or not ix.frees then
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
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where a null would not do, two nulls
violate the index, or a trigger would see them, the index is dropped. Returns the statements that put this right
again, once all is written.';

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
  deferred regclass[];
  index regclass;
  repairs text[] := '{}';
begin
  -- A trigger may look things up by these indexes, for each row.
  if not etl.is_empty(target) or exists (
    select from etl.parts_of(target) p
    join pg_catalog.pg_trigger g on g.tgrelid = p.relation and not g.tgisinternal
  ) then
    return repairs;
  end if;
  deferred := etl.deferrable_indexes(target);
  if deferred = '{}' then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  foreach index in array deferred loop
    -- The index of a partitioned table is made ONLY there; then those of its partitions, with their own names.
    repairs := repairs || array(
      select unnest(array[
        pg_get_indexdef(p.relation),
        case when p.level > 0 then format('alter index %s attach partition %s', p.parent, p.relation) end
      ])
      from etl.parts_of(index) p
      order by p.level, p.relation
    );
    execute format('drop index %s', index);
  end loop;
  return array_remove(repairs, null);
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all
is written: at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table
waiting until the commit; where it cannot be had at once, or there is no such index, nothing is locked or dropped.';

create or replace function etl.deferrable_indexes(target regclass)
returns regclass[]
language sql stable
set search_path = ''
as $$
  select array(
    select i.indexrelid::regclass
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and not i.indisunique and not i.indisexclusion and not x.relispartition
      -- What the definition does not tell, of none of its parts.
      and not exists (
        select from etl.parts_of(i.indexrelid) p
        join pg_catalog.pg_index part on part.indexrelid = p.relation
        join pg_catalog.pg_class partx on partx.oid = p.relation
        where not part.indisvalid or part.indisclustered or partx.reltablespace <> 0
          or obj_description(p.relation, 'pg_class') is not null
      )
    order by i.indexrelid
  )
$$;
comment on function etl.deferrable_indexes(regclass) is
  'The indexes of a table, partitioned or not, that enforce nothing, and of which no more is known than their
definitions.';

create or replace function etl.parts_of(whole regclass)
returns table (relation regclass, parent regclass, level int)
language sql stable
set search_path = ''
as $$
  select whole, null::regclass, 0
  union all
  select t.relid, t.parentrelid, t.level from pg_catalog.pg_partition_tree(whole) t where t.level > 0
$$;
comment on function etl.parts_of(regclass) is
  'A table or an index and, where it is partitioned, all its partitions, by level.';

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
