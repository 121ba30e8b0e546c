-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/absent.sql
-- Rows that a file of all no longer holds: they are deleted or marked, or withheld where something speaks against it.
-- etl_typed holds all of them, etl_delta those that are to go; etl$staged numbers them, for there is no staged record.

create or replace function etl.check_absent(feed etl.feeds, target regclass)
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  other text := (
    select min(f.name)
    from etl.feeds f
    where f.name <> feed.name and etl.root_of(etl.regclass_of(f.target)) = etl.root_of(check_absent.target)
  );
begin
  if other is not null then
    raise exception 'its rows may be those of %, which loads the same table', other
      using errcode = 'ETL11', hint = 'Set etl.feeds.absent to keep, or give each of them a table of its own.';
  end if;
  if feed.absent = 'mark' and not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attname = 'absent_since' and not a.attisdropped
      and a.atttypid = 'pg_catalog.timestamptz'::regtype and not a.attnotnull and a.attgenerated = ''
  ) then
    raise exception 'its table % has no column absent_since that could be null and is a timestamptz', feed.target
      using errcode = 'ETL11', hint = format('alter table %s add column absent_since timestamptz;', feed.target);
  end if;
  if feed.absent = 'delete' and exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.is_instead and r.ev_type = '4'
  ) then
    raise exception 'its table % has a rule that does something else INSTEAD of a deletion', feed.target
      using errcode = 'ETL04', hint = 'Drop the rule, or make it a trigger: what it swallows could not be counted.';
  end if;
end
$$;
comment on function etl.check_absent(etl.feeds, regclass) is
  'Raises ETL11 where a feed whose absent rows are to go shares its table with another one, or has no column to mark
them in; ETL04 where a rule stands in for their deletion.';

create or replace function etl.carry_mark(target regclass, as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  next bigint := (select coalesce(max(c.position), 0) + 1 from pg_temp.etl_columns c);
begin
  if exists (select from pg_temp.etl_columns c where c.name = 'absent_since') then
    raise exception 'it has a column absent_since, which is where the loader marks the rows that a file lacks'
      using errcode = 'ETL03', hint = 'Give it another name in etl.feeds.columns.';
  end if;
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, kind, nulls, decimal_comma,
    needs_order, lenient
  )
  select
    next, 'etl$absent_since', false, c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.kind,
    '{}', false, false, false
  from etl.loadable_columns(target) c
  where c.name = 'absent_since';
  if not as_json then
    execute format('alter table pg_temp.etl_staging add column c%s text', next);
  end if;
end
$$;
comment on function etl.carry_mark(regclass, boolean) is
  'Has each record carry a null for absent_since: so a row that comes back is one that differs. Raises ETL03 where the
file has such a column itself.';

create or replace function etl.remove_absent(
  feed etl.feeds, target regclass, run uuid, is_whole boolean, inserted bigint,
  out deleted bigint, out withheld jsonb, out changed boolean
)
language plpgsql
set search_path = ''
as $$
declare
  unreadable bigint := etl.find_absent(feed, target);
  expected bigint;
  present bigint;
  obstacle text;
  permitted bigint := (select a.removals from etl.approvals a where a.feed = remove_absent.feed.name);
begin
  -- What stays for a reason of its own was permitted before.
  execute etl.fill(
    $sql$
    select count(*)
    from pg_temp.etl_typed t
    where not exists (
      select 1 from etl.rejects r where r.feed = $1 and r.record_number is null and r.record = {record}
    )
    $sql$,
    jsonb_build_object('record', etl.key_record(target))
  ) into expected using feed.name;
  execute format(
    'select count(*) - %s from %s %s', inserted, target,
    case when feed.absent = 'mark' then 'where absent_since is null' else '' end
  ) into present;
  -- What came with a file of which something was withheld makes the limit no larger.
  present := least(present, (
    select s.withheld_of from etl.feed_state s where s.feed = remove_absent.feed.name and s.withheld > 0
  ));
  obstacle := case
    when not is_whole then 'nothing tells that the file is whole: its server says neither its length nor its end'
    when unreadable > 0 then format('the keys of %s rejected records cannot be read', unreadable)
    when expected > feed.absent_limit * present
      then format('etl.feeds.absent_limit is %s %% of %s rows', round(feed.absent_limit * 100, 2)::float8, present)
  end;
  delete from pg_temp.etl_rejected;
  if obstacle is null or permitted >= expected then
    deleted := etl.remove_rows(feed, target, run);
    delete from etl.approvals a where a.feed = remove_absent.feed.name;
    changed := etl.keep_kept(feed, target, run, all_known => true) or deleted > 0;
  else
    deleted := 0;
    withheld := case
      when expected > 0 then jsonb_build_object('rows', expected, 'of', present, 'why', obstacle)
    end;
    changed := etl.keep_kept(feed, target, run, all_known => false);
  end if;
end
$$;
comment on function etl.remove_absent(etl.feeds, regclass, uuid, boolean, bigint) is
  'Deletes or marks the rows that the staged file lacks, once its records are merged; inserted: how many of them are
new. is_whole: whether the file is known to be whole. Withholds all of it, and says how many rows of how many, and why,
where the file may be cut short, where a reject may be one of these rows, or where they are too many: unless
etl.approve() has permitted so many. What cannot go is a reject without a number.';

create or replace function etl.find_absent(feed etl.feeds, target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  rejected bigint := etl.rejected_count();
  read bigint := 0;
begin
  perform etl.set_date_order(feed);
  perform etl.shape_keys(target);
  if rejected > 0 then
    perform etl.read_keys(target, of_rejected => true);
    perform etl.add_keys(
      target, '(select distinct etl$staged, 0 as place from pg_temp.etl_rejected)', 'etl$staged', 'place'
    );
    select count(*) into read from pg_temp.etl_keys;
  end if;
  perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_typed (etl$staged, {key})
    select format('(%s,%s)', a.n / 60000, a.n % 60000 + 1)::tid, {absent}
    from (
      select {held}, row_number() over () as n
      from {target} o
      left join pg_temp.etl_keys k on {rejected}
      {loaded}
      where k.{first} is null {not_loaded} {unmarked}
    ) a
    $sql$,
    jsonb_build_object(
      'target', target, 'key', etl.each(key, '{column}'), 'absent', etl.each(key, 'a.{column}'),
      'held', etl.each(key, 'o.{column}'), 'first', quote_ident(key[1]), 'rejected', etl.same_key(target, 'o', 'k'),
      -- A file without a record carries nothing.
      'loaded', case
        when key <@ etl.carried_columns() then etl.fill('left join ({typed}) t on {same}', jsonb_build_object(
          'typed', etl.typed_cells(with_length => true), 'same', etl.same_key(target, 'o', 't')
        ))
        else ''
      end,
      'not_loaded', case
        when key <@ etl.carried_columns() then format('and t.%I is null', key[1])
        else ''
      end,
      'unmarked', case when feed.absent = 'mark' then 'and o.absent_since is null' else '' end
    )
  );
  return rejected - read;
end
$$;
comment on function etl.find_absent(etl.feeds, regclass) is
  'Fills etl_typed with the keys of the rows that the staged file lacks, but for those that are marked already: no
record has such a key, be it loaded, a duplicate or rejected. Returns the number of rejected records whose key cannot
be read.';

create or replace function etl.key_record(target regclass)
returns text
language sql stable
set search_path = ''
as $$
  select 'jsonb_build_object(' || string_agg(format('%L, t.%I', k.name, k.name), ', ' order by k.position) || ')'
  from unnest(etl.key_of(target)) with ordinality as k(name, position)
$$;
comment on function etl.key_record(regclass) is
  'SQL text: the key of t, column -> value, as etl.rejects.record has it.';

create or replace function etl.remove_rows(feed etl.feeds, target regclass, run uuid)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  places jsonb := jsonb_build_object(
    'target', target, 'same_key', etl.same_key(target, 'o', 'd'),
    'part', '(select * from pg_temp.etl_delta where $1 is null or etl$staged between $1 and $2)'
  );
  statement text := etl.fill(
    case feed.absent
      when 'mark' then 'update {target} o set absent_since = now() from {part} d where {same_key}'
      else 'delete from {target} o using {part} d where {same_key}'
    end,
    places
  );
  faults jsonb[];
  expected bigint;
  removed bigint := 0;
  left_over bigint;
  state text;
  said text;
  rule text;
  at_column text;
  advice text;
begin
  perform set_config('datestyle', 'ISO, MDY', true);
  perform set_config('search_path', etl.session_path(), true);
  perform etl.shape_table('etl_delta', array['etl$staged tid'] || etl.key_columns(target));
  insert into pg_temp.etl_delta select * from pg_temp.etl_typed;
  loop
    if feed.absent = 'delete' then
      perform etl.keep_referenced(target);
    end if;
    select count(*) into expected from pg_temp.etl_delta;
    exit when expected = 0;
    if feed.history is not null then
      perform etl.keep_before(target);
    end if;
    begin
      set constraints all immediate;
      execute statement using null::tid, null::tid;
      get diagnostics removed = row_count;
      exit;
    exception when others or assert_failure then
      get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
        at_column = column_name, advice = pg_exception_hint;
      if not etl.is_record_fault(target, state, rule, at_column) then
        raise;
      end if;
    end;
    faults := etl.isolate_removals(target, statement);
    if faults = '{}' then
      raise exception '%', said using errcode = state, hint = advice;
    end if;
    perform etl.reject_faults('etl_delta', faults);
  end loop;
  if removed < expected then
    execute etl.fill(
      'select count(*) from {target} o join pg_temp.etl_delta d on {same_key} {unmarked}',
      places || jsonb_build_object(
        'unmarked', case when feed.absent = 'mark' then 'where o.absent_since is null' else '' end
      )
    ) into left_over;
    if left_over > 0 then
      raise exception '% of % rows that the file lacks were not removed', left_over, expected
        using errcode = 'ETL05', hint = format('A trigger or a policy on %s keeps them.', target);
    end if;
  end if;
  if removed > 0 and feed.history is not null then
    perform etl.keep_changes(feed, target, run, is_removal => feed.absent = 'delete');
  end if;
  return removed;
end
$$;
comment on function etl.remove_rows(etl.feeds, regclass, uuid) is
  'Deletes or marks the rows of etl_typed and returns how many; those that cannot go are in etl_rejected after it.
Raises ETL05 where a trigger or a policy keeps some without a word.';

create or replace function etl.keep_referenced(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  kept bigint;
  again boolean := true;
  only_key text := case when cardinality(etl.key_of(target)) = 1 then (etl.key_of(target))[1] end;
begin
  while again loop
    again := false;
    for fk in select k.* from etl.foreign_keys(target) k where k.parent = target order by k.child::text, k.name loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select distinct on (d.etl$staged)
          d.etl$staged, {column_name}, {value}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta d
        join {target} p on {this_row}
        join {child} c on {matches}
        {goes_too}
        $sql$,
        jsonb_build_object(
          'target', target, 'this_row', etl.same_key(target, 'p', 'd'),
          'child', etl.own_rows(fk.child), 'matches', fk.matches,
          'column_name', quote_nullable(only_key), 'value', etl.value_of('pg_temp.etl_delta', 'd', only_key),
          'constraint_name', quote_literal(fk.name),
          'reason', quote_literal('is absent from the file, but rows refer to it in ' || fk.child),
          -- A row of the same table may go with it.
          'goes_too', case
            when fk.child = target then etl.fill(
              'left join pg_temp.etl_delta g on {same_key} where g.etl$staged is null',
              jsonb_build_object('same_key', etl.same_key(target, 'c', 'g'))
            )
            else ''
          end
        )
      );
      get diagnostics kept = row_count;
      perform etl.remove_rejected('etl_delta', kept);
      again := again or (kept > 0 and exists (
        select from etl.foreign_keys(target) k where k.child = target and k.parent = target
      ));
    end loop;
  end loop;
end
$$;
comment on function etl.keep_referenced(regclass) is
  'Takes out of etl_delta the rows that others refer to, and rejects them: also where the key would cascade, for what
refers to them is another feed''s.';

create or replace function etl.isolate_removals(target regclass, statement text, out faults jsonb[])
language plpgsql
set search_path = ''
as $$
begin
  -- A part may hold a parent without its child. All of this is undone.
  perform etl.drop_self_references(target);
  faults := etl.isolate(target, 'etl_delta', statement);
  raise exception using errcode = 'ETL00';
exception when sqlstate 'ETL00' then
  return;
end
$$;
comment on function etl.isolate_removals(regclass, text) is
  'The rows of etl_delta that cannot be removed, as etl.isolate() returns them; none is removed by it.';

create or replace function etl.keep_kept(feed etl.feeds, target regclass, run uuid, all_known boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  execute etl.fill(
    $sql$
    with kept as materialized (
      select {record} as record, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
      from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
      join pg_temp.etl_typed t on t.etl$staged = r.etl$staged
    ), staying as (
      select k.record from kept k
      union all
      select {record} from pg_temp.etl_typed t where not $3
    ), gone as (
      delete from etl.rejects r
      where r.feed = $1 and r.record_number is null and not exists (select from staying s where s.record = r.record)
      returning 1
    ), rewritten as (
      update etl.rejects r
      set column_name = k.column_name, value = k.value, reason = k.reason, sqlstate = k.sqlstate,
        constraint_name = k.constraint_name, last_run = $2
      from kept k
      where r.feed = $1 and r.record_number is null and r.record = k.record
        and row(r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name)
          is distinct from row(k.column_name, k.value, k.reason, k.sqlstate, k.constraint_name)
      returning 1
    ), written as (
      insert into etl.rejects (
        feed, record, column_name, value, reason, sqlstate, constraint_name, first_run, last_run
      )
      select $1, k.*, $2, $2
      from kept k
      where not exists (
        select from etl.rejects r where r.feed = $1 and r.record_number is null and r.record = k.record
      )
      returning 1
    )
    select exists (table gone) or exists (table rewritten) or exists (table written)
    $sql$,
    jsonb_build_object('record', etl.key_record(target))
  ) into is_written using feed.name, run, all_known;
  return is_written;
end
$$;
comment on function etl.keep_kept(etl.feeds, regclass, uuid, boolean) is
  'Makes the rejects without a number what of the absent rows cannot go, in etl_rejected; where these are not known, for
nothing was tried, only those leave that are not absent any more. Returns whether anything was written.';

create or replace function etl.remember_withheld(feed_name text, now_withheld jsonb)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set withheld = n.rows, withheld_of = n.of, withheld_why = n.why
  from (
    select
      coalesce((now_withheld ->> 'rows')::bigint, 0) as rows, (now_withheld ->> 'of')::bigint as of,
      now_withheld ->> 'why' as why
  ) n
  where s.feed = feed_name
    and row(s.withheld, s.withheld_of, s.withheld_why) is distinct from row(n.rows, n.of, n.why)
$$;
comment on function etl.remember_withheld(text, jsonb) is
  'Keeps what health shows and etl.approve() permits, once etl.remember() has made the feed''s row.';

revoke all on all functions in schema etl from public;

-- supabase/sql/addresses.sql
-- The dates in a feed's URL.

create or replace function etl.address(feed etl.feeds, day date default null)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  place constant text := '\{day(?:-\d{1,4})?(?::[^{}]+)?\}';
  places text[] := array(select match[1] from regexp_matches(feed.url, format('(%s)', place), 'g') match);
begin
  if places = '{}' then
    return feed.url;
  end if;
  day := coalesce(day, etl.day_in(feed.time_zone, now()));
  return (
    select string_agg(
      part.piece || case
        when part.place is null then ''
        else to_char(
          (day - coalesce(substring(part.place from '^\{day-(\d+)'), '0')::int)::timestamp,
          coalesce(substring(part.place from ':(.+)\}$'), 'YYYY-MM-DD')
        )
      end,
      '' order by part.position
    )
    from unnest(regexp_split_to_array(feed.url, place), places) with ordinality as part(piece, place, position)
  );
exception when data_exception then
  return null;
end
$$;
comment on function etl.address(etl.feeds, date) is
  'The feed''s URL with a date for each {day}, {day-1} or {day-1:YYYYMMDD}, as to_char() writes it: of the day that is
given, else of the one on which the transaction began where the feed is (time_zone). Null where it cannot be written.
All else in braces stays.';

create or replace function etl.day_in(zone text, moment timestamptz)
returns date
language plpgsql stable
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
  day date;
begin
  -- AT TIME ZONE would take CET, MET, EET and WET for abbreviations, which have no summer.
  perform set_config('timezone', zone, true);
  day := moment::date;
  perform set_config('timezone', before, true);
  return day;
end
$$;
comment on function etl.day_in(text, timestamptz) is
  'The day at a moment in a time zone, as SET timezone and so the loads read the zone. Raises 22023 for what is none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/attributes.sql
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
  usual text[] := etl.usual_keys();
  further text[];
begin
  if usual is null then
    return;
  end if;
  perform etl.map_columns(feed, etl.told_keys(feed, usual));
  further := etl.further_keys(usual, etl.may_have_more(feed));
  if further <> '{}' then
    delete from pg_temp.etl_columns;
    perform etl.map_columns(feed, etl.told_keys(feed, usual || further));
  end if;
  perform etl.join_sources();
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)), as_json => true);
end
$$;
comment on function etl.map_keys(etl.feeds) is
  'Fills etl_columns with the keys of the objects; with none where no record is one. Raises ETL03 as etl.check_columns()
does.';

create or replace function etl.told_keys(feed etl.feeds, keys text[])
returns text[]
language sql stable
set search_path = ''
as $$
  select case
    when cardinality(keys) <= 1600 then keys
    else array(
      select k.key
      from unnest(keys) with ordinality k(key, place)
      where k.place <= 100 or exists (
        select from etl.loadable_columns(etl.target_of(feed)) l
        where etl.near_name(l.name) = etl.near_name(etl.wanted_column(feed, k.key))
      )
      order by k.place
    )
  end
$$;
comment on function etl.told_keys(etl.feeds, text[]) is
  'All keys; of more than a table has columns those that the table has, however they are spelled, and the first hundred:
where names are values, as days or ids, there is no end of them.';

create or replace function etl.usual_keys()
returns text[]
language plpgsql
set search_path = ''
as $$
begin
  return (
    select o.keys
    from (
      select array(select json_object_keys(s.record::json)) as keys
      from (
        select s.record from pg_temp.etl_staging s where s.record is json object with unique keys limit 1000
      ) s
    ) o
    group by o.keys
    order by count(*) desc, o.keys
    limit 1
  );
end
$$;
comment on function etl.usual_keys() is
  'The keys of the most usual of the first 1,000 staged objects, in its order; null where no record is one.';

create or replace function etl.may_have_more(feed etl.feeds)
returns boolean
language sql
set search_path = ''
as $$
  select exists (
    select from etl.loadable_columns(etl.target_of(feed)) l
    where (l.name <> 'absent_since' or feed.absent <> 'mark') and (
      not exists (select from pg_temp.etl_columns c where c.name = l.name)
      or exists (
        select from jsonb_each_text(feed.columns) m
        where m.value::name = l.name and m.key not in (select c.source from pg_temp.etl_columns c)
      )
    )
  )
$$;
comment on function etl.may_have_more(etl.feeds) is
  'Whether the table has a column for a key that is not in etl_columns, but for other spellings of what is.';

create or replace function etl.further_keys(usual text[], may_have_more boolean)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  shape constant text := coalesce(
    (
      select string_agg('%' || regexp_replace(to_json(u.key)::text, '([\\%_])', '\\\1', 'g') || ':', '' order by u.n)
      from unnest(usual) with ordinality u(key, n)
    ),
    ''
  ) || '%';
  one_more constant text := repeat('%":', cardinality(usual) + 1) || '%';
begin
  return array(
    select k.key
    from (
      select json_object_keys(s.record::json) as key
      from (
        select s.record
        from pg_temp.etl_staging s
        where not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
          and (
            s.record not like shape
            -- Without an escape, and without a blank behind a quote, each key ends with '":', and nothing else does.
            or may_have_more and (
              s.record like one_more or s.record like '%" %' or s.record like e'%"\t%' or s.record like '%\\%'
            )
          )
        offset 0
      ) s
    ) k
    where k.key <> all (usual)
    group by k.key
    order by k.key
  );
end
$$;
comment on function etl.further_keys(text[], boolean) is
  'What keys there are beside the usual ones. Taken apart are the records alone whose text does not show that they have
the usual keys, and, where there may be more that counts, no other: to do so with all costs a quarter of a load.';

create or replace function etl.join_sources()
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_columns c
  set others = o.sources
  from (
    select l.name, min(l.position) as position, (array_agg(l.source order by l.position))[2:] as sources
    from pg_temp.etl_columns l
    where l.name is not null
    group by l.name
    having count(*) > 1
  ) o
  where c.position = o.position;
  if found then
    delete from pg_temp.etl_columns c
    using pg_temp.etl_columns l
    where l.name = c.name and l.position < c.position;
  end if;
end
$$;
comment on function etl.join_sources() is
  'Makes one row of etl_columns of several keys that mean one column of the target: each JSON record may use another.';

create or replace function etl.validate_names()
returns void
language plpgsql
set search_path = ''
as $$
begin
  if not exists (select from pg_temp.etl_columns c where c.others is not null) then
    return;
  end if;
  insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate)
  select s.etl$staged, c.name, used.cells[1], 'has a value under more than one name: ' || used.names, '22032'
  from (
    select s.ctid as etl$staged, s.record
    from pg_temp.etl_staging s
    where not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
    offset 0
  ) s
  cross join pg_temp.etl_columns c
  cross join lateral (
    select array_agg(cell.value order by n.place) as cells, etl.listed(array_agg(n.name order by n.place)) as names
    from unnest(c.source || c.others) with ordinality n(name, place)
    cross join lateral (select s.record::json ->> n.name as value) cell
    where cell.value is not null
  ) used
  where c.others is not null and cardinality(used.cells) > 1;
end
$$;
comment on function etl.validate_names() is
  'Rejects the JSON records that have values for one column under two names.';

create or replace function etl.cells(of_rejected boolean default false)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  as_json boolean := etl.is_staged_json();
  wide name[] := etl.wide_cells();
  of_json constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  of_csv constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.* from pg_temp.etl_staging s {readable}) s {unpacked}
  $sql$;
begin
  return (
    select etl.fill(case when as_json then of_json else of_csv end, jsonb_build_object(
      'cells', string_agg(
        case when as_json then c.cell else etl.cell_at(c.position, wide) end || format(' as %I', c.name), ', '
      ),
      'unpacked', coalesce('cross join lateral ' || etl.unpacked(wide), ''),
      'keys', coalesce(string_agg(c.keys, ', '), 'etl$none text'),
      'readable', case
        when of_rejected then $sql$
          where exists (select 1 from pg_temp.etl_rejected r where r.etl$staged = s.ctid and r.raw is null) offset 0
        $sql$
        when etl.rejected_count() = 0 then ''
        -- OFFSET 0: without it Postgres may cast what is rejected, before it finds that it is.
        else 'where not exists (select 1 from pg_temp.etl_rejected r where r.etl$staged = s.ctid) offset 0'
      end
    ))
    from (
      select
        c.position, c.name,
        format(
          case when c.others is null then '%s' else 'coalesce(%s)' end, string_agg(k.cell, ', ' order by k.place)
        ) as cell,
        string_agg(k.key, ', ') as keys
      from pg_temp.etl_columns c
      cross join lateral (
        select
          n.place,
          case
            when n.is_name then format('x.%I::text', n.name)
            when n.is_json then format('(s.record::json -> %L)::text', n.name)
            else format('(s.record::json ->> %L)', n.name)
          end as cell,
          case when n.is_name then format('%I %s', n.name, case when n.is_json then 'json' else 'text' end) end as key
        from (
          select
            s.place, s.name, c.base_type in ('json', 'jsonb') as is_json,
            -- Postgres would cut the name of a column, and so not find the key; and it has no empty one.
            octet_length(s.name) between 1 and 63 as is_name
          from unnest(c.source || c.others) with ordinality s(name, place)
        ) n
      ) k
      where c.name is not null
      group by c.position, c.name, c.others
    ) c
  );
end
$$;
comment on function etl.cells(boolean) is
  'SQL text: the query for the cells, which are the staged records that are not rejected so far, under the target''s
names, still text. of_rejected: of those instead that are, and could be split.';

create or replace function etl.cell_at(place bigint, wide name[])
returns text
language sql immutable
set search_path = ''
as $$
  select coalesce('w.cells[' || array_position(wide, ('c' || place)::name) || ']', 's.c' || place)
$$;
comment on function etl.cell_at(bigint, name[]) is
  'SQL text: the cell at this place of the header, of a staged row s, beside etl.unpacked().';

create or replace function etl.unpacked(wide name[])
returns text
language sql immutable
set search_path = ''
as $$
  -- OFFSET 0: without it Postgres would read the array once for each of its cells.
  select '(select s.' || quote_ident(wide[1]) || '::text[] as cells offset 0) w'
$$;
comment on function etl.unpacked(name[]) is
  'SQL text: w, the cells that the staged row s had no room for, as etl.wide_cells() has them; null where there is
room.';

create or replace function etl.is_staged_json()
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'record'
  )
$$;
comment on function etl.is_staged_json() is 'Whether etl_staging holds JSON records, and not CSV.';

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
  before text := current_setting('timezone');
  due timestamptz;
begin
  if line ~ '^([1-9]|[1-5][0-9]) seconds?$' then
    return after + substring(line from '^[0-9]+')::int * interval '1 second';
  end if;
  if cardinality(f) <> 5 or minutes is null or hours is null or days is null or months is null or weekdays is null then
    raise exception '"%" is no cron line', line
      using errcode = 'ETL08',
        hint = 'Five fields: minute, hour, day, month, weekday, as in */10 * * * *; or "30 seconds", up to 59.';
  end if;
  -- AT TIME ZONE reads some zones otherwise: see etl.day_in().
  perform set_config('timezone', coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT'), true);
  due := (
    select t.at
    from (
      select d.day
      from (select after::date + n as day from generate_series(0, 366 * 8) n) d
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
    cross join lateral (select (d.day + make_interval(hours => h, mins => m))::timestamptz as at) t
    where t.at > after
    order by t.at
    limit 1
  );
  perform set_config('timezone', before, true);
  return due;
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

-- supabase/sql/days.sql
-- Dates as they are mostly spelled, asked of thousands of cells at once. A regular expression costs from a third of a
-- microsecond to two for a cell, nearly all of which is to begin it; in a long text a few nanoseconds a character.

create or replace function etl.usual_day()
returns text
language sql immutable
set search_path = ''
as $$
  select '\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d(?::?\d\d)?)?)?'
$$;
comment on function etl.usual_day() is
  'A regular expression for the most usual dates, with a time or without; all of them are of one of etl.day_forms().';

create or replace function etl.accept_days()
returns void
language plpgsql
set search_path = ''
as $$
declare
  positions bigint[];
  good text;
begin
  -- To take a record apart twice costs more than it saves.
  if etl.is_staged_json() or etl.wide_cells() is not null then
    return;
  end if;
  select
    array_agg(c.position order by c.position),
    string_agg(
      etl.fill(
        $sql$
        coalesce(string_agg({plain}, e'\x01') collate "C" ~ {usual}, true) or not exists (
          select from pg_temp.etl_staging s
          where s.ctid >= part.first and s.ctid < part.next and ({spelled}) is not null and ({refused})
            and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
        )
        $sql$,
        jsonb_build_object(
          'spelled', x.spelled, 'plain', case when c.nulls = '{}' then x.cell else x.spelled end,
          'usual', quote_literal(replace('^(?:(?:{day})?\u0001)*(?:{day})?$', '{day}', etl.usual_day())),
          'refused', etl.refused_cell(x.cell, c.kind, c.refused, c.forms, c.decimal_comma, c.lenient)
        )
      ),
      ', ' order by c.position
    )
  into positions, good
  from pg_temp.etl_columns c
  cross join lateral (
    select place.cell, etl.spelled(place.cell, c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled
    from format('s.c%s', c.position) as place(cell)
  ) x
  where c.name is not null and c.kind in ('day', 'zoned day') and c.forms is not null;
  if positions is null then
    return;
  end if;
  -- By 32 pages, which hold some two thousand records.
  execute etl.fill(
    $sql$
    update pg_temp.etl_columns c
    set forms = null, refused = null
    from (
      select ($1)[g.place] as position
      from (
        select format('(%s,0)', n)::tid as first, format('(%s,0)', n + 32)::tid as next
        from generate_series(
          0, pg_relation_size('pg_temp.etl_staging') / current_setting('block_size')::bigint, 32
        ) n
      ) part
      cross join lateral (
        select array[{good}] as columns
        from pg_temp.etl_staging s
        where s.ctid >= part.first and s.ctid < part.next
      ) asked
      cross join unnest(asked.columns) with ordinality as g(is_good, place)
      group by g.place
      having bool_and(g.is_good)
    ) accepted
    where c.position = accepted.position
    $sql$,
    jsonb_build_object('good', good)
  ) using positions;
end
$$;
comment on function etl.accept_days() is
  'Takes the rules of those columns of days away in which no cell is refused, so that they are not asked of each.';

revoke all on all functions in schema etl from public;

-- supabase/sql/faults.sql
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

-- supabase/sql/history.sql
-- What a run changes, row by row as it was and as it became, where etl.feeds.history wants it kept. It is read from the
-- target before and after a write, so that it holds what triggers made of a row, however it was written. A temp table
-- more than stage.sql has:
--   etl_before    the rows of etl_delta as they are in the target before the write
-- The image of a row is column -> text: jsonb by itself would lose the spelling of json, null beside 'null', the bounds
-- of arrays, and the sign of a float's zero. So each function that makes or reads images fixes how texts are spelled.

create or replace function etl.keep_before(target regclass)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $$
begin
  perform etl.shape_table('etl_before', '{etl$staged tid,before jsonb}');
  -- Locked: what is kept is what is written over.
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_before (etl$staged, before)
    select d.etl$staged, {image}
    from pg_temp.etl_delta d
    join {target} o on {same_key}
    for no key update of o
    $sql$,
    jsonb_build_object(
      'target', target, 'same_key', etl.same_key(target, 'o', 'd'),
      'image', etl.image_of(target, 'o', etl.columns_of(target))
    )
  );
end
$$;
comment on function etl.keep_before(regclass) is
  'Fills etl_before: the rows of the target that etl_delta is about to change.';

create or replace function etl.keep_changes(feed etl.feeds, target regclass, run uuid, is_removal boolean)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
as $$
declare
  key name[] := etl.key_of(target);
begin
  execute etl.fill(
    $sql$
    insert into etl.changes (feed, at, run, number, target, key, before, after)
    select $1, now(), $2, $3 + row_number() over (), $4, c.key, c.before, c.after
    from (
      select
        case when {is_there} then {stored_key} else {given_key} end as key, b.before,
        case when {is_there} then {image} else {without} end as after
      from pg_temp.etl_delta d
      left join pg_temp.etl_before b on b.etl$staged = d.etl$staged
      left join {target} o on {same_key}
      offset 0
    ) c
    where c.before is distinct from c.after
    $sql$,
    jsonb_build_object(
      'target', target, 'same_key', etl.same_key(target, 'o', 'd'), 'is_there', format('o.%I is not null', key[1]),
      'stored_key', etl.image_of(target, 'o', key), 'given_key', etl.image_of(target, 'd', key),
      'image', etl.image_of(target, 'o', etl.columns_of(target)),
      'without', case when is_removal then 'null' else $sql$'{}'::jsonb$sql$ end
    )
  ) using feed.name, run, (
    select coalesce(max(c.number), 0)
    from etl.changes c
    where c.feed = keep_changes.feed.name and c.at = now() and c.run = keep_changes.run
  ), target::text;
end
$$;
comment on function etl.keep_changes(etl.feeds, regclass, uuid, boolean) is
  'Keeps in etl.changes what has become of the rows of etl_delta since etl.keep_before(): nothing of a row that is as
it was. is_removal: a row that is not there now is gone, and was not merely given another key.';

create or replace function etl.columns_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by a.attnum)
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
$$;
comment on function etl.columns_of(regclass) is 'All columns of a table, in its order.';

create or replace function etl.image_of(target regclass, a text, columns name[])
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    -- A cast to text by a function need not give all of a value: that of char(n) takes its blanks away.
    select etl.fill('jsonb_object({names}::text[], array[{texts}])', jsonb_build_object(
      'names', quote_literal(array_agg(c.attname order by u.position)),
      'texts', string_agg(
        etl.fill(
          case
            when exists (
              select from pg_catalog.pg_cast k
              where k.castsource = etl.base_type(c.atttypid) and k.casttarget = 'pg_catalog.text'::regtype
                and k.castmethod = 'f' and k.castsource <> 'pg_catalog.bool'::regtype
            ) then $sql$case when num_nulls({a}.{column}) = 0 then format('%s', {a}.{column}) end$sql$
            else '{a}.{column}::text'
          end,
          jsonb_build_object('a', a, 'column', quote_ident(c.attname))
        ),
        ', ' order by u.position
      )
    ))
    from unnest(columns) with ordinality u(name, position)
    join pg_catalog.pg_attribute c on c.attrelid = target and c.attname = u.name
  );
end
$$;
comment on function etl.image_of(regclass, text, name[]) is
  'SQL text: these columns of a row, under this alias, as jsonb: column -> text, or null.';

create or replace function etl.base_type(type oid)
returns oid
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    with recursive chain as (
      select t.oid, t.typtype, t.typbasetype from pg_catalog.pg_type t where t.oid = type
      union all
      select b.oid, b.typtype, b.typbasetype
      from chain
      join pg_catalog.pg_type b on b.oid = chain.typbasetype
      where chain.typtype = 'd'
    )
    select chain.oid from chain where chain.typtype <> 'd'
  );
end
$$;
comment on function etl.base_type(oid) is 'The type beneath all domains.';

create or replace function etl.purge_changes(of_feed text default null)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  purged bigint;
begin
  with recursive named as (
    (select c.feed from etl.changes c where c.feed = of_feed or of_feed is null order by c.feed limit 1)
    union all
    select (select c.feed from etl.changes c where c.feed > n.feed order by c.feed limit 1)
    from named n
    where n.feed is not null and of_feed is null
  )
  delete from etl.changes c
  using named n
  left join etl.feeds f on f.name = n.feed
  where c.feed = n.feed and c.at < coalesce(now() - f.history, 'infinity');
  get diagnostics purged = row_count;
  return purged;
end
$$;
comment on function etl.purge_changes(text) is
  'Deletes what is kept for longer than its feed''s history, of this feed or of all; all of a feed that keeps none, or
that is gone. Returns how many rows that is.';

create or replace function etl.rename_changes()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  update etl.changes c set feed = new.name where c.feed = old.name;
  return null;
end
$$;
comment on function etl.rename_changes() is 'Trigger: a feed that is renamed keeps its history.';

create or replace function etl.changed(
  of_feed text default null, since timestamptz default now() - interval '1 day', until timestamptz default 'infinity'
)
returns table (
  at timestamptz, feed text, run uuid, change text, key jsonb, column_name text, old text, new text
)
language sql stable
set search_path = ''
as $$
  select
    c.at,
    c.feed,
    c.run,
    case when c.before is null then 'inserted' when c.after is null then 'deleted' else 'updated' end,
    c.key,
    v.name,
    v.old,
    v.new
  from etl.feeds f
  join etl.changes c on c.feed = f.name and c.at >= since and c.at < until
  left join lateral (
    select coalesce(b.key, a.key) as name, b.value as old, a.value as new
    from jsonb_each_text(c.before) b
    full join jsonb_each_text(c.after) a on a.key = b.key
    where a.value is distinct from b.value
  ) v on true
  where f.name = of_feed or of_feed is null
  order by c.at, c.feed, c.run, c.number, v.name
$$;
comment on function etl.changed(text, timestamptz, timestamptz) is
  'What the runs changed that began between these times, of one feed or all that keep a history: a row for each value
that is another one, as text. Of a row that was inserted each value that is not null is new, of a deleted one old.';

revoke all on all functions in schema etl from public;

-- supabase/sql/holders.sql
-- Who is in a run's way.

create or replace function etl.holder(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := (select etl.regclass_of(f.target) from etl.feeds f where f.name = feed_name);
  holder record;
begin
  select l.pid, a.xact_start into holder
  from pg_catalog.pg_locks l
  join pg_catalog.pg_database d on d.oid = l.database and d.datname = current_database()
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.pid <> pg_backend_pid()
    and case l.classid
      -- As etl.claim_feeds() and etl.claim_tables() lock them.
      when hashtext('tdc-etl feed')::oid then l.objid = hashtext(feed_name)::oid
      when hashtext('tdc-etl table')::oid then
        l.objid = hashoid(etl.root_of(target))::oid
        -- Others that share a parent are in nobody's way.
        or (l.mode = 'ExclusiveLock' and l.objid in (
          select hashoid(etl.root_of(k.parent))::oid
          from etl.foreign_keys(target) k
          where k.child = target
        ))
      else false
    end
  order by a.xact_start, l.pid
  limit 1;
  if holder.pid is null then
    return null;
  end if;
  return format(
    'Process %s of the database has it%s; select pg_terminate_backend(%1$s) ends that run.',
    holder.pid, ' since ' || to_char(holder.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
  );
end
$$;
comment on function etl.holder(text) is
  'Which process of the database has the feed, its table, or exclusively one that its keys refer to, since when, and
how that run is ended, for a message; null where nobody has. Since when is told to its own role, superusers and
pg_read_all_stats.';

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

-- supabase/sql/letter.sql
-- The rejects in the words of whoever sent the file: his column names, records and rows, and types as people call them.
-- One place for the command, the link that etl.share() makes, and whatever else shows them.

create or replace function etl.letter(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(feed_name);
  called text := etl.called(feed);
  attempt etl.attempts := (select a from etl.attempts a where a.feed = feed_name);
  refusal record;
  list text := '';
  part record;
  waiting bigint;
  amount bigint;
begin
  select * into refusal from etl.refusals(feed_name);
  for part in
    select
      k.*, sum(k.rejects) over () as rejected, sum(k.of_before) over () as waiting, count(*) over () as kinds,
      bool_or(k.has_row) over () as has_rows
    from (
      select
        s.source, s.problem, s.mend, count(*) as records, count(*) filter (where s.nth = 1) as rejects,
        count(*) filter (where s.nth = 1 and not s.attempted) as of_before,
        min(s.record_number) as first, bool_or(s.row_number is not null) as has_row,
        string_agg(
          format(
            e'\n    record %s%s%s%s', s.record_number, ' (row ' || s.row_number || ')',
            ', came ' || etl.moment(s.came), ': ' || etl.short(coalesce(s.value, s.raw))
          ),
          '' order by s.place
        ) filter (where s.place <= 3) as examples
      from (
        select
          s.*, c.came,
          row_number() over (
            partition by s.source, s.problem, s.mend order by c.came, s.record_number, s.record_id
          ) as place
        from etl.faults_for_partner(feed_name) s
        -- Each file of changes counts its own records.
        cross join lateral (select case when feed.contents = 'changes' then s.since end as came) c
      ) s
      group by s.source, s.problem, s.mend
    ) k
    order by k.records desc, k.first, k.source, k.problem
    limit 20
  loop
    list := list || concat(
      e'\n\n* ', 'Column "' || etl.short(part.source) || '" ', part.problem, ' (',
      etl.counted(part.records, 'record'), ')', part.examples,
      case when part.records > 3 then format(e'\n    and %s more', part.records - 3) end, e'\n  ', part.mend
    );
  end loop;
  waiting := coalesce(part.waiting, 0);
  amount := waiting + coalesce(attempt.rejected, 0);
  if amount = 0 and coalesce(refusal.whose, 'us') = 'us' then
    return etl.clean_since(feed_name) || e'\n';
  end if;
  return concat_ws(
    e'\n',
    format('Subject: %s: ', called) || concat_ws(
      '; ',
      case when refusal.whose <> 'us' then 'could not be loaded' end,
      case
        when amount > 0
          then concat(case when attempt.is_least then 'at least ' end, etl.counted(amount, 'record'), ' to mend')
      end
    ),
    '',
    'Hello,',
    '',
    case
      when refusal.whose is null then null
      when refusal.whose = 'us' then concat(
        format('we could not load the latest %s, since %s', called, etl.moment(refusal.since)), ': ' || refusal.problem,
        '. ', refusal.mend
      )
      else format(
        e'the latest %s could not be loaded, since %s: %s.\n%s', called, etl.moment(refusal.since), refusal.problem,
        refusal.mend
      )
    end || case when amount > 0 then e'\n' else '' end,
    case
      when attempt is not null then format(
        e'%s of %s was loaded. %s%s of its %s cannot be used,\nwhich is more than we let pass (%s).',
        case when refusal.whose is null then 'nothing' else 'Of the file before it: nothing' end, called,
        case when attempt.is_least then 'At least ' else '' end, attempt.rejected,
        etl.counted(attempt.read, 'record'), etl.moment(attempt.since)
      )
    end,
    case
      when waiting = 0 then null
      when attempt is not null
        then format('%s of files before it could not be loaded either.', etl.counted(waiting, 'record'))
      when refusal.whose is not null
        then format('Of what came before, %s could not be loaded. All else was.', etl.counted(waiting, 'record'))
      else format('%s in %s could not be loaded. All else was.', etl.counted(waiting, 'record'), called)
    end,
    case
      when amount > 0 then concat(
        e'\nWhat is wrong, the most frequent first',
        case when part.rejected < amount then format(', as seen in %s of them', part.rejected) end, ':', list, e'\n'
      )
    end,
    case when part.kinds > 20 then format(e'There are %s more kinds of faults.\n', part.kinds - 20) end,
    case
      when amount > 0 then 'Records are counted from 1 in the order of the file' || case
        when part.has_rows
          then e', its header not counted. The row is\nthe one that a spreadsheet shows.'
        else '.'
      end
    end,
    case
      when attempt is not null and feed.contents = 'changes'
        then format('Once the file of %s has them right, it is loaded by itself.', etl.moment(attempt.since))
      when attempt is not null or (waiting > 0 and feed.contents = 'all')
        then 'Once your file has them right, they are loaded by themselves.'
    end,
    case
      when waiting > 0 and feed.contents = 'changes' then format(
        'Send %s once more, mended, in one of your next files.',
        case when attempt is null then 'these records' else 'the records of files before it' end
      )
    end,
    ''
  );
end
$$;
comment on function etl.letter(text) is
  'A plain text to send to the feed''s partner: why his latest file could not be loaded, where it could not; what is
wrong with his records, by kind, at most 20 of them, with three examples each, and what to mend; or, where nothing is
wrong, since when. It holds values. Raises ETL01 for a feed that is not in etl.feeds.';

create or replace function etl.clean_since(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  definition etl.feeds := etl.feed_named(feed_name);
  called text := etl.called(definition);
  refusal record;
  last_status text := (
    select r.status from etl.runs r where r.feed = feed_name order by r.finished_at desc limit 1
  );
  last_bad timestamptz := (
    select r.finished_at
    from etl.runs r
    where r.feed = feed_name
      and (r.rejected > 0 or r.status = 'failed' and (etl.refusal(definition, r.error_code, r.error)).whose = 'file')
    order by r.finished_at desc
    limit 1
  );
  clean timestamptz := (
    select min(r.finished_at)
    from etl.runs r
    where r.feed = feed_name and r.status in ('changed', 'unchanged') and r.rejected = 0
      and r.finished_at > coalesce(last_bad, '-infinity')
  );
begin
  select * into refusal from etl.refusals(feed_name);
  return format('%s: ', called) || case
    when refusal.whose is not null then concat(
      'we could not load your latest file, since ', etl.moment(refusal.since), ': ' || refusal.problem, '. ',
      refusal.mend, ' We know of nothing else that you could mend.'
    )
    when last_status in ('changed', 'unchanged') and clean is not null
      then format('nothing to mend. Clean since %s.', etl.moment(clean))
    when last_bad is not null then 'nothing to mend any more.'
    when exists (select from etl.feed_state s where s.feed = feed_name) then 'nothing to mend.'
    else 'nothing has been loaded yet.'
  end;
end
$$;
comment on function etl.clean_since(text) is
  'What a partner is told where he has nothing to mend: since when, as far as the ledger tells; or that we could not
load his latest file.';

create or replace function etl.sheet(feed_name text default null)
returns table (
  feed text, record_number text, "row" text, "column" text, value text, problem text, mend text, record text,
  since text, listed_at text
)
language sql stable
set search_path = ''
as $$
  select l.*, (select etl.moment(now()))
  from (
    select
      r.feed, null as record_number, null as "row", null as "column", null as value,
      'the latest file could not be loaded' || coalesce(': ' || r.problem, '') as problem, r.mend, null as record,
      etl.moment(r.since) as since
    from etl.refusals(feed_name) r
    union all
    (
      -- A call for each cell would cost more than all else: most need none.
      select
        s.feed, s.record_number::text, s.row_number::text,
        case when s.source ~ c.care then etl.safe_cell(s.source) else s.source end,
        case when s.value ~ c.care then etl.safe_cell(s.value) else s.value end, s.problem, s.mend,
        case when t.whole ~ c.care then etl.safe_cell(t.whole) else t.whole end,
        to_char(s.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
      from etl.faults_for_partner(feed_name) s
      cross join lateral (select case when s.nth = 1 then coalesce(s.raw, s.record::text) end as whole) t
      cross join (
        select
          '^\s*[=+@＝＋－＠-]|^[\t\r\n]|[\x01-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]' as care
      ) c
      order by s.feed, s.record_number, s.since, s.record_id, s.nth
    )
  ) l
$$;
comment on function etl.sheet(text) is
  'The rejects of a feed, or of all, for a spreadsheet: a row for each fault, the whole record in the first of each; and
before them one without a record for each feed whose latest file could not be loaded. No cell is taken for a formula, or
moves a terminal.';

create or replace function etl.sheet_csv(feed_name text, most int)
returns text
language sql stable
set search_path = ''
as $$
  select e'\ufefffeed,record_number,row,column,value,problem,mend,record,since,listed_at\r\n' || coalesce(
    string_agg(
      (
        select string_agg('"' || replace(cell, '"', '""') || '"', ',' order by place)
        from unnest(array[
          s.feed, s.record_number, s."row", s."column", left(s.value, 1000), s.problem, s.mend, left(s.record, 10000),
          s.since, s.listed_at
        ]) with ordinality c(given, place)
        cross join lateral coalesce(c.given, '') cell
      ) || e'\r\n',
      '' order by s.place
    ),
    ''
  )
  from (select s.*, row_number() over () as place from etl.sheet(feed_name) s limit most) s
$$;
comment on function etl.sheet_csv(text, int) is
  'etl.sheet() as one text of CSV with a byte order mark, at most so many rows, long cells cut.';

create or replace function etl.faults_for_partner(feed_name text default null)
returns table (
  feed text, record_id uuid, record_number bigint, row_number bigint, since timestamptz, record jsonb, raw text,
  nth bigint, source text, value text, problem text, mend text, attempted boolean
)
language sql stable
set search_path = ''
as $$
  with told as materialized (
    select l.*, jsonb_build_array(l.feed, l.reason, l.column_name, l.source) as of_words
    from etl.faults(feed_name) l
    join etl.feeds f on f.name = l.feed
    left join etl.attempts a on a.feed = l.feed
    -- What stays though his file lacks it he has not sent.
    where l.record_number is not null
      -- The last attempt was at his latest file. Files of changes are each of its own.
      and (l.attempted or a.feed is null or f.contents = 'changes')
  ), words as (
    -- There are few, of however many records.
    select d.of_words, n.source, w.problem, w.mend
    from (select distinct t.of_words, t.feed, t.reason, t.column_name, t.source from told t) d
    join etl.feeds f on f.name = d.feed
    cross join lateral (
      select coalesce(
        d.source,
        (select m.key from jsonb_each_text(f.columns) m where m.value = d.column_name order by m.key limit 1),
        d.column_name
      ) as source
    ) n
    cross join lateral etl.in_plain_words(f, d.reason, d.column_name, n.source) w
  )
  select
    t.feed, t.record_id, t.record_number, t.row_number, t.since, t.record, t.raw, t.nth, w.source, t.value, w.problem,
    w.mend, t.attempted
  from told t
  join words w on w.of_words = t.of_words
$$;
comment on function etl.faults_for_partner(text) is
  'The faults of what a partner has sent, of one feed or all, under his own names and in plain words: those of the last
attempt where that failed for them (attempted), else of what is rejected now; of files of changes both.';

create or replace function etl.faults(feed_name text default null)
returns table (
  feed text, attempted boolean, record_id uuid, record_number bigint, row_number bigint, since timestamptz,
  record jsonb, raw text, nth bigint, column_name text, source text, value text, reason text, sqlstate text,
  constraint_name text
)
language sql stable
set search_path = ''
as $$
  with listed as (
    select
      r.feed, false as attempted, r.id, r.record_number, r.since, r.first_run as file, r.record, r.raw, r.as_json,
      r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from etl.rejects r
    where feed_name is null or r.feed = feed_name
    union all
    select
      r.feed, true, etl.attempt_id(r.feed, r.record_number), r.record_number, a.since, a.run, r.record, r.raw,
      r.as_json, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from etl.attempt_rejects r
    join etl.attempts a on a.feed = r.feed
    where feed_name is null or r.feed = feed_name
  ), placed as (
    select
      l.*,
      case
        when l.faults is not null and not l.as_json and f.next is null
          -- A spreadsheet reads on to the end of a quote that is not closed, where the loader reads the next line.
          and not coalesce(bool_or(l.reason = 'has a quote that is not closed') over (
            partition by l.feed, l.attempted, case when f.contents = 'changes' then l.file end
            order by l.record_number
            rows between unbounded preceding and 1 preceding
          ), false)
          then f.skip + case when f.header is null then 1 else 0 end + l.record_number
      end as row_number
    from listed l
    join etl.feeds f on f.name = l.feed
  )
  select
    p.feed, p.attempted, p.id, p.record_number, p.row_number, p.since, p.record, p.raw, x.nth,
    x.fault ->> 'column', x.fault ->> 'source', x.fault ->> 'value', x.fault ->> 'reason', x.fault ->> 'sqlstate',
    x.fault ->> 'constraint'
  from placed p
  cross join lateral jsonb_array_elements(coalesce(p.faults, jsonb_build_array(jsonb_build_object(
    'column', p.column_name, 'value', p.value, 'reason', p.reason, 'sqlstate', p.sqlstate,
    'constraint', p.constraint_name
  )))) with ordinality x(fault, nth)
$$;
comment on function etl.faults(text) is
  'A row for each fault of each reject, of one feed or all, the rejects of the last attempt included (attempted).
row_number: the row of the file in a spreadsheet, which takes a record with line breaks in quotes for one; null where it
is not known: of JSON, of pages, after a quote that is not closed.';

create or replace function etl.in_plain_words(
  feed etl.feeds, reason text, column_name text, source text, out problem text, out mend text
)
language plpgsql stable
set search_path = ''
as $$
declare
  type text := substring(reason from '^(?:is no|is out of the range of|is too long for|breaks a rule of) (.+)$');
  base text := regexp_replace(type, '\s*\([\d,]+\)', '');
  amounts text[] := regexp_match(type, '\((\d+)(?:,(\d+))?\)');
  wanted text := etl.plain_type(base);
  rule text := etl.plain_rule(substring(reason from '^breaks the rule (.*)$'));
  -- A name in quotes may hold what ends another one.
  known text[] := parse_ident(substring(reason from '^is in no row of ((?:"(?:[^"]|"")*"|[^",: ])+)'));
  example text := case wanted
    when 'a whole number' then '42'
    when 'a number' then case when feed.decimal_comma then '12,50' else '12.50' end
    when 'a date' then '2021-07-31'
    when 'a date and time' then '2021-07-31T14:05:00Z'
    when 'a time' then '14:05:00'
  end;
  as_wanted text := format('Send %s%s.', wanted, ', as ' || example);
begin
  problem := etl.visible(case
    when reason like 'is no %' and type is not null then 'is not ' || wanted
    when reason like 'is a date in an order %' then 'is a date of which day and month cannot be told apart'
    when reason like 'is out of the range of %' and wanted like 'a date%' then 'is not ' || wanted || ' that exists'
    when reason like 'is out of the range of %' then 'is too large or too small'
    when reason like 'is too long for %' then 'is too long'
    when reason like 'breaks a rule of %' then 'is not allowed'
    when reason = 'is missing' then 'is missing'
    when rule is not null then 'breaks a rule'
    when known is not null then format(
      'is not known: there is no such record in "%s"', known[cardinality(known)]
    )
    when reason like 'is another row''s already%' then 'is taken: another record has it already'
    when reason like 'is another row''s still%' then 'is taken: another record has it still'
    when reason = 'conflicts with another row' then 'conflicts with another record'
    when reason like 'gives up what a row refers to in %' then 'changes what other records refer to'
    when reason ~ '^(fits no partition|is refused by a trigger|cannot be written)' then 'cannot be stored'
    when reason like 'has a zone of letters that means several%' then 'has a zone of letters that means several'
    when reason like 'is not UTF-8%' then regexp_replace(reason, ', which etl.*', '')
    else reason
  end);
  mend := etl.visible(case
    when reason like 'is no %' and type is not null then as_wanted
    when reason like 'is a date in an order %' then 'Tell us which comes first, or send dates as 2021-07-31.'
    when reason like 'has a zone of letters %' or reason like 'has no zone, %'
      then 'Write the zone as +02:00, or send UTC with a Z.'
    when reason like 'is out of the range of %' and wanted like 'a date%' then as_wanted
    when reason like 'is out of the range of %' and wanted = 'a whole number' then case base
      when 'smallint' then 'Send a whole number from -32768 to 32767.'
      when 'integer' then 'Send a whole number from -2147483648 to 2147483647.'
      else 'Send a whole number of at most 18 digits.'
    end
    when reason like 'is out of the range of %' and base = 'numeric' and amounts is not null then format(
      'Send a number with at most %s digits before the point.', amounts[1]::int - coalesce(amounts[2], '0')::int
    )
    when reason like 'is out of the range of %' then as_wanted
    when reason like 'is too long for %' then format('Send at most %s characters.', coalesce(amounts[1], 'as many'))
    when reason like 'breaks a rule of %' then 'Send what holds: ' || coalesce(etl.domain_rule(base), 'ask us which.')
    when reason = 'is missing' then 'Send a value: it must not be empty.'
    when rule is not null then 'Send what holds: ' || etl.under_names(
      rule,
      etl.names_of_columns(feed)
        || case
          when source is null or column_name is null then '{}'
          else jsonb_build_object(quote_ident(column_name), source)
        end
    )
    when known is not null then 'Correct it, or send the record that it refers to first.'
    when reason like 'is another row''s still%' then 'Nothing: it is loaded once the other record has given it up.'
    when reason like 'is another row''s already%' or reason = 'conflicts with another row'
      then 'Correct whichever of the two is wrong.'
    when reason like 'gives up what a row refers to in %'
      then 'Send the value of before, or correct those records, too.'
    when reason ~ '^(fits no partition|is refused by a trigger|cannot be written)' then 'Ask us: we know more.'
    when reason like 'is not UTF-8%' or reason like 'holds a NUL byte%' or reason like 'has a string that holds%'
      then 'Send the file as text in UTF-8.'
    when reason ~ '^has \d+ fields?' then 'Quote the field that holds a delimiter.'
    when reason like 'has a value under more than one name%' then 'Send it under one of them alone.'
    when reason like 'has a quote%' or reason like 'has text after%'
      then 'Quote the whole field, and write each quote in it twice.'
    when reason like 'has half a line end%' then 'Quote the field.'
    when reason in ('is a blank line', 'repeats the header line') then 'Leave the line out.'
    when reason like 'has a key twice%' then 'Send each key once.'
    when reason like 'is empty%' then 'Leave the comma out.'
    else 'Send each record as one JSON object.'
  end);
end
$$;
comment on function etl.in_plain_words(etl.feeds, text, text, text) is
  'A reason of etl.rejects as its partner is told it, and what he is to mend. What a trigger said is left out: it may
speak of others.';

create or replace function etl.plain_type(type text)
returns text
language sql stable
set search_path = ''
as $$
  with recursive beneath as (
    select to_regtype(type)::oid as oid
    union all
    select t.typbasetype from beneath b join pg_catalog.pg_type t on t.oid = b.oid and t.typtype = 'd'
  ), base as (
    select b.oid, t.typtype, t.typcategory, etl.kind_of(b.oid) as kind
    from beneath b
    join pg_catalog.pg_type t on t.oid = b.oid and t.typtype <> 'd'
  )
  select coalesce(
    (
      select case
        when b.kind = 'integer' then 'a whole number'
        when b.kind = 'number' then 'a number'
        when b.oid = 'date'::regtype then 'a date'
        when b.kind in ('day', 'zoned day') then 'a date and time'
        when b.oid in ('time'::regtype, 'timetz'::regtype) then 'a time'
        when b.oid = 'interval'::regtype then 'a length of time'
        when b.oid = 'boolean'::regtype then 'true or false'
        when b.oid = 'uuid'::regtype then 'a UUID'
        when b.oid in ('json'::regtype, 'jsonb'::regtype) then 'JSON'
        when b.typtype = 'e' then (
          select 'one of ' || string_agg('"' || left(e.enumlabel, 40) || '"', ', ' order by e.enumsortorder)
          from pg_catalog.pg_enum e
          where e.enumtypid = b.oid
        )
        when b.typcategory = 'A' then 'a list'
        when b.typcategory = 'S' then 'a text'
      end
      from base b
    ),
    'a value of the type ' || type
  )
$$;
comment on function etl.plain_type(text) is 'A type, without its length, as people call it.';

create or replace function etl.plain_rule(definition text)
returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  -- Names and texts in quotes may look like anything: each is a number between two signs while the rest is rewritten.
  quoted constant text := '"(?:[^"]|"")*"|''(?:[^'']|'''')*''';
  place constant text := '\u0001\d+\u0002';
  pieces text[] := array(select m[1] from regexp_matches(definition, '(' || quoted || ')', 'g') m);
  bare text;
begin
  select string_agg(
    part || case when n <= cardinality(pieces) then format(e'\u0001%s\u0002', n) else '' end, '' order by n
  )
  into bare
  from regexp_split_to_table(definition, quoted) with ordinality s(part, n);
  bare := regexp_replace(
    bare,
    format(
      '::(%1$s|[a-z_.0-9]+)(\.(%1$s|[a-z_.0-9]+))*(\([\d,]+\))?( varying| precision| with(out)? time zone)?'
        '(\([\d,]+\))?(\[\])*',
      place
    ),
    '', 'g'
  );
  bare := regexp_replace(bare, format('(?<![\w\u0002])\((-?[\d.]+|%s)\)', place), '\1', 'g');
  bare := regexp_replace(bare, '^CHECK \((.*)\)( NO INHERIT)?( NOT VALID)?$', '\1');
  bare := regexp_replace(bare, '^\(([^()]*)\)$', '\1');
  return (
    select string_agg(part || coalesce(pieces[left_over.numbers[n]], ''), '' order by n)
    from (
      select array(select m[1]::int from regexp_matches(bare, '\u0001(\d+)\u0002', 'g') m) as numbers
    ) left_over
    cross join regexp_split_to_table(bare, place) with ordinality s(part, n)
  );
end
$$;
comment on function etl.plain_rule(text) is
  'A CHECK as people write it: without casts, and parentheses that say nothing.';

create or replace function etl.under_names(rule text, names jsonb)
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(coalesce(names ->> w.match[1], w.match[1]), '' order by w.place)
  from regexp_matches(
    rule,
    -- A text and a name in quotes, a word, or that of a function with its parenthesis, and whatever is between them.
    '(''(?:[^'']|'''')*''|"(?:[^"]|"")*"|\w+\(?|[^\w''"]+|.)', 'g'
  ) with ordinality w(match, place)
$$;
comment on function etl.under_names(text, jsonb) is
  'SQL text with other names for its columns, of which names has those of now, as quote_ident() spells them. What stands
in a text of it stays.';

create or replace function etl.names_of_columns(feed etl.feeds)
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Of several the last of an object stays.
  select coalesce(jsonb_object_agg(quote_ident(m.value), m.key order by m.key desc), '{}')
  from jsonb_each_text(feed.columns) m
  where m.value is not null
$$;
comment on function etl.names_of_columns(etl.feeds) is
  'The partner''s names of the columns that etl.feeds.columns maps, by ours as quote_ident() spells them.';

create or replace function etl.domain_rule(type text)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(etl.plain_rule(pg_get_constraintdef(k.oid)), ' and ' order by k.conname)
  from pg_catalog.pg_constraint k
  where k.contypid = to_regtype(type)
$$;
comment on function etl.domain_rule(text) is 'What holds of the values of a domain; null where nothing is known.';

create or replace function etl.called(feed etl.feeds)
returns text
language sql immutable
set search_path = ''
as $$
  -- On one line: it is in a subject.
  select regexp_replace(
    etl.visible(coalesce(
      nullif(concat_ws(' in ', etl.unescaped(substring(feed.url from '#([^{}]+)$')), etl.unescaped(file.name)), ''),
      feed.name
    )),
    '\s+', ' ', 'g'
  )
  from (
    -- What stands before the path is a host, and may be a password. What follows a ; is no part of the name.
    select substring(
      feed.url from '^\s*\w+://[^/?#\\]+/(?:[^?#]*/)?([^/?#;{}\\]+\.[^/?#;{}\\]+)(?:;[^/?#]*)?(?:[?#]|\s*$)'
    ) as name
  ) file
$$;
comment on function etl.called(etl.feeds) is
  'What a partner calls his file: its name in the URL, where that is one, and of what archive; else the feed''s.';

create or replace function etl.unescaped(part text)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  return (
    select convert_from(
      string_agg(
        case when m[1] is null then convert_to(m[2], 'UTF8') else decode(m[1], 'hex') end, '' order by place
      ),
      'UTF8'
    )
    from regexp_matches(part, '%([0-9A-Fa-f]{2})|([^%]+|%)', 'g') with ordinality t(m, place)
  );
exception when character_not_in_repertoire then
  return part;
end
$$;
comment on function etl.unescaped(text) is
  'A part of a URL without its escapes, as %20; as it is where they are no text in UTF-8.';

create or replace function etl.moment(at timestamptz)
returns text
language sql stable
set search_path = ''
as $$
  select to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
$$;
comment on function etl.moment(timestamptz) is 'A date and a time that everybody reads alike.';

create or replace function etl.counted(amount bigint, what text)
returns text
language sql immutable
set search_path = ''
as $$
  select amount || ' ' || what || case when amount = 1 then '' else 's' end
$$;
comment on function etl.counted(bigint, text) is 'As "1 record", "2 records".';

create or replace function etl.short(value text)
returns text
language sql immutable
set search_path = ''
as $$
  select case when length(s) > 60 then left(s, 59) || '…' else s end
  from regexp_replace(etl.visible(left(value, 200)), '\s+', ' ', 'g') s
$$;
comment on function etl.short(text) is 'At most 60 characters on one line.';

create or replace function etl.visible(value text)
returns text
language sql immutable
set search_path = ''
as $$
  -- translate() looks through all signs for each character: only where there is one.
  select case
    when value !~ '[\x01-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]' then value
    else translate(
      value,
      e'\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\r\x0e\x0f'
        || e'\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f'
        || e'\x7f\u0080\u0081\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0089\u008a\u008b\u008c\u008d\u008e\u008f'
        || e'\u0090\u0091\u0092\u0093\u0094\u0095\u0096\u0097\u0098\u0099\u009a\u009b\u009c\u009d\u009e\u009f'
        || e'\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069',
      '␁␂␃␄␅␆␇␈␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡' || repeat('�', 41)
    )
  end
$$;
comment on function etl.visible(text) is
  'The text with a sign for each character that would move a terminal, or turn the direction of a line; tab and line
feed stay.';

create or replace function etl.safe_cell(value text)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    when value ~ '^\s*[-+]?\d+([.,]\d+)*([eE][-+]?\d+)?\s*$' then value
    when value ~ '^\s*[=+@＝＋－＠-]|^[\t\r\n]' then '''' || etl.visible(value)
    else etl.visible(value)
  end
$$;
comment on function etl.safe_cell(text) is
  'A cell that no spreadsheet takes for a formula: as OWASP advises, one that begins with = + - @, a tab or a line end
gets a quote before it. A number, as -5, stays a number.';

revoke all on all functions in schema etl from public;

-- supabase/sql/merge.sql
-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql; of a feed of changes
-- in retries.sql, too, and of one whose absent rows are to go in absent.sql. The temp tables that they hand each other
-- are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, place int, header text[], sentinel text, is_whole boolean default false,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out deleted bigint, out ignored_columns text[], out changed boolean,
  out withheld jsonb
)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  as_json boolean := header is null;
  rejects_wait boolean := feed.contents = 'changes';
  sources text[];
  new_records bigint := 0;
  waiting record;
  absent record;
  caller_time_zone text := current_setting('timezone');
begin
  perform set_config('timezone', feed.time_zone, true);
  read := 0;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  deleted := 0;
  changed := false;
  if rejects_wait then
    perform etl.gather_retries(feed, target);
  end if;
  if place is not null then
    perform etl.take_staged(feed, place, header);
    select count(*) into new_records from pg_temp.etl_staging;
    perform etl.tell_step('reading cells');
    perform etl.find_cells(feed, as_json, sentinel);
    if feed.absent = 'mark' and is_whole is not null then
      perform etl.carry_mark(target, as_json);
    end if;
    select m.* into inserted, updated, unchanged, duplicate
    from etl.merge_staged(feed, target, run, new_records, has_limit => true) m;
    perform etl.empty_unnamed();
    sources := array(select c.source from pg_temp.etl_columns c order by c.position);
    ignored_columns := etl.ignored_columns();
    if rejects_wait then
      perform etl.add_retries(feed, target, as_json);
    else
      rejected := etl.rejected_count();
      perform etl.check_limit(feed, new_records);
      changed := etl.keep_rejects(feed, run, as_json);
    end if;
    if feed.absent <> 'keep' and is_whole is not null then
      perform etl.tell_step('looking for absent rows');
      select a.* into absent from etl.remove_absent(feed, target, run, is_whole, inserted) a;
      deleted := absent.deleted;
      withheld := absent.withheld;
      changed := changed or absent.changed;
      delete from pg_temp.etl_columns c where c.name = 'absent_since';
    end if;
    drop table pg_temp.etl_staging;
  end if;
  read := new_records;
  if rejects_wait then
    select w.* into waiting from etl.try_retries(feed, target, run, new_records) w;
    read := read + waiting.read;
    inserted := inserted + waiting.inserted;
    updated := updated + waiting.updated;
    unchanged := unchanged + waiting.unchanged;
    duplicate := duplicate + waiting.duplicate;
    rejected := waiting.rejected;
    perform etl.keep_waited(feed, target, run);
    changed := etl.keep_retries(feed, run);
    if place is not null then
      perform etl.empty_tables();
      perform etl.map_columns(feed, sources);
    end if;
  end if;
  changed := changed or inserted + updated > 0;
  if changed and feed.history is not null then
    perform etl.purge_changes(feed.name);
  end if;
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform set_config('timezone', caller_time_zone, true);
end
$$;
comment on function etl.merge(text, uuid, int, text[], text, boolean) is
  'Brings the feed that was staged at this place into its target: casts, rejects what breaks a rule, drops duplicates
(the last record wins), writes what is new or differs, and returns the counts. Nothing is written where nothing
changed. The staging table is gone after it; etl_columns stays for etl.remember(). place: null where nothing new came,
so that the rejects alone are tried that wait; header: as it was staged; sentinel: what the cell of an unreadable record
begins with, null where there is none; is_whole: whether the file is known not to be cut short, null where it is not
asked what it lacks. deleted, withheld: the rows that it lacks, as etl.remove_absent() has it. Raises ETL03 as
etl.check_columns() does, ETL05 where a trigger drops or keeps rows, ETL06 above the reject limit, 40001 where another
session deletes a row meanwhile.';

create or replace function etl.merge_staged(
  feed etl.feeds, target regclass, run uuid, read bigint, has_limit boolean,
  out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint
)
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  different bigint := 0;
begin
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if read > etl.rejected_count() then
    perform etl.set_date_order(feed);
    perform etl.validate_names();
    perform etl.tell_step('comparing rows');
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
    perform etl.tell_step('checking rows');
    perform etl.validate_rows(target, has_header => feed.header is null);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    -- For the table's own rules and triggers it is as ever.
    perform set_config('datestyle', 'ISO, MDY', true);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.tell_step('checking keys');
      perform etl.validate_relations(target, feed);
      perform etl.tell_step('writing rows');
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(feed, target, run, inserted, updated, rejects_left => case
        when has_limit then floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      end);
      if has_limit then
        perform etl.check_limit(feed, read, at_least => true);
      end if;
    end loop;
  end if;
end
$$;
comment on function etl.merge_staged(etl.feeds, regclass, uuid, bigint, boolean) is
  'Brings so many records of etl_staging into the target, their columns being mapped; what is rejected is in
etl_rejected after it. has_limit: whether ETL06 is raised as soon as it is clear that there are too many.';

revoke all on all functions in schema etl from public;

-- supabase/sql/mistaken.sql
-- What is most likely meant by a name that is not there: of a feed, of a table, of a column in etl.feeds.columns.

create or replace function etl.feed_named(feed_name text)
returns etl.feeds
language plpgsql stable
set search_path = ''
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
begin
  if feed is null then
    raise exception 'there is no feed %', coalesce(feed_name, 'null')
      using errcode = 'ETL01', hint = etl.feed_meant(coalesce(feed_name, ''));
  end if;
  return feed;
end
$$;
comment on function etl.feed_named(text) is
  'The feed''s row. Raises ETL01, with the hint of etl.feed_meant(), where there is none.';

create or replace function etl.feed_meant(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  tables text[] := etl.tables_called(feed_name);
  loading text;
begin
  select f.name into loading
  from etl.feeds f
  where lower(f.name) = lower(feed_name) or etl.regclass_of(f.target)::oid = any (
    select etl.regclass_of(t)::oid from unnest(tables) t
  )
  order by f.name
  limit 1;
  if loading is not null then
    return format('The feed is called %s.', loading);
  end if;
  if tables <> '{}' then
    return format(
      'There is a table %s, and no row of etl.feeds loads it. This makes one: '
        'insert into etl.feeds (name, url, target) values (%L, %L, %L)',
      tables[1], feed_name, 'https://…', tables[1]
    );
  end if;
  return 'etl.feeds has: '
    || coalesce(etl.listed(array(select f.name from etl.feeds f order by f.name)), 'none')
    || format('. A new one: deno task feed URL --name %s', quote_ident(feed_name));
end
$$;
comment on function etl.feed_meant(text) is
  'The hint for the name of a feed that is not there: the feed of that name but for case, or whose table has it; how
the table of that name gets its feed; else the feeds that there are.';

create or replace function etl.tables_called(said text)
returns text[]
language sql stable
set search_path = ''
as $$
  select array(
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname !~ '^(pg_|information_schema$|etl$)'
      and lower(plain.said) in (lower(c.relname), lower(n.nspname || '.' || c.relname))
    order by n.nspname <> 'public', c.relname <> plain.said, n.nspname, c.relname
  )
  from (select replace(tables_called.said, '"', '') as said) plain
$$;
comment on function etl.tables_called(text) is
  'The tables of that name, with or without its schema and whatever its case, each in full as SQL; those of public
first.';

create or replace function etl.unmatched_columns(feed etl.feeds)
returns jsonb
language sql
set search_path = ''
as $$
  select jsonb_object_agg(m.source, m.name)
  from jsonb_each_text(feed.columns) m(source, name)
  where exists (select from etl.loadable_columns(etl.target_of(feed)) l where l.name = m.name::name)
    and not exists (
      select from pg_temp.etl_columns c
      where c.name = m.name::name or m.source in (c.source, btrim(c.source, etl.blanks()))
    )
$$;
comment on function etl.unmatched_columns(etl.feeds) is
  'What of etl.feeds.columns says nothing of the file in etl_columns: it has no such name, and none other fills the
column. Null where all of it is used. A name of before may stay beside that which took its place.';

create or replace function etl.unmatched_told(feed etl.feeds, may_guess boolean)
returns text
language plpgsql
set search_path = ''
as $$
declare
  unmatched jsonb := etl.unmatched_columns(feed);
  names text[] := array(select jsonb_object_keys(unmatched));
  meant jsonb;
begin
  if unmatched is null then
    return null;
  end if;
  if may_guess then
    select jsonb_object_agg(l.key, unmatched -> l.value) into meant
    from jsonb_each_text(etl.likely_names(names, etl.ignored_columns())) l;
  end if;
  return format(
    'etl.feeds.columns maps %s, and the file has no such name.',
    (
      select string_agg(format('%I to %I', m.key, m.value), ', ' order by m.key)
      from (select * from jsonb_each_text(unmatched) limit 10) m
    )
  ) || case
    when meant is null then ''
    else format(
      ' Most likely it is this: update etl.feeds set columns = columns || %L where name = %L', meant, feed.name
    )
  end;
end
$$;
comment on function etl.unmatched_told(etl.feeds, boolean) is
  'What etl.unmatched_columns() finds, in words; null where that is nothing. may_guess: whether names of the file may
be shown, as what is most likely meant.';

revoke all on all functions in schema etl from public;

-- supabase/sql/parts.sql
-- The values inside a value: the elements of an array, the bounds of a range, the fields of a composite. What is
-- refused in a column of its own is refused there, too.

create or replace function etl.has_refused_part(cell text, type oid, rules jsonb)
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select
    from etl.values_within(cell, type) p
    where etl.is_refused(
      p.part, p.kind, nullif(rules -> p.kind ->> 'refused', ''),
      case
        when jsonb_typeof(rules -> p.kind -> 'forms') = 'array'
          then array(select jsonb_array_elements_text(rules -> p.kind -> 'forms'))
      end
    )
  )
$$;
comment on function etl.has_refused_part(text, oid, jsonb) is
  'Whether a cell holds a value that is refused, by etl.rules_of_parts(). False where it is no literal of its type: that
is for the type''s input to say.';

create or replace function etl.values_within(cell text, type oid)
returns table (kind text, part text)
language plpgsql stable strict
set search_path = ''
as $$
declare
  whole record;
begin
  kind := etl.plain_kind_of(type);
  if kind is not null then
    part := cell;
    return next;
    return;
  end if;
  select t.typtype, t.typcategory, t.typbasetype, t.typelem, t.typrelid
  into whole
  from pg_catalog.pg_type t
  where t.oid = type;
  if whole.typtype = 'd' then
    return query select p.* from etl.values_within(cell, whole.typbasetype) p;
  elsif whole.typtype = 'c' then
    return query
      select p.*
      from unnest(etl.split_literal(cell)) with ordinality as f(field, place)
      join (
        select a.atttypid, row_number() over (order by a.attnum) as place
        from pg_catalog.pg_attribute a
        where a.attrelid = whole.typrelid and a.attnum > 0 and not a.attisdropped
      ) c using (place)
      cross join lateral etl.values_within(f.field, c.atttypid) p;
  elsif whole.typtype = 'r' then
    return query
      select p.*
      from pg_catalog.pg_range r
      cross join unnest(etl.split_literal(cell)) as b(bound)
      cross join lateral etl.values_within(b.bound, r.rngsubtype) p
      where r.rngtypid = type;
  elsif whole.typtype = 'm' then
    return query
      select p.*
      from pg_catalog.pg_range r
      cross join regexp_matches(cell, '[[(](?:"(?:[^"\\]|\\.|"")*"|[^])"\\]|\\.)*[])]', 'g') as m(match)
      cross join lateral etl.values_within(m.match[1], r.rngtypid) p
      where r.rngmultitypid = type;
  elsif whole.typcategory = 'A' and pg_input_is_valid(cell, 'text[]') then
    return query
      select p.*
      from unnest(cell::text[]) as e(element)
      cross join lateral etl.values_within(e.element, whole.typelem) p;
  end if;
end
$$;
comment on function etl.values_within(text, oid) is
  'The values inside a literal of this type, however deep, which are of a kind of their own by etl.plain_kind_of(). None
where it is no such literal.';

create or replace function etl.split_literal(literal text)
returns text[]
language sql immutable
set search_path = ''
as $$
  select array_agg(
    (
      select string_agg(
        regexp_replace(coalesce(piece.match[1], piece.match[2]), '\\(.)|"(")', '\1\2', 'g'), '' order by piece.place
      )
      from regexp_matches(field.match[1], '"((?:[^"\\]|\\.|"")*)"|((?:[^"\\]|\\.)+)', 'g') with ordinality
        as piece(match, place)
    )
    order by field.place
  )
  from regexp_matches(
    substring(literal from '^\s*[[(](.*)[])]\s*$') || ',', '((?:"(?:[^"\\]|\\.|"")*"|[^,"\\]|\\.)*),', 'g'
  ) with ordinality as field(match, place)
$$;
comment on function etl.split_literal(text) is
  'The fields of a literal of a composite, or the bounds of one of a range, without their quotes; null for what is not
there.';

revoke all on all functions in schema etl from public;

-- supabase/sql/plan.sql
-- The feeds of a run, whether another run is in their way, and whether what the loader remembers of them may be
-- trusted.

create or replace function etl.plan(names text[], force boolean default false, day date default null)
returns setof jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  unknown text;
  first_unknown text;
begin
  select string_agg(n, ', ' order by place), (array_agg(n order by place))[1] into unknown, first_unknown
  from unnest(names) with ordinality u(n, place)
  where not exists (select from etl.feeds f where f.name = n);
  if unknown is not null then
    raise exception 'there is no feed %', unknown using errcode = 'ETL01', hint = etl.feed_meant(first_unknown);
  end if;
  if day is not null then
    select string_agg(f.name, ', ' order by f.name) into unknown
    from etl.feeds f
    where (f.name = any (names) or (names = '{}' and f.enabled)) and etl.address(f, day) = f.url;
    if unknown is not null then
      raise exception 'the URL of % holds no {day}', unknown
        using errcode = 'ETL12',
          hint = 'Name the feeds to load: only where a URL holds {day} is there a file of a day.';
    end if;
  end if;
  return query
  with recursive parents as (
    select child.name as child, parent.name as parent
    from etl.feeds child
    join pg_catalog.pg_constraint c on c.conrelid = etl.regclass_of(child.target) and c.contype = 'f'
    join etl.feeds parent on etl.regclass_of(parent.target) = c.confrelid
    where c.conrelid <> c.confrelid
  ), ancestors as (
    select p.child, p.parent as ancestor
    from parents p
    union
    select a.child, p.parent
    from ancestors a
    join parents p on p.child = a.ancestor
  )
  select to_jsonb(f) || jsonb_build_object(
    'parents', (select coalesce(jsonb_agg(distinct p.parent), '[]') from parents p where p.child = f.name),
    'turn', case
      when w.led then '3 ' || to_char(w.since at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
      when w.feed is not null then '1 ' || to_char(w.since at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
      else concat('2 ', to_char(last_run at time zone 'UTC', 'YYYYMMDDHH24MISSUS'))
    end,
    'etag', s.etag, 'last_modified', s.last_modified,
    'content_hash', s.content_hash, 'content_length', s.content_length,
    'waits', f.contents = 'changes' and (
      rejects.may_heal or (s.feed is null and exists (select from etl.rejects r where r.feed = f.name))
    ),
    'address', address.asked, 'backfill', address.backfill, 'failed', coalesce(ledger.failed, false),
    'attempted', exists (select from etl.attempts a where a.feed = f.name),
    'not_yet', not address.backfill and address.asked <> f.url and exists (
      select
      from etl.runs r
      where r.feed = f.name and r.status = 'changed' and r.finished_at > now() - coalesce(f.fresh_within, '2 days')
    )
  )
  from etl.feeds f
  cross join lateral (
    select etl.address(f, day) as asked, etl.address(f, day) is distinct from etl.address(f) as backfill
  ) address
  cross join lateral (
    -- As etl.may_heal() has it, in the words of the index that finds them.
    select exists (
      select from etl.rejects r
      where r.feed = f.name
        and (r.sqlstate !~ '^(22|23502|23514)' or r.reason ~ '^(is refused by a trigger|fits no partition)')
    ) as may_heal
  ) rejects
  left join etl.feed_state s
    on s.feed = f.name
    and not force
    and not address.backfill
    and s.definition_hash = etl.definition_hash(f)
    and (f.contents = 'changes' or not rejects.may_heal)
    and not exists (select from etl.approvals a where a.feed = f.name and a.removals >= s.withheld)
  left join etl.waiting w on w.feed = f.name
  cross join lateral (
    select
      max(latest.finished_at) as last_run,
      max(latest.finished_at) = max(latest.finished_at) filter (where latest.status = 'failed') as failed
    from (values ('changed'), ('failed'), ('unchanged')) s(status)
    cross join lateral (
      select r.finished_at, r.status
      from etl.runs r
      where r.feed = f.name and r.status = s.status
      order by r.finished_at desc
      limit 1
    ) latest
  ) ledger
  where f.name = any (names) or (names = '{}' and f.enabled)
  -- Whoever is below another has more above it; those of a circle have the same.
  order by (select count(*) from ancestors a where a.child = f.name and a.ancestor <> f.name), f.name;
end
$$;
comment on function etl.plan(text[], boolean, date) is
  'The feeds of a run, parents before children by the foreign keys: each a row of etl.feeds with the names of its
parents, its turn, and the validators of its etl.feed_state. All enabled feeds where no name is given. Raises ETL01 for
a name that is not in etl.feeds. turn is a text, the least of them first: those that wait, longest first; then who is in
the ledger longest ago; then those that led a run and wait all the same. Validators are null where they must not
be used: when forced, when a definition has changed, while there are rejects that may heal, and once etl.approve() has
permitted what the last run withheld. Of a feed of changes such rejects do not matter; waits: whether it has any, to be
tried again. address: the
URL with its dates, of the day that is given, else of today; null where they cannot be written. backfill: it is the
file of another day than today''s, and no validator is used. attempted: it has a row in etl.attempts. not_yet: that
there is no such file is no failure, for the feed was changed within fresh_within, or two days. failed: whether the last
that the ledger has of it is a failure.
Raises ETL12 where a day is given and the URL of a feed holds none.';

create or replace function etl.may_heal(state text, reason text)
returns boolean
language sql immutable
set search_path = ''
as $$
  select state !~ '^(22|23502|23514)' or reason ~ '^(is refused by a trigger|fits no partition)'
$$;
comment on function etl.may_heal(text, text) is
  'Whether a reject depends on more than its record, and may load without being sent again. Those alone that hold no
value of a type (class 22), lack one (23502) or break a CHECK (23514) do not; but whatever a trigger refuses does, and
what fits no partition.';

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
  target regclass := (select etl.regclass_of(f.target) from etl.feeds f where f.name = feed_name);
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
  planned jsonb, etag text, last_modified text, content_hash text, content_length bigint, records bigint,
  as_json boolean
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  present etl.feeds := (select f from etl.feeds f where f.name = planned ->> 'name');
  before etl.feed_state := (select s from etl.feed_state s where s.feed = present.name);
  state etl.feed_state := before;
begin
  if (planned ->> 'backfill')::boolean then
    update etl.feed_state s set definition_hash = '' where s.feed = present.name and s.definition_hash <> '';
    return;
  end if;
  if etl.definition(present) is distinct from etl.definition(jsonb_populate_record(null::etl.feeds, planned)) then
    return;
  end if;
  state.feed := present.name;
  state.etag := etag;
  state.last_modified := last_modified;
  state.content_hash := content_hash;
  state.content_length := content_length;
  -- The target's definition is what it is now, under the lock of the merge: the one that was obeyed.
  state.definition_hash := etl.definition_hash(present);
  state := etl.note_columns(
    state, etl.regclass_of(present.target), as_json and (records < 10 or records < before.usual_records / 10)
  );
  state := etl.note_records(state, present, records);
  -- Who names a disabled feed has it loaded once; no run takes it for all that.
  if present.enabled then
    state.undone_run := null;
    state.undone_at := null;
  end if;
  -- ON CONFLICT alone would lock the row, which is a write, too.
  if state is not distinct from before then
    return;
  end if;
  insert into etl.feed_state as s (
    feed, etag, last_modified, content_hash, content_length, definition_hash, carried_columns, ignored_columns,
    gone_columns, unplaced_columns, drifted_since, records, usual_records, shrunk_since, undone_run, undone_at
  )
  values (
    state.feed, state.etag, state.last_modified, state.content_hash, state.content_length, state.definition_hash,
    state.carried_columns, state.ignored_columns, state.gone_columns, state.unplaced_columns, state.drifted_since,
    state.records, state.usual_records, state.shrunk_since, state.undone_run, state.undone_at
  )
  on conflict on constraint feed_state_pkey do update
  set etag = excluded.etag, last_modified = excluded.last_modified, content_hash = excluded.content_hash,
    content_length = excluded.content_length, definition_hash = excluded.definition_hash,
    carried_columns = excluded.carried_columns, ignored_columns = excluded.ignored_columns,
    gone_columns = excluded.gone_columns, unplaced_columns = excluded.unplaced_columns,
    drifted_since = excluded.drifted_since, records = excluded.records, usual_records = excluded.usual_records,
    shrunk_since = excluded.shrunk_since, undone_run = excluded.undone_run, undone_at = excluded.undone_at;
end
$$;
comment on function etl.remember(jsonb, text, text, text, bigint, bigint, boolean) is
  'Keeps what lets the next run find out that nothing is new, and health what the body was like, for a feed as
etl.plan() gave it, while its etl_columns are there. Keeps nothing where the feed was redefined or removed meanwhile,
and writes nothing where all is as it was. After the file of another day the next run trusts no validator: it brings
back what that file was older in.';

create or replace function etl.remember_validators(
  feed_name text, content_hash text, etag text, last_modified text, content_length bigint
)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set etag = remember_validators.etag, last_modified = remember_validators.last_modified,
    content_length = remember_validators.content_length
  where s.ctid = (
    select l.ctid
    from etl.feed_state l
    where l.feed = feed_name and l.content_hash = remember_validators.content_hash
    for update skip locked
  )
$$;
comment on function etl.remember_validators(text, text, text, text, bigint) is
  'Keeps the validators of a later answer with the same content. Waits for nobody: what is not kept now is kept by the
next run.';

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
    -- Another day's file has validators of its own.
    etl.address(feed),
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
      where a.attrelid = etl.regclass_of(feed.target) and a.attnum > 0 and not a.attisdropped
    ),
    (
      select string_agg(
        concat_ws(' ', c.conname, c.contype, c.conkey, c.confrelid::regclass, c.confkey, c.conbin),
        ',' order by c.conname
      )
      from pg_catalog.pg_constraint c
      where c.conrelid = etl.regclass_of(feed.target)
    ),
    (
      select string_agg(
        concat_ws(
          ' ', i.indexrelid::regclass, i.indisunique, i.indkey, i.indclass, i.indnullsnotdistinct, i.indpred, i.indexprs
        ),
        ',' order by i.indexrelid::regclass::text
      )
      from pg_catalog.pg_index i
      where i.indrelid = etl.regclass_of(feed.target)
    )
  ))
$$;
comment on function etl.definition_hash(etl.feeds) is
  'MD5 of everything but the body that decides what a load does: the feed''s row, the day in its URL, the target''s
columns, constraints, indexes.';

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

-- supabase/sql/relations.sql
-- What a record breaks beside others: FOREIGN KEY and UNIQUE.

create or replace function etl.validate_relations(target regclass, feed etl.feeds default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform etl.validate_references(target);
    continue when etl.validate_unique(target);
    exit when not etl.validate_referenced(target, feed);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass, etl.feeds) is
  'Rejects orphans, unique violations and what gives up a value that rows refer to, until there is none: a record
that goes may have been another''s parent. feed: whose file etl_staging holds; null where there is none.';

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
        select c.etl$staged, {column_name}, {value}, {reason}, '23503', {constraint_name}
        from {children} c
        left join {parent} p on {matches}
        {given}
        where {touched} and {present} and (p.{parent_column} is null {or_given})
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.name),
          'value', etl.value_of('pg_temp.etl_delta', 'c', fk.column_name),
          'reason', quote_literal('is in no row of ' || fk.parent || case
            when etl.is_inherited(fk.parent) then ' itself: the tables that inherit from it do not count'
            when fk.parent <> target and etl.refers_to(fk.parent, target)
              then ', which refers to this table in turn: of two new rows that need each other neither can be first'
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

create or replace function etl.validate_referenced(target regclass, feed etl.feeds)
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
    select k.*, x.is_carried, k.on_update not in ('a', 'r') as is_followed
    from etl.foreign_keys(target) k
    cross join lateral (
      select k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
    ) x
    where k.parent = target
      and (k.on_update in ('a', 'r') or k.child = target and x.is_carried and feed.name is not null)
      and exists (select from pg_temp.etl_columns c where c.name = any (k.parent_columns))
      and not k.parent_columns <@ etl.key_of(target)
    order by k.name
  loop
    if fk.is_followed then
      perform etl.set_date_order(feed);
    end if;
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select d.etl$staged, {column_name}, {value}, {reason}, '23503', {constraint_name}
      from pg_temp.etl_delta d
      join {target} p on {same_key}
      where d.etl$exists and pg_catalog.record_image_ne(row({old}), row({new}))
        and exists (select 1 from {child} c where {matches} {and_lost} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', etl.own_rows(fk.child), 'matches', fk.matches,
        'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'value', etl.value_of(
          'pg_temp.etl_delta', 'd', case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end
        ),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.as_stored(target, 'p', fk.parent_columns), 'new', etl.as_stored(target, 'd', fk.parent_columns),
        -- Another spelling of what the key takes for the same is no other value, unless the key restricts any change.
        'and_lost', case
          when fk.on_update = 'a' then format('and not exists (select 1 from (select d.*) p where %s)', fk.matches)
          else ''
        end,
        'and_stays', case
          -- A child would follow, and its record in the same file says that it does not.
          when fk.is_followed then etl.fill(
            $sql$
            and exists (
              select 1 from ({typed}) t join {target} o on {same_key} where {is_child} and not {differs}
            )
            $sql$,
            jsonb_build_object(
              'typed', etl.typed_cells(with_length => true), 'same_key', etl.same_key(target, 't', 'o'),
              'target', target, 'is_child', etl.same_key(target, 'o', 'c'),
              'differs', etl.differs(etl.key_of(target))
            )
          )
          -- A child whose reference the feed changes, too, was an orphan or was not.
          when fk.child = target and fk.is_carried then etl.fill(
            'and not exists (select 1 from pg_temp.etl_delta g where {same_key})',
            jsonb_build_object('same_key', etl.same_key(target, 'g', 'c'))
          )
          else ''
        end
      )
    );
    get diagnostics offenders = row_count;
    if fk.is_followed then
      perform set_config('datestyle', 'ISO, MDY', true);
    end if;
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_referenced(regclass, etl.feeds) is
  'Rejects what gives up a value that a row refers to, where the foreign key neither cascades nor sets another, or where
that row is of the same file, and there as it was. Returns whether there was any.';

create or replace function etl.as_stored(of_table regclass, a text, columns name[])
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    format('%s.%I::%s', a, c.attname, format_type(etl.base_type(c.atttypid), -1)), ', ' order by u.position
  )
  from unnest(columns) with ordinality u(name, position)
  join pg_catalog.pg_attribute c on c.attrelid = of_table and c.attname = u.name
$$;
comment on function etl.as_stored(regclass, text, name[]) is
  'SQL text: these columns of a row, under this alias, by the types beneath all domains: for record_image_ne(), which
takes no two types for one.';

create or replace function etl.foreign_keys(of regclass)
returns table (
  name name, child regclass, parent regclass, attnums smallint[], column_name text, parent_columns name[],
  on_update "char", present text, matches text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
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
    group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype;
end
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. on_update: a letter, as
in pg_constraint. SQL text: present, whether the child''s row c refers to anything (under MATCH FULL, in part);
matches, whether the parent''s row p is what it refers to, as the key compares.';

create or replace function etl.own_rows(of regclass)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case when etl.is_inherited(of) then 'only ' else '' end || of;
end
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
      'value', etl.value_of('pg_temp.etl_delta', 'r', ix.column_name),
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
          select etl$staged, {value} as etl$value, {entry}
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
language plpgsql stable
set search_path = ''
as $$
begin
  return query
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
          when not i.indnullsnotdistinct
            then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
        end
      ),
      string_agg(
        etl.fill(
          case
            when i.indnullsnotdistinct
              then '(e.{entry} {equals} d.{entry} or (e.{entry} is null and d.{entry} is null))'
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
    order by x.relname;
end
$$;
comment on function etl.unique_indexes(regclass) is
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an
expression), whether a foreign key refers to them, what they hold of a row, as etl$1, etl$2, …, of which rows (one
with a null violates nothing), and when the entries e and d are the same, or exclude each other.';

create or replace function etl.collation_of(collation_oid oid)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(
      (
        select format(' collate %I.%I', n.nspname, c.collname)
        from pg_catalog.pg_collation c
        join pg_catalog.pg_namespace n on n.oid = c.collnamespace
        where c.oid = collation_oid and n.nspname || '.' || c.collname <> 'pg_catalog.default'
      ),
      ''
    )
  );
end
$$;
comment on function etl.collation_of(oid) is
  'SQL text: a COLLATE clause; empty for the database''s own collation, or none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/reports.sql
-- The two reports and how fresh they are, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to
-- that moment.
-- They are for staff, and for whoever row security does not hold: the owner, service_role.
-- Signed-in users have 8 s for a request; PostgREST takes a function's own statement_timeout for the whole of it.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns table (
  id public.trips.id%type,
  driver_id public.trips.driver_id%type,
  request_timestamp timestamptz,
  pickup_timestamp timestamptz,
  dropoff_timestamp timestamptz,
  base_fare public.trips.base_fare%type,
  gratuity public.trips.gratuity%type,
  charge_rejected boolean
)
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
set plan_cache_mode = force_custom_plan
as $$
declare
  rejected text[];
begin
  if row_security_active('public.trips') then
    -- Not in one condition: those above may not look into etl.
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  rejected := array(select etl.trips_of_rejected_charges());
  -- Planned for each call, by its bounds: for all trips a hash join, for those of a day the index of the charges. What
  -- is rejected is a constant then, and a hash.
  return query
  select
    t.id, t.driver_id, t.request_timestamp::timestamptz, t.pickup_timestamp::timestamptz,
    t.dropoff_timestamp::timestamptz, t.base_fare, t.gratuity, t.id::text = any (rejected)
  from public.trips t
  where t.dropoff_timestamp::timestamptz >= completed_from
    and t.dropoff_timestamp::timestamptz < completed_before
    and not exists (select 1 from public.charges c where c.trip_id = t.id);
end
$$;
comment on function public.trips_without_charges(timestamptz, timestamptz) is
  'Completed trips that no charge points to. completed_from is included, completed_before is not. charge_rejected:
whether a charge for the trip came, and waits in etl.rejects.';

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

create or replace function public.report_freshness()
returns table (
  feed text,
  last_change timestamptz,
  verdict text,
  since timestamptz,
  message text,
  open_rejects bigint,
  target text
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
  return query select f.* from etl.freshness() f;
end
$$;
comment on function public.report_freshness() is
  'What the reports rest on: a row for each feed of their three tables. last_change: when a run last changed something;
verdict: as etl.health() has it, or disabled; since: since when it is so, where that is known; message: why;
open_rejects: records that came and are not in the table; target: the table, as public.trips.';

create or replace function etl.freshness()
returns table (
  feed text,
  last_change timestamptz,
  verdict text,
  since timestamptz,
  message text,
  open_rejects bigint,
  target text
)
language sql stable security definer
set search_path = ''
set timezone = 'UTC'
as $$
  select h.feed, h.last_change, h.verdict, h.since, h.message, h.open_rejects, etl.regclass_of(f.target)::text
  from etl.health_of_all() h
  join etl.feeds f on f.name = h.feed
  where etl.regclass_of(f.target) in ('public.drivers'::regclass, 'public.trips'::regclass, 'public.charges'::regclass)
    and (select etl.serves_staff())
  order by h.feed
$$;
comment on function etl.freshness() is
  'For public.report_freshness(), with the owner''s rights: health reads what no user may. No row for who is no staff.';

create or replace function etl.trips_of_rejected_charges()
returns setof text
language plpgsql stable security definer
set search_path = ''
as $$
declare
  -- As the table spells it: 007 is 7 where it is a number.
  id_type text := (
    select format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute a
    where a.attrelid = 'public.trips'::regclass and a.attname = 'id'
  );
begin
  if not etl.serves_staff() then
    return;
  end if;
  return query execute etl.fill(
    $sql$
    with spelled as materialized (
      select k.feed, k.source
      from (
        select distinct
          r.feed, jsonb_object_keys(case jsonb_typeof(r.record) when 'object' then r.record else '{}' end) as source
        from etl.rejects r
        where r.feed in (select f.name from etl.feeds f where etl.regclass_of(f.target) = 'public.charges'::regclass)
      ) k
      join etl.feeds f on f.name = k.feed
      where etl.wanted_column(f, k.source) = 'trip_id'
    )
    select distinct cell.value::{type}::text
    from spelled s
    join etl.rejects r on r.feed = s.feed
    cross join lateral (select r.record ->> s.source as value) cell
    where pg_input_is_valid(cell.value, {name})
    $sql$,
    jsonb_build_object('name', quote_literal(id_type), 'type', id_type)
  );
end
$$;
comment on function etl.trips_of_rejected_charges() is
  'The trips of the charges in etl.rejects, as public.trips.id spells them, by the name that the partner gives the
column. For public.trips_without_charges(), with the owner''s rights. No row for who is no staff.';

create or replace function etl.serves_staff()
returns boolean
language sql stable
set search_path = ''
as $$
  select current_setting('role') <> 'authenticated' or etl.is_staff()
$$;
comment on function etl.serves_staff() is
  'Whether a function with the owner''s rights may answer: the user of this request is staff, or no user of the API.';

do $$
declare
  report regprocedure;
  reader text;
begin
  foreach report in array array[
    'public.trips_without_charges(timestamptz, timestamptz)'::regprocedure,
    'public.churned_drivers(timestamptz, interval)'::regprocedure,
    'public.report_freshness()'::regprocedure,
    'etl.freshness()'::regprocedure,
    'etl.trips_of_rejected_charges()'::regprocedure
  ] loop
    execute format('revoke all on function %s from public', report);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on function %s from %I', report, reader);
      continue when reader = 'anon';
      execute format('grant execute on function %s to %I', report, reader);
    end loop;
  end loop;
  -- To call the two by their names; nothing else there is theirs.
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant usage on schema etl to service_role;
  end if;
end $$;
revoke all on function etl.serves_staff() from public;

-- supabase/sql/retries.sql
-- Where a feed's files hold changes, a reject is not gone because the next file lacks its record. It waits, and is
-- tried again after what is new, until it loads or a newer record of its key comes. Two temp tables more than stage.sql
-- has:
--   etl_retries   the rejects of earlier files, and after them those of this one
--   etl_keys      their keys, where they can be read, by their place in etl_retries

create or replace function etl.gather_retries(feed etl.feeds, target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  alike record;
begin
  perform etl.empty_retries();
  insert into pg_temp.etl_retries (
    place, id, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name, faults
  )
  select
    row_number() over (order by r.since, r.first_run, r.record_number), r.id, r.record_number, r.record, r.raw,
    r.as_json, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
  from etl.rejects r
  where r.feed = gather_retries.feed.name and r.record_number is not null;
  if not found then
    return;
  end if;
  perform etl.shape_keys(target);
  perform etl.set_date_order(feed);
  perform etl.find_sources(feed);
  for alike in select distinct w.as_json, w.sources from pg_temp.etl_retries w where w.record is not null loop
    if etl.stage_retries(feed, alike.as_json, alike.sources, is_empty => false) then
      perform etl.read_keys(target, of_rejected => false);
      perform etl.add_keys(target, 'pg_temp.etl_staging', 'ctid', 'etl$place');
    end if;
    alter table pg_temp.etl_staging rename to etl_again;
  end loop;
end
$$;
comment on function etl.gather_retries(etl.feeds, regclass) is
  'Fills etl_retries with the rejects of earlier files, the oldest first, and etl_keys with their keys.';

create or replace function etl.empty_retries()
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
begin
  create temp table if not exists etl_retries (
    place bigint, id uuid, record_number bigint, etl$staged tid, record jsonb, raw text, as_json boolean,
    sources text[], column_name text, value text, reason text, sqlstate text, constraint_name text, faults jsonb,
    fate text
  ) on commit drop;
  delete from pg_temp.etl_retries;
end
$$;
comment on function etl.empty_retries() is
  'Makes etl_retries, once a run, or empties it for the next feed. id: of the row in etl.rejects, null for a new one;
etl$staged: where the new file has the record; sources: the names that the target has a column for; fate: null while it
waits, loaded, superseded by a newer record, or renewed: what waited waits anew.';

create or replace function etl.shape_keys(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.shape_table('etl_keys', array['etl$place bigint'] || etl.key_columns(target));
end
$$;
comment on function etl.shape_keys(regclass) is 'Makes etl_keys an empty table for keys of the target.';

create or replace function etl.key_columns(target regclass)
returns text[]
language sql stable
set search_path = ''
as $$
  select array_agg(format('%I %s', a.attname, etl.step_type(target, a.attnum)) order by k.position)
  from unnest(etl.key_of(target)) with ordinality as k(name, position)
  join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = k.name
$$;
comment on function etl.key_columns(regclass) is
  'SQL text: the columns of the primary key, each with its type, but no domain that refuses the null of a key which
cannot be read.';

create or replace function etl.find_sources(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.empty_tables();
  perform etl.map_columns(feed, array(
    select distinct k from pg_temp.etl_retries w cross join jsonb_object_keys(w.record) k order by k
  ));
  update pg_temp.etl_retries w
  set sources = array(
    select c.source from pg_temp.etl_columns c where c.name is not null and w.record ? c.source order by c.source
  )
  where w.record is not null;
end
$$;
comment on function etl.find_sources(etl.feeds) is
  'Finds out what each record that waits carries: records that carry the same are tried together, so that nothing is
taken for missing that another file''s records lack.';

create or replace function etl.stage_retries(feed etl.feeds, as_json boolean, sources text[], is_empty boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  narrow int;
begin
  perform etl.empty_tables();
  perform etl.shape_table('etl_again', array['etl$place bigint'] || case
    when as_json then '{record text}'
    else array(select format('c%s text', n) from generate_series(1, cardinality(sources)) n)
  end);
  alter table pg_temp.etl_again rename to etl_staging;
  narrow := cardinality(sources) - coalesce(cardinality(etl.wide_cells()), 0);
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_staging
    select {cells}
    from pg_temp.etl_retries w
    where w.record is not null and w.fate is null and w.as_json = $1 and w.sources = $2
    order by w.place
    $sql$,
    jsonb_build_object('cells', concat_ws(', ', 'w.place', case
      when as_json then 'w.record::text'
      else concat_ws(
        ', ',
        (
          select string_agg(format('w.record ->> %L', s.source), ', ' order by s.position)
          from unnest(sources[:narrow]) with ordinality s(source, position)
        ),
        case
          when narrow < cardinality(sources) then format(
            'array(select w.record ->> s.key from unnest(%L::text[]) with ordinality s(key, n) order by s.n)::text',
            sources[narrow + 1:]
          )
        end
      )
    end))
  ) using as_json, sources;
  perform etl.map_columns(feed, sources);
  if as_json then
    perform etl.join_sources();
  end if;
  begin
    perform etl.check_columns(feed, is_empty);
  exception when sqlstate 'ETL03' then
    return false;
  end;
  return not (as_json and feed.decimal_comma);
end
$$;
comment on function etl.stage_retries(etl.feeds, boolean, text[], boolean) is
  'Makes etl_staging of the records that wait and carry these sources, and maps their columns. False where the table
or the feed is not as it was when they came, and they cannot be tried. etl_staging is to be renamed to etl_again after
it: one table serves the whole run.';

create or replace function etl.read_keys(target regclass, of_rejected boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  places jsonb;
  template constant text := $sql$
    update pg_temp.etl_typed k set {key}
    from ({typed}) t
    where t.etl$staged = k.etl$staged and ($1 is null or k.etl$staged between $1 and $2)
  $sql$;
begin
  perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
  if not key <@ etl.carried_columns() then
    return;
  end if;
  insert into pg_temp.etl_typed (etl$staged)
  select s.ctid
  from pg_temp.etl_staging s
  where not of_rejected
    or exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid and r.raw is null);
  places := jsonb_build_object('key', etl.each(key, '{column} = t.{column}'));
  begin
    execute etl.fill(template, places || jsonb_build_object(
      'typed', etl.typed_cells(with_length => false, of_rejected => of_rejected)
    )) using null::tid, null::tid;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    update pg_temp.etl_columns set lenient = true where kind = 'integer';
    perform etl.isolate(target, 'etl_typed', etl.fill(template, places || jsonb_build_object(
      'typed', etl.typed_cells(with_length => false, of_rejected => of_rejected)
    )));
  end;
end
$$;
comment on function etl.read_keys(regclass, boolean) is
  'Fills etl_typed with the keys of the staged records, or of those alone that are rejected and could be split; with
nulls where a key is no value of its type.';

create or replace function etl.add_keys(target regclass, step text, staged text, place text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_keys (etl$place, {key})
    select s.{place}, {values}
    from pg_temp.etl_typed k
    join {step} s on s.{staged} = k.etl$staged
    where {present}
    $sql$,
    jsonb_build_object(
      'step', step, 'staged', staged, 'place', place,
      'key', etl.each(etl.key_of(target), '{column}'), 'values', etl.each(etl.key_of(target), 'k.{column}'),
      'present', etl.each(etl.key_of(target), 'k.{column} is not null', ' and ')
    )
  );
end
$$;
comment on function etl.add_keys(regclass, text, text, text) is
  'Adds to etl_keys what etl.read_keys() has read; the place is a column of this table, where staged is a record''s
ctid.';

create or replace function etl.add_retries(feed etl.feeds, target regclass, as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  earlier bigint := (select count(*) from pg_temp.etl_retries);
begin
  if earlier = 0 and etl.rejected_count() = 0 then
    return;
  end if;
  if earlier = 0 then
    perform etl.shape_keys(target);
  end if;
  perform etl.find_faults(feed);
  perform etl.set_date_order(feed);
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_retries (
      place, etl$staged, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name,
      faults
    )
    select
      $1 + n.record_number, r.etl$staged, n.record_number, {nulls} || {record}, {raw}, $2,
      r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
    join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
      on n.ctid = r.etl$staged
    join pg_temp.etl_staging s on s.ctid = r.etl$staged
    $sql$,
    case
      when as_json then jsonb_build_object('record', 'etl.exact(s.record, r.raw)', 'raw', etl.rejected_json() ->> 'raw')
      else etl.rejected_csv()
    end || jsonb_build_object(
      -- What an object lacks and others of its file have is null; alone it would be left as it is.
      'nulls', quote_literal(coalesce(
        (select jsonb_object_agg(c.source, null) from pg_temp.etl_columns c where c.name is not null), '{}'
      )) || '::jsonb'
    )
  ) using earlier, as_json;
  -- The same records once more are the same rejects, the last ones first: of a key the last is left. So the same file
  -- once more writes nothing.
  with numbered as (
    select
      w.place, w.id, w.etl$staged, w.as_json, t.text, w.raw is null as is_split,
      row_number() over (
        partition by w.id is null, w.as_json, t.text, w.raw is null order by w.place desc
      ) as nth
    from pg_temp.etl_retries w
    -- A JSON element stands after whatever blanks.
    cross join lateral (
      select coalesce(case when w.as_json then btrim(w.raw, e' \t\r\n') else w.raw end, w.record::text) as text
    ) t
  ), renewed as (
    delete from pg_temp.etl_retries w
    using numbered new, numbered old
    where w.place = new.place and new.id is null and old.id is not null
      and row(old.as_json, old.text, old.is_split, old.nth) = row(new.as_json, new.text, new.is_split, new.nth)
    returning old.place as old_place, w.*
  )
  update pg_temp.etl_retries w
  set etl$staged = r.etl$staged, column_name = r.column_name, value = r.value, reason = r.reason,
    sqlstate = r.sqlstate, constraint_name = r.constraint_name, faults = r.faults
  from renewed r
  where w.place = r.old_place;
  if exists (select from pg_temp.etl_retries w where w.id is null) then
    perform etl.read_keys(target, of_rejected => true);
    perform etl.add_keys(target, '(select * from pg_temp.etl_retries where id is null)', 'etl$staged', 'place');
  end if;
  perform etl.supersede_loaded(target);
  perform etl.supersede(target);
  perform etl.renew_retries(target);
end
$$;
comment on function etl.add_retries(etl.feeds, regclass, boolean) is
  'Adds what is rejected of the new file to etl_retries, and finds out which of all that waits is superseded.';

create or replace function etl.renew_retries(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_retries (place, id, record_number, fate)
    select
      row_number() over () + (select max(place) from pg_temp.etl_retries), w.id, n.record_number, 'renewed'
    from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
    join pg_temp.etl_retries w on w.etl$staged = n.ctid
    where w.id is not null and w.fate is null
      and exists (
        select
        from pg_temp.etl_keys k
        join pg_temp.etl_keys o on {same_key}
        join pg_temp.etl_retries older on older.place = o.etl$place
        where k.etl$place = w.place and older.fate is null
          and coalesce(older.etl$staged, '(0,0)') < w.etl$staged
          and (older.id is null or older.place > w.place)
      )
    $sql$,
    jsonb_build_object('same_key', etl.same_key(target, 'k', 'o'))
  );
  update pg_temp.etl_retries w
  set id = null, record_number = renewed.record_number
  from pg_temp.etl_retries renewed
  where renewed.fate = 'renewed' and w.id = renewed.id and w.fate is null;
end
$$;
comment on function etl.renew_retries(regclass) is
  'Has a reject that comes once more, and now behind another one of its key, wait anew, as the newer of the two: else
the next run would take it for the older.';

create or replace function etl.exact(record text, raw text)
returns jsonb
language sql immutable
set search_path = ''
as $$
  select case when raw is null and pg_input_is_valid(record, 'jsonb') then (
    select coalesce(
      jsonb_object_agg(e.key, case
        when json_typeof(e.value) = 'number' and e.value::text ~ '[eE]|^-0' then to_jsonb(e.value::text)
        else e.value::jsonb
      end),
      '{}'
    )
    from json_each(record::json) e
  ) end
$$;
comment on function etl.exact(text, text) is
  'A JSON record that waits, null where it was not readable: what jsonb would spell otherwise, as 1e2, becomes a text.';

create or replace function etl.supersede_loaded(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if etl.key_of(target) <@ etl.carried_columns() then
    execute etl.fill(
      $sql$
      update pg_temp.etl_retries w
      set fate = 'superseded'
      from pg_temp.etl_keys k
      join ({loaded}) n on {same_key}
      where w.place = k.etl$place and n.etl$staged > coalesce(w.etl$staged, '(0,0)')
      $sql$,
      jsonb_build_object(
        'same_key', etl.same_key(target, 'k', 'n'), 'loaded', etl.typed_cells(with_length => true)
      )
    );
  end if;
end
$$;
comment on function etl.supersede_loaded(regclass) is
  'Marks what waits as superseded where the new file holds a good record of its key: a later one, or any where the
reject is of an earlier file.';

create or replace function etl.supersede(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    update pg_temp.etl_retries w
    set fate = 'superseded'
    from pg_temp.etl_keys k
    join pg_temp.etl_keys n on {same_key}
    join pg_temp.etl_retries newer on newer.place = n.etl$place
    where w.place = k.etl$place and w.fate is null
      and row(coalesce(newer.etl$staged, '(0,0)'), newer.place) > row(coalesce(w.etl$staged, '(0,0)'), w.place)
      -- As within a file: a newer record that is bad by itself is none that could take the older one's place.
      and (
        newer.fate = 'loaded'
        or etl.may_heal(newer.sqlstate, newer.reason) or not etl.may_heal(w.sqlstate, w.reason)
      )
    $sql$,
    jsonb_build_object('same_key', etl.same_key(target, 'k', 'n'))
  );
end
$$;
comment on function etl.supersede(regclass) is
  'Marks what waits as superseded where a newer record of its key has loaded from among the rejects, or waits as well;
but what may heal stays beside a newer one that may not.';

create or replace function etl.try_retries(
  feed etl.feeds, target regclass, run uuid, new_records bigint,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint
)
language plpgsql
set search_path = ''
as $$
declare
  alike record;
  part record;
  staged bigint;
  goes_on boolean;
begin
  -- Of earlier files what can be tried is read once more.
  select
    count(*) filter (where w.etl$staged is null and w.record is not null), 0, 0, 0, 0,
    coalesce(bool_or(w.etl$staged is null and w.record is not null and w.fate is null), false)
  into read, inserted, updated, unchanged, duplicate, goes_on
  from pg_temp.etl_retries w;
  if goes_on then
    perform etl.find_sources(feed);
  end if;
  while goes_on loop
    goes_on := false;
    for alike in
      select distinct w.as_json, w.sources
      from pg_temp.etl_retries w
      where w.record is not null and w.fate is null
      order by w.as_json, w.sources
    loop
      if etl.stage_retries(feed, alike.as_json, alike.sources, etl.is_empty(target)) then
        select count(*) into staged from pg_temp.etl_staging;
        select m.* into part from etl.merge_staged(feed, target, run, staged, has_limit => false) m;
        inserted := inserted + part.inserted;
        updated := updated + part.updated;
        unchanged := unchanged + part.unchanged;
        duplicate := duplicate + part.duplicate;
        perform etl.find_faults(feed);
        -- What has loaded may be what another one lacks.
        goes_on := etl.judge_retries() or goes_on;
        perform etl.supersede(target);
      end if;
      alter table pg_temp.etl_staging rename to etl_again;
    end loop;
  end loop;
  select
    count(*) filter (where w.fate is null and (w.etl$staged is not null or w.record is not null)),
    duplicate + count(*) filter (where w.fate = 'superseded')
  into rejected, duplicate
  from pg_temp.etl_retries w;
  perform etl.check_new_rejects(feed, new_records);
end
$$;
comment on function etl.try_retries(etl.feeds, regclass, uuid, bigint) is
  'Tries what waits, until nothing more of it loads, where any of it is of an earlier file: what is new has just been
tried. Returns what is to be added to the counts of the new file, and how many records are rejected in all; the
superseded ones are duplicates. Raises ETL06 where too many of the new file''s records are rejected.';

create or replace function etl.judge_retries()
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_retries w
  set column_name = r.column_name, value = r.value, reason = r.reason, sqlstate = r.sqlstate,
    constraint_name = r.constraint_name, faults = r.faults
  from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
  join pg_temp.etl_staging s on s.ctid = r.etl$staged
  where w.place = s.etl$place;
  update pg_temp.etl_retries w
  set fate = 'loaded'
  from pg_temp.etl_staging s
  where w.place = s.etl$place
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid);
  return found;
end
$$;
comment on function etl.judge_retries() is
  'Notes in etl_retries what became of the records that were tried; returns whether any has loaded.';

create or replace function etl.check_new_rejects(feed etl.feeds, new_records bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  listed constant text := $sql$
    select w.* from pg_temp.etl_retries w where w.etl$staged is not null and w.fate is null
  $sql$;
  rejected bigint := (
    select count(*) from pg_temp.etl_retries w where w.etl$staged is not null and w.fate is null
  );
begin
  if rejected > feed.reject_limit * new_records then
    perform etl.raise_limit(feed, rejected, new_records, is_least => false, listed => listed, has_faults => true);
  end if;
end
$$;
comment on function etl.check_new_rejects(etl.feeds, bigint) is
  'Raises ETL06 where more of the new file''s records are rejected than the feed''s limit. What waited before does not
count.';

create or replace function etl.keep_waited(feed etl.feeds, target regclass, run uuid)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
as $$
begin
  if feed.history is null or not exists (
    select from pg_temp.etl_retries w where w.id is not null and w.fate in ('loaded', 'superseded')
  ) then
    return;
  end if;
  execute etl.fill(
    $sql$
    update etl.changes c
    set waited = l.waited
    from (
      select o.number, jsonb_agg(to_jsonb(r) order by w.place) as waited
      from (select c.number, {typed} from etl.changes c where c.feed = $1 and c.at = now() and c.run = $2 offset 0) o
      join pg_temp.etl_keys k on {same_key}
      join pg_temp.etl_retries w on w.place = k.etl$place
      join etl.rejects r on r.id = w.id
      where w.fate in ('loaded', 'superseded')
      group by o.number
    ) l
    where c.feed = $1 and c.at = now() and c.run = $2 and c.number = l.number
    $sql$,
    jsonb_build_object(
      'typed', etl.typed_image(target, 'c.key', etl.key_of(target)), 'same_key', etl.same_key(target, 'o', 'k')
    )
  ) using feed.name, run;
end
$$;
comment on function etl.keep_waited(etl.feeds, regclass, uuid) is
  'Where the feed keeps a history, keeps beside each row that the run changed the rejects of its key that waited, and
have left: for etl.undo().';

create or replace function etl.keep_retries(feed etl.feeds, run uuid)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  with gone as (
    delete from etl.rejects r
    where r.feed = keep_retries.feed.name and (
      r.record_number is null or r.id in (select w.id from pg_temp.etl_retries w where w.fate is not null)
    )
    returning 1
  ), rewritten as (
    update etl.rejects r
    set column_name = w.column_name, value = w.value, reason = w.reason, sqlstate = w.sqlstate,
      constraint_name = w.constraint_name, faults = w.faults, last_run = keep_retries.run
    from pg_temp.etl_retries w
    where r.id = w.id and w.fate is null
      and row(r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults)
        is distinct from row(w.column_name, w.value, w.reason, w.sqlstate, w.constraint_name, w.faults)
    returning 1
  ), written as (
    insert into etl.rejects (
      feed, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name, faults,
      first_run, last_run
    )
    select
      keep_retries.feed.name, w.record_number, w.record, w.raw, w.as_json, w.column_name, w.value, w.reason, w.sqlstate,
      w.constraint_name, w.faults, run, run
    from pg_temp.etl_retries w
    where w.id is null and w.fate is null
    returning 1
  )
  select exists (table gone) or exists (table rewritten) or exists (table written)
  into is_written;
  return is_written;
end
$$;
comment on function etl.keep_retries(etl.feeds, uuid) is
  'Makes etl.rejects what waits now, writing only what is new, other or gone; returns whether anything was.';

revoke all on all functions in schema etl from public;

-- supabase/sql/rules.sql
-- What a record breaks by itself: NOT NULL, CHECK, the header once more. Then the rows that its keys leave, made whole.

create or replace function etl.validate_rows(target regclass, has_header boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rules jsonb;
  first_broken text;
  value text;
  offenders bigint;
begin
  select
    jsonb_agg(to_jsonb(r)),
    'case ' || string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) || ' end',
    'case bad.rule ' || string_agg(
      format('when %s then %s', r.rule, etl.value_of('pg_temp.etl_typed', 't', r.column_name)), ' '
    ) || ' end'
  into rules, first_broken, value
  from (
    select row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
    from (
      select c.attnum as place, c.name::text as column_name,
        -- Of a composite NOT NULL takes one of nulls; but a key with a null in it is found by no join.
        format(case
          when t.typtype <> 'c' then '%I is null'
          when c.name = any (etl.key_of(target)) then '(%I is not null) is not true'
          else 'num_nulls(%I) = 1'
        end, c.name) as broken,
        'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
      from pg_temp.etl_columns c
      join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
      join pg_catalog.pg_type t on t.oid = etl.base_type(a.atttypid)
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
        null, null, string_agg(format('%I::text = %L collate "C"', c.name, c.source), ' and ')
          -- Where the feed's row has the names, the partner may begin to send such a line, as the first one.
          || case when has_header then '' else $sql$ and etl$staged = '(0,1)'$sql$ end,
        'repeats the header line', '22P04', null
      from pg_temp.etl_columns c
      where c.name is not null and c.stored
      having not etl.is_staged_json()
    ) r
  ) r;
  offenders := etl.execute_on(
    target, 'etl_typed',
    etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select bad.etl$staged, r.column_name, bad.value, r.reason, r.sqlstate, r.constraint_name
      from (
        select t.etl$staged, bad.rule, {value} as value
        from pg_temp.etl_typed t
        cross join lateral (select {first_broken} as rule) bad
        where bad.rule is not null
      ) bad
      join jsonb_to_recordset({rules}) as r(
        rule int, column_name text, reason text, sqlstate text, constraint_name text
      ) using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken, 'value', value, 'rules', quote_literal(rules))
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl$staged between $1 and $2$sql$,
      jsonb_build_object('first_broken', first_broken)
    )
  );
  perform etl.remove_rejected('etl_typed', offenders);
end
$$;
comment on function etl.validate_rows(regclass, boolean) is
  'Rejects what breaks NOT NULL, a CHECK of carried columns, or is the header line once more. has_header: whether the
file has such a line; where the feed''s row names its columns, its first record alone may be one.';

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
        'default', case when a.attidentity = '' and not d.is_volatile then d.value else 'null' end
      )),
      ', '
    ) filter (where a.attgenerated = ''),
    string_agg(d.value || ' as ' || quote_ident(a.attname), ', ') filter (where a.attgenerated <> ''),
    string_agg(quote_ident(a.attname), ', ')
  into kept, generated, kept_names
  from pg_catalog.pg_attribute a
  cross join lateral (
    select coalesce(d.value, 'null') as value, d.is_volatile from etl.default_of(target, a.attnum) d
  ) d
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
      select format('%I %s', a.attname, etl.step_type(target, a.attnum))
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
      and a.attidentity = '' and (etl.default_of(target, a.attnum)).value is null and etl.is_required(target, a.attnum)
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
      -- Of the row as a whole, or of where it is stored, the write alone can be asked.
      and 0 < all (k.conkey)
    order by k.conname
  loop
    places := jsonb_build_object(
      'holds', rule.holds, 'column_name', quote_nullable(rule.column_name),
      'value', etl.value_of('pg_temp.etl_delta', 'd', rule.column_name),
      'reason', quote_literal('breaks the rule ' || rule.definition), 'constraint_name', quote_literal(rule.conname)
    );
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl$staged, {column_name}, {value}, {reason}, '23514', {constraint_name}
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

-- supabase/sql/spelling.sql
-- How a cell is spelled for the input of its column's type, and what is refused although that would take it.

create or replace function etl.set_date_order(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform set_config('datestyle', 'ISO, ' || coalesce(upper(feed.date_order), 'YMD'), true);
end
$$;
comment on function etl.set_date_order(etl.feeds) is 'Has dates read as the feed writes them, until the merge ends.';

create or replace function etl.plain_kind_of(type oid)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    when type in ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) then 'integer'
    when type in ('numeric'::regtype, 'real'::regtype, 'double precision'::regtype) then 'number'
    when type = 'money'::regtype then 'money'
    when type in ('date'::regtype, 'timestamp'::regtype) then 'day'
    when type = 'timestamptz'::regtype then 'zoned day'
    when type = 'time'::regtype then 'time'
    when type = 'timetz'::regtype then 'zoned time'
    when type = 'interval'::regtype then 'span'
    when type = 'name'::regtype then 'name'
    when type = '"char"'::regtype then 'byte'
    when type = any ('{
      oid,oidvector,xid,xid8,cid,regclass,regcollation,regconfig,regdictionary,regnamespace,regoper,regoperator,regproc,
      regprocedure,regrole,regtype
    }'::regtype[]) then 'oid'
  end
$$;
comment on function etl.plain_kind_of(oid) is
  'What there is to know of a type that holds no other, for the spelling of its values: integer, number, money, day (a
date, with a time or without), time, the same zoned, span (an interval), name (a text that is cut at 63 bytes), byte (a
text that is cut at one), oid; null of all others.';

create or replace function etl.kind_of(type oid)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(
    etl.plain_kind_of(type),
    (
      with recursive held as (
        select type as oid
        union
        select part.oid
        from held h
        join pg_catalog.pg_type t on t.oid = h.oid
        cross join lateral (
          select t.typelem where t.typcategory = 'A' and etl.plain_kind_of(t.oid) is null
          union all
          select t.typbasetype where t.typtype = 'd'
          union all
          select r.rngsubtype from pg_catalog.pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
          union all
          select a.atttypid
          from pg_catalog.pg_attribute a
          where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        ) part(oid)
      ), found as (
        select
          array_agg(k.kind) filter (where k.kind is not null) as kinds,
          bool_or(t.typtype = 'c') or not coalesce(bool_and(k.kind in ('integer', 'number')), true) as is_mixed
        from held h
        join pg_catalog.pg_type t on t.oid = h.oid
        cross join etl.plain_kind_of(t.oid) as k(kind)
      )
      select case
        when f.kinds && '{day,zoned day}' then 'days:' || type
        when f.kinds && '{time,zoned time,span}' then 'times:' || type
        when f.is_mixed and f.kinds <@ '{integer,number}' then 'fields:' || type
        when f.is_mixed then 'parts:' || type
        else 'numbers'
      end
      from found f
      where f.kinds is not null
    ),
    'other'
  );
end
$$;
comment on function etl.kind_of(oid) is
  'What there is to know of a type, no domain, for the spelling of its values: as etl.plain_kind_of() says; numbers for
arrays and ranges of numbers; for all else that holds such values days where one is a day, times where one is a time or
a span, and parts, each with a colon and the type; other.';

create or replace function etl.rules_of_parts(feed etl.feeds)
returns jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  has_comma boolean := feed.decimal_comma;
begin
  -- Between parts no comma can be one of a fraction; and Postgres reads 1.234 with a point.
  feed.decimal_comma := false;
  return (
    select jsonb_build_object(
      'fields', case when not has_comma then '^(?:[^0-9_]|[1-9][0-9]*|0(?![0-9xob]))*$' end,
      'days', replace('^(?:[][(){},"\\ ]|null|empty|{day})*$', '{day}', etl.usual_day())
    ) || jsonb_object_agg(k.kind, jsonb_build_object(
      'refused', concat_ws(
        '|', etl.refused_of(k.kind, feed),
        case when has_comma and k.kind in ('integer', 'number', 'money') then '[.,]' end
      ),
      'forms', to_jsonb(etl.forms_of(k.kind, feed))
    ))
    from unnest('{integer,number,money,day,zoned day,time,zoned time,span,name,byte,oid}'::text[]) k(kind)
  );
end
$$;
comment on function etl.rules_of_parts(etl.feeds) is
  'By kind, as etl.plain_kind_of() says, what is refused and what the forms are of a value inside another one.';

create or replace function etl.refused_of(kind text, feed etl.feeds)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when strpos(kind, ':') > 0 then etl.rules_of_parts(feed)::text
    -- Literals of SQL: 1_000, 0x0C.
    when kind in ('integer', 'number') then '_|0[xob]'
    -- Between the elements of an array no comma can be one of a fraction.
    when kind = 'numbers' then '_|0[xob]' || case when feed.decimal_comma then '|\.' else '' end
    -- A locale in which the point groups thousands, or there are no cents.
    when kind = 'money' and '1.23'::money::numeric <> 1.23 then '[.,]'
    when kind in ('zoned day', 'zoned time') then concat_ws(
      '|', etl.zone_among(etl.doubtful_zones(feed.time_zone)),
      case when kind = 'zoned time' and etl.has_summer(feed.time_zone) then etl.time_without_zone() end
    )
    -- To Postgres 010 is 8 here.
    when kind = 'oid' then '(?:^|\s)[-+]?0[\dxob]'
    when kind = 'byte' then '..|[^\u0001-\u007f]'
  end;
end
$$;
comment on function etl.refused_of(text, etl.feeds) is
  'A regular expression for what the input of a type would take, and a load does not; null where that is nothing. Of
what holds other values the rules for these, as etl.rules_of_parts() has them.';

create or replace function etl.forms_of(kind text, feed etl.feeds)
returns text[]
language sql stable
set search_path = ''
as $$
  select case
    when kind in ('day', 'zoned day') then etl.alone(etl.day_forms(feed.date_order))
    when kind in ('time', 'zoned time') then etl.alone(etl.time_forms())
    when kind = 'span' then etl.alone(etl.span_forms())
    when kind in ('integer', 'number') and feed.decimal_comma
      then etl.alone(array['[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d*)?(e[-+]?\d+)?'])
    when kind = 'money' then (
      select etl.alone(array['[-+]?\s*\$?\s*' || amount, '\$\s*[-+]?\s*' || amount, '\(\s*\$?\s*' || amount || '\s*\)'])
      from (
        select case when feed.decimal_comma
          then '(\d{1,3}(\.\d{3})+|\d+)(,\d*)?' else '(\d{1,3}(,\d{3})+|\d+)(\.\d*)?'
        end as amount
      ) m
    )
  end
$$;
comment on function etl.forms_of(text, etl.feeds) is
  'Regular expressions for what is read of a kind, where the input of its types takes so much more than anybody writes
that this is said and not what is refused; null where the type''s input decides. Each is small, for a large one is dear
for each cell. With a decimal comma a point stands between thousands.';

create or replace function etl.alone(forms text[])
returns text[]
language sql immutable
set search_path = ''
as $$
  select array_agg(format('^\s*(?:%s)\s*$', f.form) order by f.place)
  from unnest(forms) with ordinality as f(form, place)
$$;
comment on function etl.alone(text[]) is 'Regular expressions for what is nothing but this, blanks around it apart.';

create or replace function etl.day_forms(date_order text)
returns text[]
language sql immutable
set search_path = ''
as $$
  select array_agg(etl.fill(f.form, p.places) order by f.place)
  from (
    select jsonb_build_object(
      'first', '(?:[a-z]+\.?,?\s+)?(?:\d\d?:\d\d(?::\d\d)?\s+)?', 'month', '[-/., ]*[a-z]+[-/., ]*',
      'middle', '(?:-\d\d?-|/\d\d?/|\.\d\d?\.| \d\d? )',
      'leap', '(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)',
      'time', format('(?:(?:,?\s+(?:at\s+)?|[,:])%s|\s*t\s*%s)?', etl.clock_forms(false), etl.clock_forms(true))
    ) as places
  ) p
  cross join (
    values
      -- The most usual ones.
      (1, 'dmy,mdy', '\d\d?[-/.]\d\d?[-/.]\d{4}(?: \d\d?:\d\d(?::\d\d)?)?'),
      (2, null, '\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[-+]\d\d(?::?\d\d)?)?'),
      (3, 'dmy,mdy', '{first}\d\d?{middle}(?:\d{4}|\d\d)\.?{time}'),
      -- With the name of a month: Postgres knows which words are one.
      (4, 'dmy,mdy', '{first}(?:\d\d?{month}''?\d\d|[a-z]+[-/., ]*\d\d?[-/., ]+''?\d\d){time}'),
      (5, 'ymd', '(?:\d\d{middle}\d\d?|\d\d{month}\d\d?){time}'),
      -- Six digits Postgres reads so, whatever the date style.
      (6, 'ymd', '\d{6}{time}'),
      (7, null, '\d{4}{middle}\d\d?\.?(?:{time}|z|\+\d\d:\d\d|\s*(?:ad|bc))'),
      (8, null, '\d{8}(?:{time}|\s+\d{4}(?:\d\d)?)'),
      (9, null, '{first}(?:\d\d?{month}\d{4}|[a-z]+[-/., ]*\d\d?[-/., ]+\d{4}|\d{4}{month}\d\d?){time}'),
      -- As date prints it, and Twitter: Thu Jul 1 10:00:00 UTC 2021
      (10, null, '[a-z]+\s+[a-z]+\s+\d\d?\s+\d\d?:\d\d:\d\d(?:\s+[a-z]+|\s+[-+]\d{4})?\s+\d{4}'),
      -- The days of a year, of which Postgres counts on into the next one. A leap year has one more.
      (11, null, '\d{4}-(?:00[1-9]|0[1-9]\d|[12]\d\d|3[0-5]\d|36[0-5])|{leap}-366')
  ) f(place, orders, form)
  where f.orders is null or date_order = any (string_to_array(f.orders, ','))
$$;
comment on function etl.day_forms(text) is
  'Regular expressions for a date, with a time or without, of one meaning in this order of dates; null: of one meaning
in any.';

create or replace function etl.time_forms()
returns text[]
language sql immutable
set search_path = ''
as $$
  select array[
    '\d\d?:\d\d(?::\d\d(?:\.\d*)?)?', '(?:\d{4}-\d\d?-\d\d?(?:\s+|\s*t\s*)|t)?' || etl.clock_forms(false),
    't?\d{4}(?:\d\d)?'
  ]
$$;
comment on function etl.time_forms() is 'Regular expressions for a time of day, with a date before it or without.';

create or replace function etl.span_forms()
returns text[]
language sql immutable
set search_path = ''
as $$
  select array_agg(
    etl.fill(f.form, jsonb_build_object(
      'number', '(?:\d+(?:\.\d*)?|\.\d+)', 'unit', '[a-z]+\.?', 'clock', '\d+:\d\d?(?::\d\d?(?:\.\d*)?)?'
    ))
    order by f.place
  )
  from (
    values
      -- 90, 1:30, 1 12:59:10
      (1, '[-+]?{number}|(?:[-+]?\d+\s+)?[-+]?{clock}(?:\s+ago)?'),
      -- 1 day -2 hours, 1h30m, 3 days 04:05:06, @ 5 min ago
      (
        2, '(?:@\s*)?[-+]?\s*{number}\s*{unit}(?:(?:[,;\s]+[-+]|[,;\s]*){number}\s*{unit})*(?:[,;\s]+[-+]?{clock})?'
          '(?:\s+ago)?'
      ),
      -- As SQL has years and months: 1-2, 1-2 3 4:05:06
      (3, '[-+]?\d+-\d+(?:\s+(?:[-+]?\d+\s+)?[-+]?{clock})?'),
      -- As ISO 8601 has it.
      (4, 'p(?:[-+]?{number}[ymwd])*(?:t(?:[-+]?{number}[hms])+)?'),
      (5, 'p\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(?:\.\d*)?')
  ) f(place, form)
$$;
comment on function etl.span_forms() is 'Regular expressions for a span of time of one meaning.';

create or replace function etl.clock_forms(is_exact boolean)
returns text
language sql immutable
set search_path = ''
as $$
  select etl.fill(
    case when is_exact
      then '(?:\d\d?:\d\d(?::\d\d(?:\.\d*)?)?|\d{4}(?:\d\d(?:\.\d+)?)?)(?:\s*(?:{zone}|{west}))?'
      -- 09:00 -12:00 may end at noon.
      else '\d\d?:\d\d(?:(?::\d\d(?:\.\d*)?)?(?:\s*[ap]m)?(?:\s*{zone})?|:\d\d(?:\.\d*)?(?:\s*[ap]m)?\s*{west})'
    end,
    jsonb_build_object(
      'west', '-\d\d?(?::?\d\d)?',
      -- UTC+2 is west of Greenwich to POSIX, and so to Postgres, and east of it to all others.
      'zone', '(?:\+\d\d?(?::?\d\d)?|-\d{4}|[a-z]+(?:[-/_][a-z]+)*|[ecmp]st[5-8][ecmp]dt|etc/gmt[-+]?\d\d?)'
    )
  )
$$;
comment on function etl.clock_forms(boolean) is
  'A regular expression for a time of day, with a zone or without; is_exact: behind a T, where 1005 is one.';

create or replace function etl.signed_zone()
returns text
language sql immutable
set search_path = ''
as $$
  select ':\d\d\S*\s*(?:[ap]m\s*)?\(?(?!etc/)[a-z/_]+\s*[-+]\s*\d'
$$;
comment on function etl.signed_zone() is
  'A regular expression for a time with a zone such as UTC+2, which some take for two hours east, some for west.';

create or replace function etl.unordered_date()
returns text
language sql immutable
set search_path = ''
as $$
  select concat_ws(
    '|',
    -- 3/4/24, 3 4 24
    '(?<![-/.\d])\d{1,2}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)', '^\s*\d{1,2}\s+\d{1,2}\s+\d{1,2}(?![\d:])',
    -- 240403
    '(?:^|[{[(,"])\s*\d{6}(?!\d)',
    -- 3-Apr-24
    '(?<!\d)\d{1,2}[-/., ]*' || month.names || '[-/., '']*\d{1,2}(?![\d:])',
    -- Apr 3, '24
    month.names || '[-/., ]*\d{1,2}[-/., '']+\d{1,2}(?![\d:])'
  )
  from (
    select '(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*' as names
  ) month
$$;
comment on function etl.unordered_date() is
  'A regular expression for dates without a year of four digits, which Postgres reads as the date style has it.';

create or replace function etl.usual_form(cell text, kind text, decimal_comma boolean, lenient boolean)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  return case
    -- Where these signs are, and two digits at least between any two signs, all else is a digit. A regular expression
    -- that says it alone is four times as dear: it has a state for each place.
    when kind in ('day', 'zoned day') then replace(
      $sql$
      case octet_length({cell})
        when 24 then {cell} collate "C" like '20__-__-__T__:__:__.___Z'
        when 20 then {cell} collate "C" like '20__-__-__T__:__:__Z'
        when 19 then {cell} collate "C" like '20__-__-__ __:__:__' or {cell} collate "C" like '20__-__-__T__:__:__'
        when 10 then {cell} collate "C" like '20__-__-__' or {cell} collate "C" like '19__-__-__'
        when 22 then {cell} collate "C" like '20__-__-__ __:__:__+__'
        else false
      end
        and {cell} collate "C" !~ '[^0-9][0-9]?[^0-9]'
      $sql$,
      '{cell}', cell
    )
    -- Behind 0z are those that begin with 1 to 9, behind -1 those of them that are negative.
    when kind in ('integer', 'number') and not decimal_comma and not lenient then replace(
      $sql$
      {cell} collate "C" not like '%\_%'
        and (
          {cell} collate "C" > '0z' or {cell} collate "C" < '0A' and {cell} collate "C" >= '0'
            or {cell} collate "C" < '-:' and {cell} collate "C" >= '-1'
        )
      $sql$,
      '{cell}', cell
    )
  end;
end
$$;
comment on function etl.usual_form(text, text, boolean, boolean) is
  'SQL text: whether a cell (SQL text, too) is spelled so usually that nothing of it is refused, which is much cheaper
to ask than a regular expression; null where nothing is cheaper.';

create or replace function etl.refused_cell(
  cell text, kind text, refused text, forms text[], decimal_comma boolean, lenient boolean
)
returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  usual text := etl.usual_form(cell, kind, decimal_comma, lenient);
  is_refused text := concat_ws(
    ' or ', cell || ' ~* ' || quote_literal(refused),
    cell || ' !~* all (' || quote_literal(forms::text) || '::text[])'
  );
begin
  return case
    when strpos(kind, ':') > 0 then format(
      'case when %1$s ~* %2$L then false else etl.has_refused_part(%1$s, %3$s, %4$L) end',
      cell, refused::jsonb ->> split_part(kind, ':', 1), split_part(kind, ':', 2), refused
    )
    when starts_with(kind, 'name') then format('octet_length(%s) > 63', cell)
    when coalesce(refused, forms::text) is null then 'false'
    when usual is null then is_refused
    else format('case when %s then false else %s end', usual, is_refused)
  end;
end
$$;
comment on function etl.refused_cell(text, text, text, text[], boolean, boolean) is
  'SQL text: whether a cell (SQL text, too) is refused, by etl_columns.refused and forms.';

create or replace function etl.is_refused(cell text, kind text, refused text, forms text[])
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when strpos(kind, ':') > 0 then etl.has_refused_part(cell, split_part(kind, ':', 2)::oid, refused::jsonb)
    when starts_with(kind, 'name') then octet_length(cell) > 63
    else cell ~* refused or cell !~* all (forms)
  end;
end
$$;
comment on function etl.is_refused(text, text, text, text[]) is
  'Whether a cell is refused, by etl_columns.refused and forms.';

create or replace function etl.refused_state(kind text)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    when starts_with(kind, 'name') or kind = 'byte' then '22001'
    when kind in ('integer', 'number', 'numbers', 'money', 'oid') or kind ~ '^(parts|fields):' then '22P02'
    else '22007'
  end
$$;
comment on function etl.refused_state(text) is
  'The SQLSTATE for a cell that is refused, whatever Postgres would make of it: that of a text which is no such value,
or is too long for it.';

create or replace function etl.spelled(cell text, kind text, nulls text[], decimal_comma boolean, lenient boolean)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  if cardinality(nulls) > 0 then
    cell := format('case when %s <> all (%L::text[]) then %1$s end', cell, nulls);
  end if;
  if kind in ('text', 'name') then
    return cell;
  end if;
  cell := format('nullif(%s, %L)', cell, '');
  if decimal_comma then
    cell := format('translate(%s, %L, %L)', cell, ',.', '.');
  end if;
  if lenient then
    cell := format('regexp_replace(%s, %L, %L)', cell, '(?<=\d)\.0+\s*$', '');
  end if;
  return cell;
end
$$;
comment on function etl.spelled(text, text, text[], boolean, boolean) is
  'SQL text: what a type''s input is given for a cell (SQL text, too). Null for a word that means it and, but for texts,
for an empty cell; the point for a decimal comma; lenient: 7 for 7.0.';

create or replace function etl.no_value(cell text)
returns text
language plpgsql immutable strict
set search_path = ''
as $$
begin
  raise exception 'a cell is refused' using errcode = 'invalid_datetime_format';
end
$$;
comment on function etl.no_value(text) is
  'Raises 22007, for a cell that a type''s input would take: see etl.refused_of().';

revoke all on all functions in schema etl from public;

-- supabase/sql/stage.sql
-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. All feeds of a run are staged, each in a table of its own, before the first is
-- merged. The steps of a merge hand each other temp tables, which are made once a run, but for the staged feeds:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file.
--                 Until its merge it is etl_staging_1, etl_staging_2, …, by the feed's place in the run
--   etl_columns   which source column feeds which column of the target; of JSON the column's other keys, too
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

create or replace function etl.stage(
  feed_name text, place int, header text[], delimiter text, quote text default '"'
)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  staging text := 'etl_staging_' || place;
  wide name[];
begin
  perform etl.target_of(feed);
  perform etl.check_time_zone(feed.time_zone);
  if header is null then
    if feed.decimal_comma then
      raise exception 'JSON writes its numbers with a point'
        using errcode = 'ETL11', hint = 'Set etl.feeds.decimal_comma to false.';
    end if;
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
  wide := etl.wide_cells(staging);
  if wide is not null then
    execute etl.fill(
      $sql$
      create or replace function pg_temp.{staging}() returns trigger language plpgsql set search_path = '' as $body$
      begin
        new.{first} := array[{cells}]::text;
        {emptied}
        return new;
      end
      $body$;
      create trigger etl_narrow before insert on pg_temp.{staging} for each row execute function pg_temp.{staging}();
      $sql$,
      jsonb_build_object(
        'staging', staging, 'first', wide[1], 'cells', etl.each(wide, 'new.{column}'),
        'emptied', (select string_agg(format('new.%I := null;', w.cell), ' ') from unnest(wide[2:]) w(cell))
      )
    );
  end if;
  return format('copy pg_temp.%s from stdin (format csv, delimiter %L, quote %L)', staging, delimiter, quote);
end
$$;
comment on function etl.stage(text, int, text[], text, text) is
  'Makes the staging table of the feed at this place in the run, counted from 1, for a CSV header or (header null)
for JSON, and returns the COPY statement that fills it. Takes no lock on the target, and so asks what the catalogs
tell: raises what etl.target_of(), etl.check_time_zone() and etl.check_columns() raise.';

create or replace function etl.wide_cells(staging text default 'etl_staging')
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(w.attname order by w.attnum)
  from (
    select a.attname, a.attnum
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.' || staging) and a.attnum > 0 and not a.attisdropped
      and a.atttypid = 'pg_catalog.text'::regtype
    order by a.attnum
    -- A row of up to 340 texts fits a page, for the long ones are kept elsewhere.
    offset 300
  ) w
$$;
comment on function etl.wide_cells(text) is
  'The columns of a staging table that a row would not have room for: the first of them holds the cells of all, as the
text of an array. Null where there is room.';

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
    type text, collate_clause text, base_type text, has_length boolean,
    kind text, nulls text[], decimal_comma boolean, refused text, forms text[], needs_order boolean, lenient boolean,
    others text[]
  ) on commit drop;
  create temp table if not exists etl_rejected (
    etl$staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text,
    faults jsonb
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

create or replace function etl.regclass_of(said text)
returns regclass
language plpgsql stable
set search_path = ''
as $$
begin
  return to_regclass(said);
exception when feature_not_supported or syntax_error or invalid_name or insufficient_privilege then
  return null;
end
$$;
comment on function etl.regclass_of(text) is
  'The table or view of that name, as etl.feeds.target has it; null where there is none, also where to_regclass()
raises: for three names and more, and for a schema that is closed to the role.';

create or replace function etl.target_of(feed etl.feeds)
returns regclass
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := etl.regclass_of(feed.target);
  closed name;
begin
  if target is null then
    select n.nspname into closed
    from pg_catalog.pg_namespace n
    where starts_with(replace(feed.target, '"', ''), n.nspname || '.') and not has_schema_privilege(n.oid, 'usage')
    limit 1;
    if closed is not null then
      raise exception 'the schema of its table % is closed to the role %', feed.target, current_user
        using errcode = 'insufficient_privilege',
          hint = format('Whoever owns it opens it: grant usage on schema %I to %I', closed, current_user);
    end if;
    raise exception 'its table % does not exist', feed.target
      using errcode = 'undefined_table', hint = case
        when etl.tables_called(feed.target) = '{}' then 'Create it in a migration, or correct etl.feeds.target.'
        else format(
          'There is %1$s. If that is meant: update etl.feeds set target = %1$L where name = %2$L',
          (etl.tables_called(feed.target))[1], feed.name
        )
      end;
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
  if feed.absent <> 'keep' then
    perform etl.check_absent(feed, target);
  end if;
  return target;
end
$$;
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, 42501 where its schema is closed to the role,
ETL04 where it is no table, has tables that inherit from it or a rule INSTEAD of a write, ETL02 where it has no primary
key, and what etl.check_absent() raises.';

create or replace function etl.is_inherited(parent regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select exists (
      select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = parent and not c.relispartition
    )
  );
end
$$;
comment on function etl.is_inherited(regclass) is
  'Whether tables inherit from it that are no partitions: their rows are seen in it, and its keys do not hold them.';

create or replace function etl.key_of(target regclass)
returns name[]
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select array_agg(a.attname order by k.position)
    from pg_catalog.pg_index i
    cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = target and i.indisprimary and k.position <= i.indnkeyatts
  );
end
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, kind, nulls, decimal_comma,
    refused, forms, needs_order, lenient
  )
  with loadable as materialized (
    select * from etl.loadable_columns(etl.target_of(feed))
  )
  select
    h.position, h.source,
    -- The first cell may hold the sentinel.
    c.name is not null or cardinality(header) <= 300 or h.position = 1,
    c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.kind, feed.nulls,
    feed.decimal_comma and c.kind in ('integer', 'number', 'money'), etl.refused_of(c.kind, feed),
    etl.forms_of(c.kind, feed), c.kind ~ '^(zoned )?day' and feed.date_order is null, false
  from unnest(header) with ordinality as h(source, position)
  -- A name is cut to 63 bytes, as Postgres cuts that of a column.
  left join loadable c on c.name = case
    when coalesce(feed.columns ->> h.source, h.source)::name in (select l.name from loadable l)
      then coalesce(feed.columns ->> h.source, h.source)::name
    else etl.wanted_column(feed, h.source)::name
  end;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have. Blanks around a name do not
count, unless the target has a column of just that name.';

create or replace function etl.wanted_column(feed etl.feeds, source text)
returns text
language sql immutable
set search_path = ''
as $$
  select coalesce(feed.columns ->> source, feed.columns ->> btrim(source, etl.blanks()), btrim(source, etl.blanks()))
$$;
comment on function etl.wanted_column(etl.feeds, text) is
  'The column that a name of the feed means: by etl.feeds.columns, else the name itself, without blanks around it.';

create or replace function etl.blanks()
returns text
language sql immutable
set search_path = ''
as $$
  select e' \t\n\x0b\f\r\u0085\u00a0\u00ad\u061c\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
    || e'\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d'
    || e'\u202e\u202f\u205f\u2060\u2066\u2067\u2068\u2069\u3000\ufe0e\ufe0f\ufeff'
$$;
comment on function etl.blanks() is
  'What cannot be seen around a name: the white space of Unicode, characters of no width, those that turn the direction
of a line, and the byte order mark.';

create or replace function etl.near_name(name text)
returns text
language sql stable
set search_path = ''
as $$
  select lower(translate(
    -- Elsewhere Postgres refuses to.
    case when getdatabaseencoding() = 'UTF8' then normalize(name) else name end, etl.blanks(), ''
  ))
$$;
comment on function etl.near_name(text) is
  'A name as it is compared with those that it may be meant for: without blanks, case, or how its accents are encoded.';

create or replace function etl.source_names()
returns table (place bigint, name text)
language sql stable
set search_path = ''
as $$
  select
    c.position,
    case
      when btrim(c.source, etl.blanks()) <> '' and c.nth = 1 then c.source
      else 'column ' || c.position || case
        when exists (select from pg_temp.etl_columns o where o.source = 'column ' || c.position) then ' (unnamed)'
        else ''
      end
    end
  from (
    select position, source, row_number() over (partition by source order by name is null, position) as nth
    from pg_temp.etl_columns
  ) c
$$;
comment on function etl.source_names() is
  'The feed''s columns under distinct names: one that has no name, or that of another, is named by its place.';

create or replace function etl.unplaced_columns()
returns text[]
language sql stable
set search_path = ''
as $$
  select array(
    select n.name
    from etl.source_names() n
    join pg_temp.etl_columns c on c.position = n.place
    where c.name is null and c.source is not null
    order by n.place
  )
$$;
comment on function etl.unplaced_columns() is
  'The feed''s columns that the target does not have; one without a name only where it holds something.';

create or replace function etl.empty_unnamed()
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_columns c
  set source = null
  where c.name is null and btrim(c.source, etl.blanks()) = '' and not etl.is_filled(c.position);
end
$$;
comment on function etl.empty_unnamed() is
  'Makes null the source of each column that has no name and in which no record has anything, as of one delimiter too
many.';

create or replace function etl.ignored_columns()
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  most constant int := 100;
  ignored text[] := array(select left(u.name, 100) from unnest(etl.unplaced_columns()) u(name));
begin
  if cardinality(ignored) > most then
    return ignored[:most] || format('… and %s more', cardinality(ignored) - most);
  end if;
  return ignored;
end
$$;
comment on function etl.ignored_columns() is
  'etl.unplaced_columns() for a report: a hundred at most, each of a hundred characters.';

create or replace function etl.is_filled(place bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_filled boolean := true;
begin
  -- A key of JSON may be empty, too.
  if exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || place
  ) then
    execute etl.fill(
      $sql$select exists (select from pg_temp.etl_staging s where s.{cell} is not null)$sql$,
      jsonb_build_object('cell', 'c' || place)
    ) into is_filled;
  end if;
  return is_filled;
end
$$;
comment on function etl.is_filled(bigint) is
  'Whether any record has something in the column at this place of the header.';

create or replace function etl.check_columns(feed etl.feeds, is_empty boolean, as_json boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
  mapping jsonb;
  total int;
  known int;
  names text;
  -- Whether they are names: where the file has no header line, one value may be a column's name by chance.
  may_tell boolean;
  advice text;
begin
  select string_agg(quote_ident(twice.name), ', ') into fault
  from (
    select c.name from pg_temp.etl_columns c where c.name is not null group by c.name having count(*) > 1
  ) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  -- What is near a column's name is a name. All else may be a value, where the file has no header line.
  select string_agg(format('%I for %I', near.source, near.name), ', '), jsonb_object_agg(near.source, near.name)
  into fault, mapping
  from (
    select distinct on (l.name) c.source, l.name
    from pg_temp.etl_columns c
    join etl.loadable_columns(target) l on etl.near_name(l.name) = etl.near_name(etl.wanted_column(feed, c.source))
    where c.name is null and not exists (select from pg_temp.etl_columns o where o.name = l.name)
    order by l.name, c.position
    limit 20
  ) near;
  if fault is not null then
    raise exception 'it spells a column otherwise than its table does: %', fault
      using errcode = 'ETL03', hint = format(
        'If it is the same: update etl.feeds set columns = columns || %L where name = %L; if not, map it to a name '
          'that its table does not have.', mapping, feed.name
      );
  end if;

  select count(*), count(c.name), string_agg(quote_ident(c.source), ', ' order by c.position) into total, known, names
  from pg_temp.etl_columns c;
  may_tell := known > 0 and known * 2 >= total;
  advice := case
    when may_tell then 'Where the feed spells a name differently, say so in etl.feeds.columns.'
    when as_json then
      'If its records stand deeper in it, say where in etl.feeds.records; else map its names in etl.feeds.columns.'
    when feed.header is not null then 'Correct the names in etl.feeds.header.'
    else 'If its first line is a record, name the columns in etl.feeds.header; if other lines stand above its '
      || 'header, say how many in etl.feeds.skip; else map its names in etl.feeds.columns.'
  end;
  if total > 0 and known = 0 then
    raise exception 'none of its % names is a column of %', total, feed.target
      using errcode = 'ETL03', hint = coalesce(etl.unmatched_told(feed, may_guess => false), advice);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    -- Without a required column the rows that are there can still be corrected.
    and (
      a.attname = any (etl.key_of(target))
      or (
        is_empty and a.attidentity = '' and (etl.default_of(target, a.attnum)).value is null
          and etl.is_required(target, a.attnum)
      )
    )
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, case
        when may_tell then left(names, 500)
        else format('%s names, and the table %s of them', total, known)
      end
      using errcode = 'ETL03', hint = coalesce(etl.unmatched_told(feed, may_guess => may_tell), advice);
  end if;
end
$$;
comment on function etl.check_columns(etl.feeds, boolean, boolean) is
  'Raises ETL03 where etl_columns names a column of the target twice, spells one otherwise, as etl.near_name() compares,
has none, or lacks the key or, where the target is empty, a NOT NULL column without default. as_json: they are the keys
of JSON records.';

create or replace function etl.loadable_columns(target regclass)
returns table (
  name name, attnum smallint, type text, collate_clause text, base_type text, has_length boolean, kind text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
    select
      a.attname, a.attnum, format_type(a.atttypid, a.atttypmod),
      case when a.attcollation <> t.typcollation then etl.collation_of(a.attcollation) else '' end,
      -- The fields of an interval say what is read: 1 as a day.
      format_type(
        base.oid, case when base.oid = any ('{interval,interval[]}'::regtype[]) then base.length else -1 end
      ),
      base.length <> -1,
      case
        when t.typcategory <> 'S' then etl.kind_of(base.oid)
        -- A null refers to nothing and is nobody's like, where an empty text would be one value more.
        when not a.attnotnull and etl.is_compared(target, a.attnum)
          then case when base.oid = 'name'::regtype then 'name code' else 'code' end
        else case when base.oid = 'name'::regtype then 'name' else 'text' end
      end
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_type t on t.oid = a.atttypid
    cross join lateral (
      with recursive chain as (
        select t.oid, t.typtype, t.typbasetype, t.typtypmod, a.atttypmod as length
        union all
        select b.oid, b.typtype, b.typbasetype, b.typtypmod, chain.typtypmod
        from chain
        join pg_catalog.pg_type b on b.oid = chain.typbasetype
        where chain.typtype = 'd'
      )
      select chain.oid, chain.length from chain where chain.typtype <> 'd'
    ) base
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      -- What the database alone decides could be inserted, but never updated.
      and (a.attidentity <> 'a' or a.attname = any (etl.key_of(target)));
end
$$;
comment on function etl.loadable_columns(regclass) is
  'The columns of a table that a feed can fill: their type in full; their collation, as SQL, where it is not the
type''s; the type beneath all domains, without length, unless that says how it is read; whether a length can change what
is assigned; and of what kind it is, as etl.kind_of() says, or text, or code: a text of which an empty one is null (name
and name code, where it is cut at 63 bytes).';

create or replace function etl.is_compared(target regclass, attnum smallint)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = target and c.contype = 'f' and c.conkey @> array[attnum]
    ) or exists (
      select from pg_catalog.pg_index i
      where i.indrelid = target and i.indisunique and attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    )
  );
end
$$;
comment on function etl.is_compared(regclass, smallint) is
  'Whether a column refers to another table by a key, or is in a unique index, INCLUDE apart.';

create or replace function etl.check_time_zone(zone text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
begin
  -- With a digit in it Postgres would take anything for a zone, and read its sign the other way round.
  if zone ~ '[0-9]' and lower(zone) not in (select lower(z.name) from pg_catalog.pg_timezone_names z) then
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

-- supabase/sql/undo.sql
-- Taking back what a run changed, as etl.changes has it. What is put back passes the same steps as a feed's records, of
-- rules.sql, relations.sql and write.sql; what is deleted those of absent.sql. A temp table more than these have:
--   etl_undo      what is to be taken back, by numbers in place of a staged record's ctid: with its key, and what has
--                 come of it

create or replace function etl.undo(of_run uuid, of_feed text)
returns table (outcome text, records bigint, reason text, keys jsonb)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
set lock_timeout = '30s'
as $$
declare
  feed etl.feeds := etl.feed_named(of_feed);
  target regclass := etl.claim_for_undo(of_run, of_feed);
  own_run constant uuid := gen_random_uuid();
  began constant timestamptz := clock_timestamp();
  caller_time_zone constant text := current_setting('timezone');
  step text;
  done bigint := 0;
  done_before bigint;
  waits_again bigint := 0;
  waits_on bigint;
begin
  -- What an undo changes can be seen and undone itself.
  feed.history := coalesce(feed.history, '1 day');
  feed.absent := 'delete';
  perform set_config('timezone', feed.time_zone, true);
  perform etl.find_undoable(feed, target, of_run);
  -- A row that goes may have had another's value, or referred to it; one that comes back may be another's parent.
  loop
    done_before := done;
    foreach step in array '{delete,update,insert}'::text[] loop
      done := done + etl.undo_step(feed, target, of_run, own_run, step);
    end loop;
    exit when done = done_before;
  end loop;
  perform set_config('timezone', caller_time_zone, true);
  if done > 0 then
    perform etl.enter_undo(feed, of_run, own_run, began);
    waits_again := etl.have_wait_again(feed, of_run, own_run);
  end if;
  select count(*) into waits_on
  from etl.rejects r
  where r.feed = of_feed and r.first_run = of_run and feed.contents = 'changes';
  return query
  select s.outcome, count(*), s.reason, jsonb_agg(s.key order by s.number) filter (where s.outcome = 'kept')
  from (
    select
      case
        when u.etl$fate = 'done' then case u.etl$step
          when 'delete' then 'deleted'
          when 'insert' then 'inserted again'
          else 'put back'
        end
        when u.etl$fate = 'as before' then 'as before'
        else 'kept'
      end as outcome,
      case when u.etl$fate = 'as before' then 'nothing to do' else u.etl$reason end as reason,
      u.etl$key as key, u.etl$number as number
    from pg_temp.etl_undo u
  ) s
  group by s.outcome, s.reason
  order by s.outcome = 'kept', s.outcome, s.reason;
  if not found then
    return query
    select
      'nothing', 0::bigint,
      format('nothing is kept of what run %s changed of %s: see etl.feeds.history', of_run, of_feed), null::jsonb;
  end if;
  if waits_again > 0 then
    return query
    select
      'waits again', waits_again, 'that run had loaded them, or a newer record, and they are tried with the next file',
      null::jsonb;
  end if;
  if waits_on > 0 then
    return query
    select
      'waits on', waits_on,
      format(
        'that run rejected them, and they are tried with the next file. If they are no good: '
          || 'delete from etl.rejects where feed = %L and first_run = %L;',
        of_feed, of_run
      ),
      null::jsonb;
  end if;
  if done > 0 then
    return query
    select
      'disabled', null::bigint,
      format(
        'the next file of %s would bring it back. Once that is mended: '
          || 'update etl.feeds set enabled = true where name = %L;',
        of_feed, of_feed
      ),
      null::jsonb;
  end if;
end
$$;
comment on function etl.undo(uuid, text) is
  'Takes back what a run changed of a feed: puts back what it updated where nobody has changed the row since, deletes
what it inserted where nothing refers to it, and inserts again what it deleted where the key is free and its parents are
there. Returns how many rows, and of those that are kept as they are their keys, by reason; of a feed of changes also
how many rejects wait again, and how many of that run wait on. Where anything was taken back, the feed is disabled,
health says so, its next load trusts no validator, and the undo is a run of its own in etl.runs and etl.changes. Raises
ETL01 for an unknown feed, ETL03 and ETL11 where its table is not what it was, and 55P03 while a run has the feed or its
table.';

create or replace function etl.claim_for_undo(of_run uuid, of_feed text)
returns regclass
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(of_feed);
  target regclass;
  written_to text;
  written name[];
  lost text;
  child regclass;
begin
  target := etl.target_of(feed);
  if exists (select from etl.claim_feeds(array[of_feed])) or not etl.claim_tables(of_feed) then
    raise exception 'a run has %, its table, or one that is tied to it by a key', of_feed
      using errcode = 'lock_not_available', hint = 'Wait until it ends, then call etl.undo() again.';
  end if;
  select c.target, array(select jsonb_object_keys(coalesce(c.before, c.after))) into written_to, written
  from etl.changes c
  where c.feed = of_feed and c.run = of_run
  order by c.before is null, c.after = '{}'
  limit 1;
  if to_regclass(written_to) is distinct from target and written_to is not null then
    raise exception 'that run wrote to %, and % loads % now', written_to, of_feed, target
      using errcode = 'ETL11', hint = 'Set etl.feeds.target to that table, as long as the undo takes.';
  end if;
  lost := (select string_agg(quote_ident(w), ', ') from unnest(written) w where w <> all (etl.columns_of(target)));
  if lost is not null then
    raise exception '% has no column % any more, and that run wrote to it', target, lost
      using errcode = 'ETL03', hint = 'etl.changes has what was in it: mend the rows by hand.';
  end if;
  -- Nobody else writes to it, or refers to it, from here on.
  for child in
    select target
    union
    select k.child from etl.foreign_keys(target) k where k.parent = target
  loop
    execute format('lock table %s in share row exclusive mode', child);
  end loop;
  return target;
end
$$;
comment on function etl.claim_for_undo(uuid, text) is
  'Has the feed and its table for this transaction alone, and returns the table. Raises what etl.undo() raises.';

create or replace function etl.find_undoable(feed etl.feeds, target regclass, of_run uuid)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
set xmloption = 'content'
as $$
declare
  key name[] := etl.key_of(target);
  began constant timestamptz := etl.time_of_changes(feed.name, of_run);
  image constant text := etl.image_of(target, 'o', etl.columns_of(target));
  -- What is generated follows the rest.
  generated text := (
    select coalesce(' - ' || quote_literal(array_agg(a.attname)) || '::text[]', '')
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and a.attgenerated <> '' and not a.attisdropped
  );
begin
  perform etl.shape_table(
    'etl_undo',
    '{etl$staged tid,etl$number bigint,etl$step text,etl$fate text,etl$reason text,etl$key jsonb}'::text[]
      || etl.key_columns(target)
  );
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_undo (etl$staged, etl$number, etl$step, etl$key, {places}, etl$fate, etl$reason)
    select
      format('(%s,%s)', s.etl$nth / 60000, s.etl$nth % 60000 + 1)::tid, s.etl$number, s.etl$step, s.etl$key, {values},
      case j.reason when '' then 'open' when 'as before' then 'as before' else 'kept' end, nullif(j.reason, '')
    from (
      select
        c.*, row_number() over () as etl$nth, o.{first} is not null as etl$exists,
        case when o.{first} is not null then {image}{generated} end as etl$image,
        case
          when c.etl$before is null then 'delete' when c.etl$after is null then 'insert' else 'update'
        end as etl$step
      from (
        select
          c.number as etl$number, c.key as etl$key, {typed},
          c.before{generated} as etl$before, c.after{generated} as etl$after
        from etl.changes c
        where c.feed = $1 and c.at = $2 and c.run = $3
        offset 0
      ) c
      left join {target} o on {same_key}
      offset 0
    ) s
    cross join lateral (
      select case
        when s.etl$after = '{}' then 'a trigger gave it another key'
        when s.etl$step = 'delete' and not s.etl$exists or s.etl$image @> s.etl$before then 'as before'
        when s.etl$step = 'insert' and not s.etl$exists or s.etl$image @> s.etl$after then ''
        when s.etl$step = 'insert' then 'another row took its key since'
        when not s.etl$exists then 'somebody deleted it since'
        else 'somebody changed it since'
      end as reason
    ) j
    $sql$,
    jsonb_build_object(
      'target', target, 'first', quote_ident(key[1]), 'generated', generated,
      'image', image,
      'places', etl.each(key, '{column}'), 'values', etl.each(key, 's.{column}'),
      'typed', etl.typed_image(target, 'c.key', key), 'same_key', etl.same_key(target, 'o', 'c')
    )
  ) using feed.name, began, of_run;
  -- What an undo has put back is as it was but for what triggers made of it, as a column updated_at.
  if exists (select from etl.runs r where r.feed = find_undoable.feed.name and r.undoes is not null) then
    execute etl.fill(
      $sql$
      update pg_temp.etl_undo u
      set etl$fate = case when l.etl$undoes = $3 then 'as before' else 'open' end,
        etl$reason = case when l.etl$undoes = $3 then 'as before' end
      from (
        select distinct on (k.etl$number)
          k.etl$number, k.etl$key, {places}, own.after as etl$after, c.after as etl$last, r.undoes as etl$undoes
        from pg_temp.etl_undo k
        join etl.changes own on own.feed = $1 and own.at = $2 and own.run = $3 and own.number = k.etl$number
        join etl.changes c on c.feed = $1 and c.at >= $2 and c.key = k.etl$key
        left join etl.runs r on r.feed = c.feed and r.run = c.run
        where k.etl$fate = 'kept' and k.etl$reason <> 'a trigger gave it another key'
        order by k.etl$number, c.at desc, r.started_at desc, c.number desc
      ) l
      join {target} o on {same_key}
      left join etl.changes t on t.feed = $1 and t.run = l.etl$undoes and t.key = l.etl$key
      where u.etl$number = l.etl$number and l.etl$undoes is not null
        and {image} @> (l.etl$last{generated})
        and (l.etl$undoes = $3 or t.before @> (l.etl$after{generated}))
      $sql$,
      jsonb_build_object(
        'target', target, 'generated', generated, 'places', etl.each(key, 'k.{column}'),
        'same_key', etl.same_key(target, 'o', 'l'), 'image', image
      )
    ) using feed.name, began, of_run;
  end if;
  analyze pg_temp.etl_undo;
end
$$;
comment on function etl.find_undoable(etl.feeds, regclass, uuid) is
  'Fills etl_undo with what the run changed. etl$step: what is to be done to take it back, delete, update or insert;
etl$fate: open, done, as before (nothing is to be done) or kept; etl$reason: why it is as it is. A row whose last change
is an undo counts as what that has put back.';

create or replace function etl.time_of_changes(of_feed text, of_run uuid)
returns timestamptz
language sql stable
set search_path = ''
as $$
  select c.at from etl.changes c where c.feed = of_feed and c.run = of_run limit 1
$$;
comment on function etl.time_of_changes(text, uuid) is
  'When the run began that made these changes: with it each of them is found by the key.';

create or replace function etl.typed_image(target regclass, image text, columns name[])
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill('({image} ->> {name})::{type} as {column}', jsonb_build_object(
      'image', image, 'name', quote_literal(a.attname), 'column', quote_ident(a.attname),
      'type', format_type(a.atttypid, a.atttypmod)
    )),
    ', ' order by u.position
  )
  from unnest(columns) with ordinality u(name, position)
  join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = u.name
$$;
comment on function etl.typed_image(regclass, text, name[]) is
  'SQL text: these columns of an image that etl.image_of() made, with the types of the target.';

create or replace function etl.undo_step(feed etl.feeds, target regclass, of_run uuid, own_run uuid, step text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  inserted bigint;
  updated bigint;
  done bigint;
begin
  if not exists (select from pg_temp.etl_undo u where u.etl$step = step and u.etl$fate = 'open') then
    return 0;
  end if;
  perform etl.empty_tables();
  if step = 'delete' then
    perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_typed (etl$staged, {key})
      select etl$staged, {key} from pg_temp.etl_undo where etl$step = 'delete' and etl$fate = 'open'
      $sql$,
      jsonb_build_object('key', etl.each(etl.key_of(target), '{column}'))
    );
    perform etl.remove_rows(feed, target, own_run);
  else
    perform etl.read_images(feed, target, of_run, step);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    loop
      perform etl.validate_relations(target);
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(feed, target, own_run, inserted, updated, rejects_left => null);
    end loop;
  end if;
  update pg_temp.etl_undo u
  set etl$reason = regexp_replace(r.reason, '^is absent from the file, but ', '')
  from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
  where u.etl$staged = r.etl$staged;
  update pg_temp.etl_undo u
  set etl$fate = 'done', etl$reason = null
  where u.etl$step = step and u.etl$fate = 'open'
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = u.etl$staged);
  get diagnostics done = row_count;
  return done;
end
$$;
comment on function etl.undo_step(etl.feeds, regclass, uuid, uuid, text) is
  'Does a step of what is still open in etl_undo, as far as the rules of the tables let it; returns how many rows.';

create or replace function etl.read_images(feed etl.feeds, target regclass, of_run uuid, step text)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
set xmloption = 'content'
as $$
declare
  carried name[];
begin
  -- What is an identity always can be inserted, and not updated; a column of later keeps what it has, or its default.
  insert into pg_temp.etl_columns (position, name, attnum, kind)
  select a.attnum, a.attname, a.attnum, 'text'
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and (step = 'insert' or a.attidentity <> 'a' or a.attname = any (etl.key_of(target)))
    and exists (
      select
      from (
        select c.before
        from etl.changes c
        where c.feed = read_images.feed.name and c.run = of_run and c.before is not null
        limit 1
      ) any_row
      where any_row.before ? a.attname
    );
  carried := etl.carried_columns();
  perform etl.shape_table('etl_typed', '{etl$staged tid,etl$exists boolean}'::text[] || array(
    select format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), etl.collation_of(a.attcollation))
    from unnest(carried) with ordinality u(name, position)
    join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = u.name
    order by u.position
  ));
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_typed (etl$staged, etl$exists, {carried})
    select u.etl$staged, u.etl$step = 'update', {values}
    from pg_temp.etl_undo u
    join etl.changes c on c.feed = $1 and c.at = $2 and c.run = $3 and c.number = u.etl$number
    where u.etl$step = $4 and u.etl$fate = 'open'
    $sql$,
    jsonb_build_object(
      'carried', etl.each(carried, '{column}'), 'values', etl.typed_image(target, 'c.before', carried)
    )
  ) using feed.name, etl.time_of_changes(feed.name, of_run), of_run, step;
end
$$;
comment on function etl.read_images(etl.feeds, regclass, uuid, text) is
  'Fills etl_typed, with etl_columns, with what is to be put back or inserted again, as it was.';

create or replace function etl.enter_undo(feed etl.feeds, of_run uuid, own_run uuid, began timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into etl.runs (
    run, feed, status, started_at, finished_at, bytes, read, inserted, updated, unchanged, duplicate, rejected, deleted,
    undoes
  )
  select
    own_run, feed.name, 'undone', began, clock_timestamp(), 0, 0,
    count(*) filter (where u.etl$step = 'insert'), count(*) filter (where u.etl$step = 'update'), 0, 0, 0,
    count(*) filter (where u.etl$step = 'delete'), of_run
  from pg_temp.etl_undo u
  where u.etl$fate = 'done';
  update etl.feeds f set enabled = false where f.name = feed.name and f.enabled;
  update etl.feed_state s
  set definition_hash = '', undone_run = of_run, undone_at = now()
  where s.feed = enter_undo.feed.name;
end
$$;
comment on function etl.enter_undo(etl.feeds, uuid, uuid, timestamptz) is
  'Enters the undo in the ledger, disables the feed, and has its next load trust nothing that is remembered.';

create or replace function etl.have_wait_again(of_feed etl.feeds, of_run uuid, own_run uuid)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  back bigint;
begin
  if of_feed.contents <> 'changes' then
    return 0;
  end if;
  with concerned as (
    select c.key, c.waited
    from pg_temp.etl_undo u
    join etl.changes c
      on c.feed = of_feed.name and c.at = etl.time_of_changes(of_feed.name, of_run) and c.run = of_run
      and c.number = u.etl$number
    where u.etl$fate = 'done' and c.waited is not null
  ), kept as (
    update etl.changes own
    set waited = c.waited
    from concerned c
    where own.feed = of_feed.name and own.at = now() and own.run = own_run and own.key = c.key
  ), waited as (
    select distinct (jsonb_populate_record(null::etl.rejects, w.value || jsonb_build_object('feed', of_feed.name))).*
    from concerned c
    cross join jsonb_array_elements(c.waited) w
  ), gone as (
    -- An undo that is undone: what it had wait again waits no more.
    delete from etl.rejects r using waited w where r.id = w.id returning r.id
  )
  insert into etl.rejects
  select w.* from waited w where not exists (select from gone g where g.id = w.id);
  get diagnostics back = row_count;
  return back;
end
$$;
comment on function etl.have_wait_again(etl.feeds, uuid, uuid) is
  'Has wait again what waited before the run, where the row of its key was taken back; where that run was an undo, has
it leave again. Returns how many wait again.';

revoke all on all functions in schema etl from public;

-- supabase/sql/usual.sql
-- What a feed's files are usually like: which columns they have, and how many records. A file that differs is loaded
-- all the same; etl.health() says so until the next one is as usual again, or a person accepts it.

create or replace function etl.note_columns(state etl.feed_state, target regclass, is_sample boolean)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  carried text[] := etl.carried_columns();
  known text[] := state.carried_columns || state.gone_columns;
  present text[] := etl.unplaced_columns();
begin
  state.ignored_columns := coalesce(state.ignored_columns, present);
  state.unplaced_columns := array(select p.n from unnest(present) p(n) where p.n <> all (state.ignored_columns));
  state.carried_columns := coalesce(carried, '{}');
  if is_sample and state.unplaced_columns = '{}' then
    state.carried_columns := state.carried_columns
      || array(select k.n from unnest(known) k(n) where k.n <> all (state.carried_columns || state.gone_columns));
  end if;
  state.gone_columns := array(
    select c.name
    from etl.loadable_columns(target) c
    where c.name = any (known) and c.name <> all (state.carried_columns)
    order by c.attnum
  );
  state.drifted_since := case
    when state.gone_columns || state.unplaced_columns <> '{}' then coalesce(state.drifted_since, now())
  end;
  return state;
end
$$;
comment on function etl.note_columns(etl.feed_state, regclass, boolean) is
  'The state with the columns in etl_columns: which are gone, and which are new and have no place. The first body sets
what is usual. is_sample: it need not hold every column, as a JSON file of few records; then, unless it has something
new as well, what it lacks is not gone.';

create or replace function etl.note_records(state etl.feed_state, feed etl.feeds, records bigint)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  usual bigint := state.usual_records;
  is_shrunk boolean := feed.contents = 'all' and case
    -- What was there before the loader, or before it forgot, was there.
    when usual is null then records = 0 and feed.shrink_limit < 1 and not etl.is_empty(etl.regclass_of(feed.target))
    -- Of a handful of records half is nothing.
    when records > 0 and usual < 10 then false
    else usual - records > feed.shrink_limit * usual
  end;
begin
  state.records := records;
  state.usual_records := case when is_shrunk then usual else records end;
  state.shrunk_since := case when is_shrunk then coalesce(state.shrunk_since, now()) end;
  return state;
end
$$;
comment on function etl.note_records(etl.feed_state, etl.feeds, bigint) is
  'The state with the number of records read: whether it is smaller than usual by more than the feed''s shrink_limit.
Where fewer than 10 are usual, only a body without any is. A body of changes never is: its size says nothing.';

create or replace function etl.accept_usual(feed_name text)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set ignored_columns = s.ignored_columns || s.unplaced_columns, gone_columns = '{}', unplaced_columns = '{}',
    drifted_since = null, usual_records = s.records, shrunk_since = null
  where s.feed = feed_name and (s.drifted_since is not null or s.shrunk_since is not null)
$$;
comment on function etl.accept_usual(text) is
  'Takes the feed''s last body for what is usual, in its columns and in the number of its records.';

create or replace function etl.unusual(
  feed etl.feeds, state etl.feed_state, changed timestamptz, out verdict text, out message text, out hint text
)
language plpgsql stable
set search_path = ''
as $$
declare
  last_news timestamptz := coalesce(changed, state.known_since);
  renamed jsonb;
  mapping text;
  approval text;
  drift text;
  shrinkage text;
  withheld text;
  silence text;
begin
  if not feed.enabled then
    verdict := 'undone';
    hint := format('update etl.feeds set enabled = true where name = %L;', feed.name);
    message := concat_ws(
      '. ',
      format(
        'Run %s was undone at %s, and the feed is disabled, for its file would bring the same back',
        state.undone_run, state.undone_at
      ),
      'A run that named it has loaded it again, at ' || case when changed > state.undone_at then changed end,
      format('Once that is mended: %s If it is to stay disabled: select etl.approve(%L)', hint, feed.name)
    );
    return;
  end if;
  if feed.absent <> 'keep' and state.withheld > 0 then
    withheld := format(
      'Rows of %s that it lacks and that stay: %s, for %s', feed.target, state.withheld, state.withheld_why
    );
  end if;
  if state.drifted_since is not null or state.shrunk_since is not null or withheld is not null then
    approval := format('select etl.approve(%L)', feed.name);
  end if;
  if state.drifted_since is not null then
    renamed := etl.likely_names(state.gone_columns, state.unplaced_columns);
    if renamed is not null then
      mapping := format('update etl.feeds set columns = columns || %L where name = %L', renamed, feed.name);
    end if;
    drift := concat_ws(
      '. ',
      'Its columns are other ones since ' || state.drifted_since,
      'The file lacks ' || etl.listed(state.gone_columns)
        || ': new rows get the default or null, known rows keep theirs',
      'It has ' || etl.listed(state.unplaced_columns) || ', and ' || feed.target || ' has no such column',
      'Likely renamed: ' || (
        select string_agg(format('%I is now %I', r.value, r.key), ', ' order by r.value) from jsonb_each_text(renamed) r
      ),
      'If so: ' || mapping
    );
  end if;
  if state.shrunk_since is not null then
    shrinkage := concat_ws(
      '. ',
      'Its file is too small since ' || state.shrunk_since,
      'Records: ' || state.records || ', and usually ' || coalesce(state.usual_records::text, 'more'),
      'Ask the partner whether it is whole'
    );
  end if;
  if last_news < now() - feed.fresh_within then
    silence := concat_ws(
      '. ',
      'Nothing new has come since ' || last_news || ', and something should within ' || feed.fresh_within,
      'Ask the partner whether the file is still written'
    );
  end if;
  verdict := case
    when drift is not null then 'drifted'
    when shrinkage is not null or withheld is not null then 'shrunk'
    when silence is not null then 'stale'
  end;
  message := concat_ws('. ', drift, shrinkage, withheld, 'If the file is right as it is: ' || approval, silence);
  hint := coalesce(mapping, approval) || ';';
end
$$;
comment on function etl.unusual(etl.feeds, etl.feed_state, timestamptz) is
  'What is unusual about a feed that runs well: the gravest of drifted, shrunk (rows that are withheld count as
that) and stale, a message on all of them, and the line to run where there is one; of one that is disabled, that it was
undone. verdict is null where nothing is. changed: when a run last changed something.';

create or replace function etl.likely_names(gone text[], unplaced text[])
returns jsonb
language sql immutable
set search_path = ''
as $$
  with names as (
    select n.is_gone, n.name, array(
      -- The pairs of neighbouring letters, without regard to case and punctuation.
      select distinct substr(plain.name, i, 2) from generate_series(1, greatest(length(plain.name) - 1, 1)) i
    ) as pairs
    from (
      select true as is_gone, g.name from unnest(gone[:100]) g(name)
      union all
      -- What has no name of its own cannot be mapped.
      select false, u.name from unnest(unplaced[:100]) u(name) where u.name !~ '^column [0-9]+( \(unnamed\))?$'
    ) n
    cross join lateral regexp_replace(lower(n.name), '[^[:alnum:]]', '', 'g') plain(name)
  ), compared as (
    select
      g.name as gone, u.name as unplaced,
      both_have.shared * 2.0 / (cardinality(g.pairs) + cardinality(u.pairs)) as likeness
    from names g
    join names u on g.is_gone and not u.is_gone
    cross join lateral (
      select count(*) as shared from unnest(g.pairs) p(pair) where p.pair = any (u.pairs)
    ) both_have
  ), ranked as (
    select
      c.*,
      row_number() over (partition by c.gone order by c.likeness desc, c.unplaced) as of_gone,
      row_number() over (partition by c.unplaced order by c.likeness desc, c.gone) as of_unplaced
    from compared c
  )
  select jsonb_object_agg(r.unplaced, r.gone)
  from ranked r
  where r.of_gone = 1 and r.of_unplaced = 1
    and (r.likeness >= 0.3 or (cardinality(likely_names.gone) = 1 and cardinality(likely_names.unplaced) = 1))
$$;
comment on function etl.likely_names(text[], text[]) is
  'New name -> column, as etl.feeds.columns has it, for the columns that are gone and most likely renamed: each other''s
likest by the pairs of letters that they share, or the only ones. Null where none is. Of more than 100 names, which are
another file, the first 100 are compared.';

create or replace function etl.listed(names text[])
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(quote_ident(left(n.name, 63)), ', ' order by n.position) filter (where n.position <= 10)
    || case when cardinality(names) > 10 then ' and ' || cardinality(names) - 10 || ' more' else '' end
  from unnest(names) with ordinality n(name, position)
$$;
comment on function etl.listed(text[]) is 'The first ten names, for a message; null where there is none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/write.sql
-- Writing etl_delta into the target: all at once, and where that is refused without the records that are at fault.

create or replace function etl.write_delta(
  feed etl.feeds, target regclass, run uuid, inserted bigint, updated bigint, rejects_left bigint
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  has_history boolean := feed.history is not null;
  written boolean := false;
  parts record;
  state text;
  said text;
  rule text;
  at_column text;
  at_table text;
  advice text;
begin
  if inserted + updated = 0 then
    return true;
  end if;
  -- What waits for the commit would be nobody's fault there, and the end of the whole run.
  set constraints all immediate;
  if has_history then
    perform etl.keep_before(target);
  end if;
  begin
    perform etl.write_at_once(target, inserted, updated);
    written := true;
  exception when others or assert_failure then
    get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
      at_column = column_name, at_table = table_name, advice = pg_exception_hint;
    if not etl.is_record_fault(target, state, rule, at_column, at_table) then
      raise;
    end if;
  end;
  if not written then
    if has_history then
      -- Another session may have inserted one of the new rows.
      perform etl.keep_before(target);
    end if;
    parts := etl.write_in_parts(target, updated, rejects_left);
    if not parts.written and parts.faults = '{}' then
      raise exception '%', said using errcode = state, hint = advice;
    end if;
    perform etl.reject_faults('etl_delta', parts.faults);
    written := parts.written;
  end if;
  if written and has_history then
    perform etl.keep_changes(feed, target, run, is_removal => false);
  end if;
  return written;
end
$$;
comment on function etl.write_delta(etl.feeds, regclass, uuid, bigint, bigint, bigint) is
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
  -- A new row may refer to what a known one gets just now, and the other way round.
  is_mutual boolean := inserted > 0 and updated > 0 and statement.update_known is not null
    and etl.refers_to(target, target);
  written bigint;
begin
  perform set_config('search_path', etl.session_path(), true);
  if is_mutual and etl.has_rules(target) then
    -- Postgres takes no statement within another one where the table has a rule: the keys wait until two are done.
    repairs := etl.defer_self_references(target) || repairs;
    is_mutual := false;
  end if;
  -- Without ON CONFLICT, which costs a sixth more: it looks each key up first.
  if is_mutual then
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
  set constraints all immediate;
  perform etl.repair(repairs);
end
$$;
comment on function etl.write_at_once(regclass, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones. Raises whatever the target raises at any record.';

create or replace function etl.has_rules(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.ev_type in ('2', '3')
  );
end
$$;
comment on function etl.has_rules(regclass) is
  'Whether a rule does something beside an insert or an update of the table.';

create or replace function etl.defer_self_references(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  fixed name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0 and not k.condeferrable
  );
  repairs text[] := '{}';
begin
  if fixed <> '{}' then
    execute format('alter table %s %s', target, etl.each(fixed, 'alter constraint {column} deferrable'));
    repairs := array[format(
      'alter table %s %s', target, etl.each(fixed, 'alter constraint {column} not deferrable')
    )];
  end if;
  set constraints all deferred;
  return repairs;
end
$$;
comment on function etl.defer_self_references(regclass) is
  'Has the table''s foreign keys to itself wait until SET CONSTRAINTS asks them, as all that may wait, and returns the
statements that put them right again.';

create or replace function etl.write_in_parts(
  target regclass, updated bigint, rejects_left bigint, out written boolean, out faults jsonb[]
)
language plpgsql
set search_path = ''
as $$
declare
  keys_dropped boolean;
  statement record := etl.write_statements(target);
  repairs text[] := '{}';
begin
  if updated > 0 then
    repairs := etl.free_values(target);
  end if;
  -- A part may hold a child without its parent. Whether there is one, etl.validate_references tells; this is undone.
  keys_dropped := etl.drop_self_references(target);
  faults := etl.isolate(target, 'etl_delta', rejects_left => rejects_left, statement => etl.fill(
    $sql$select etl.write_rows({target}, {insert_new}, {update_known}, {count_gone}, $3, $1, $2)$sql$,
    jsonb_build_object(
      'target', quote_literal(target), 'insert_new', quote_literal(statement.insert_new || statement.on_conflict),
      'update_known', quote_nullable(statement.update_known), 'count_gone', quote_literal(statement.count_gone)
    )
  ));
  written := faults = '{}' and not keys_dropped;
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

create or replace function etl.drop_self_references(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  self_references name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
begin
  if self_references <> '{}' then
    execute etl.fill($sql$alter table {target} {drops}$sql$, jsonb_build_object(
      'target', target, 'drops', etl.each(self_references, 'drop constraint {column}')
    ));
  end if;
  return self_references <> '{}';
end
$$;
comment on function etl.drop_self_references(regclass) is
  'Drops the table''s foreign keys to itself, where it has any, and returns whether it has: for a trial of parts, which
is undone.';

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
    -- Postgres infers no deferrable key, and takes no ON CONFLICT where the table has a rule.
    when not is_immediate or etl.has_rules(target) then ''
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
  perform set_config('search_path', etl.session_path(), true);
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
  loosened name[] := '{}';
  made_again text[] := '{}';
begin
  for ix in
    select i.*, a.attname as freed, a.attnotnull as required, a.may_free
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an expression, a condition or what is generated a null need not make a null; where a key refers to, it would
      -- cascade; and to some indexes two nulls are the same.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
      ) and not exists (
        select from pg_catalog.pg_index n
        where n.indrelid = target and n.indnullsnotdistinct and a.attnum = any (n.indkey::int2[])
      ) as may_free
      from unnest(etl.columns_beneath(target, i.index, i.columns)) u(attnum)
      join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = u.attnum
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      order by may_free desc, a.attnotnull, a.attnum
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
    if ix.may_free and not etl.shows_updates(target) and etl.try_nulls(
      target, ix.freed, is_required => ix.required and ix.freed <> all (loosened), statement => etl.fill(
        $sql$update {target} o set {freed} = null {moving} where {this_row}$sql$,
        places || jsonb_build_object('moving', moving)
      )
    ) then
      if ix.required and ix.freed <> all (loosened) then
        loosened := loosened || ix.freed;
      end if;
    else
      made_again := made_again || etl.drop_index(ix.index);
    end if;
  end loop;
  -- First, for an index may ask for it: that of a replica identity.
  return array(
    select format('alter table %s alter %I set not null', target, l.freed) from unnest(loosened) l(freed)
  ) || made_again;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each value of a unique index or an exclusion constraint that a row gives up and another takes in
this run, in a column that the feed carries and so fills again: Postgres looks for violations row by row, so that
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where a null cannot be, two of them
violate the index, or somebody would see them, the index is dropped. Returns the statements that put this right
again, once all is written.';

create or replace function etl.columns_beneath(target regclass, index oid, columns name[])
returns smallint[]
language plpgsql stable
set search_path = ''
as $$
begin
  return array(
    with held as (
      select a.attnum from pg_catalog.pg_attribute a where a.attrelid = target and a.attname = any (columns)
      union
      select p.refobjsubid
      from pg_catalog.pg_depend p
      where p.classid = 'pg_catalog.pg_class'::regclass and p.objid = index and p.refobjid = target
    )
    select h.attnum from held h
    union
    select p.refobjsubid
    from held h
    join pg_catalog.pg_attrdef d on d.adrelid = target and d.adnum = h.attnum
    join pg_catalog.pg_depend p
      on p.classid = 'pg_catalog.pg_attrdef'::regclass and p.objid = d.oid and p.refobjid = target
  );
end
$$;
comment on function etl.columns_beneath(regclass, oid, name[]) is
  'The numbers of the columns on which an index of these columns depends: by an expression or its condition, too, and
those of which what is generated is made.';

create or replace function etl.shows_updates(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return etl.has_rules(target) or exists (
    select
    from etl.parts_of(target) p
    join pg_catalog.pg_trigger g on g.tgrelid = p.relation and not g.tgisinternal and g.tgtype & 16 > 0
  ) or exists (
    select
    from etl.parts_of(target) p
    join pg_catalog.pg_constraint k on k.confrelid = p.relation and k.contype = 'f' and k.conparentid = 0
    where p.level > 0
  );
end
$$;
comment on function etl.shows_updates(regclass) is
  'Whether somebody sees an update of the table: a trigger, be it a partition''s alone, a rule, or a foreign key that
refers to a partition by itself.';

create or replace function etl.try_nulls(target regclass, freed name, is_required boolean, statement text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if is_required then
    execute format('alter table %s alter %I drop not null', target, freed);
  end if;
  perform set_config('search_path', etl.session_path(), true);
  execute statement;
  return true;
exception when others then
  -- What is no word about nulls: a lock, the server.
  if sqlstate ~ '^(40|53|55P03|57|58|XX)' then
    raise;
  end if;
  return false;
end
$$;
comment on function etl.try_nulls(regclass, name, boolean, text) is
  'Executes a statement that sets values of this column to null, its NOT NULL being lifted where it has one. False,
with all as before, where it cannot be null: it is an identity, NOT NULL in a parent, of a replica identity, of a key
MATCH FULL, of a domain, a CHECK or a generated column that refuses it, or tells its partition.';

create or replace function etl.drop_index(index regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  -- One of a partition cannot go by itself.
  root constant regclass := coalesce(pg_partition_root(index), index);
  repairs constant text[] := array(
    select s.statement
    from etl.parts_of(root) p
    cross join unnest(etl.index_statements(p.relation, p.parent)) with ordinality as s(statement, place)
    order by p.level, p.relation, s.place
  );
  identified regclass;
  state text;
  said text;
  told text;
begin
  for identified in
    select i.indrelid::regclass
    from etl.parts_of(root) p
    join pg_catalog.pg_index i on i.indexrelid = p.relation
    where i.indisreplident
  loop
    -- Where it is published, Postgres updates no row of a table without an identity.
    execute format('alter table %s replica identity full', identified);
  end loop;
  execute (
    select coalesce(
      format('alter table %s drop constraint ', i.indrelid::regclass) || quote_ident(k.conname),
      format('drop index %s', root)
    )
    from pg_catalog.pg_index i
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('u', 'x')
    where i.indexrelid = root
  );
  return repairs;
exception when dependent_objects_still_exist or insufficient_privilege then
  get stacked diagnostics state = returned_sqlstate, said = message_text, told = pg_exception_detail;
  raise exception 'the index % must be dropped for the time of the write, and cannot be: %', index, said
    using errcode = state, hint = case state
      when '42501' then 'Make the loader''s role its owner, as of the table.'
      else format('Drop what needs it, and make it anew by other means: %s.', replace(told, e'\n', ', '))
    end;
end
$$;
comment on function etl.drop_index(regclass) is
  'Drops an index, with its constraint where it has one and with those of the whole partitioned table where it is a
part, and returns the statements that make all of it again as it was. Raises 2BP01 where something else needs it.';

create or replace function etl.index_statements(index regclass, parent regclass)
returns text[]
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select array_remove(
      array[
        -- The definition of a partitioned table's says ONLY.
        case
          when k.oid is null then pg_get_indexdef(index)
          else format('alter table only %s add constraint %I ', i.indrelid::regclass, k.conname) || coalesce(
            -- That of an exclusion tells them itself.
            case
              when k.contype = 'u' then regexp_replace(
                pg_get_constraintdef(k.oid), '( DEFERRABLE)?( INITIALLY DEFERRED)?$', ' WITH (' || o.options || ')\&'
              )
            end,
            pg_get_constraintdef(k.oid)
          )
        end,
        case when parent is not null then format('alter index %s attach partition %s', parent, index) end,
        format('alter index %s set tablespace ', index) || quote_ident(s.spcname),
        format('alter index %s ', index) || a.statistics,
        format('comment on index %s is ', index) || quote_literal(obj_description(index, 'pg_class')),
        format('comment on constraint %I on %s is ', x.relname, i.indrelid::regclass)
          || quote_literal(obj_description(k.oid, 'pg_constraint')),
        case when i.indisclustered then format('alter table %s cluster on %I', i.indrelid::regclass, x.relname) end,
        case
          when i.indisreplident
            then format('alter table %s replica identity using index %I', i.indrelid::regclass, x.relname)
        end
      ],
      null
    )
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('u', 'x')
    left join pg_catalog.pg_tablespace s on s.oid = x.reltablespace
    cross join lateral (
      select string_agg(format('%I = %L', o.option_name, o.option_value), ', ') as options
      from pg_options_to_table(x.reloptions) o
    ) o
    cross join lateral (
      select string_agg(format('alter column %s set statistics %s', a.attnum, a.attstattarget), ', ') as statistics
      from pg_catalog.pg_attribute a
      where a.attrelid = i.indexrelid and a.attstattarget >= 0
    ) a
    where i.indexrelid = index
  );
end
$$;
comment on function etl.index_statements(regclass, regclass) is
  'The statements that make an index, or its constraint, as it is, beneath this parent where it is a part: with what
the definition does not tell.';

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
    repairs := repairs || etl.drop_index(index);
  end loop;
  return repairs;
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
comment on function etl.repair(text[]) is
  'Executes the statements that etl.free_values, etl.defer_indexes and etl.defer_self_references returned.';

revoke all on all functions in schema etl from public;

-- supabase/sql/zones.sql
-- Zones that a cell names by letters. Postgres has one meaning for each, by pg_timezone_abbrevs; people have several
-- for some: IST is India's, Israel's and Ireland's.

create or replace function etl.doubtful_zones(own_zone text)
returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  before constant text := current_setting('timezone');
  own text[];
  other text[];
  is_east boolean;
begin
  perform set_config('timezone', own_zone, true);
  select
    coalesce(array_agg(z.word) filter (where z.is_meant), '{}'), coalesce(array_agg(z.word), '{}'),
    min(z.away) >= interval '3 hours'
  into own, other, is_east
  from (
    select lower(d.word) as word, d.away, a.utc_offset = d.away as is_meant
    from (
      select to_char(day at time zone 'UTC', 'TZ') as word, (day at time zone 'UTC')::timestamp - day as away
      from generate_series(timestamp '2001-01-01', timestamp '2025-07-01', interval '6 months') day
    ) d
    left join pg_catalog.pg_timezone_abbrevs a on a.abbrev = upper(d.word)
    where d.word ~ '^[A-Za-z]+$'
    group by d.word, d.away, a.utc_offset
  ) z;
  perform set_config('timezone', before, true);
  -- RFC 5322 has America's as America does, and so has whoever lives as far from Asia.
  return array(
    select unnest(etl.common_zones(of_america => false) || other)
    union
    select unnest(etl.common_zones(of_america => true)) where is_east
    except
    select unnest(own)
  );
end
$$;
comment on function etl.doubtful_zones(text) is
  'The abbreviations of zones, in small letters, that have several meanings where this zone is at home: but for its own,
where Postgres has the same.';

create or replace function etl.common_zones(of_america boolean)
returns text[]
language sql immutable
set search_path = ''
as $$
  select case
    when of_america then '{adt,ast,cdt,cst,edt,est,mst,pst}'::text[]
    else '{act,amst,amt,bdt,bst,cast,cct,ect,gst,ist,sst,wast,wst}'
  end
$$;
comment on function etl.common_zones(boolean) is
  'Abbreviations of zones that are in use for several: those of America, which others use, too, and all others.';

create or replace function etl.zone_among(words text[])
returns text
language sql immutable
set search_path = ''
as $$
  select format('\d\s*(?:[ap]m)?\s*\(?(?:%s)(?!\d|\s*[a-z/_])', array_to_string(words, '|'))
$$;
comment on function etl.zone_among(text[]) is 'A regular expression for a time with one of these words for its zone.';

create or replace function etl.has_summer(zone text)
returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
  has_summer boolean;
begin
  perform set_config('timezone', zone, true);
  select count(distinct extract(timezone from d)) > 1 into has_summer
  from generate_series(now(), now() + interval '1 year', interval '1 week') d;
  perform set_config('timezone', before, true);
  return has_summer;
end
$$;
comment on function etl.has_summer(text) is 'Whether the clocks of a time zone are changed within a year from now.';

create or replace function etl.time_without_zone()
returns text
language sql immutable
set search_path = ''
as $$
  select '(?:^|[{,"])\s*t?(?:\d\d?:\d\d(?::\d\d(?:\.\d*)?)?|\d{4}(?:\d\d)?)(?:\s*[ap]m)?\s*(?:$|[},"])'
$$;
comment on function etl.time_without_zone() is
  'A regular expression for a time of day, alone or in an array, with neither a zone nor the date that would tell it.';

revoke all on all functions in schema etl from public;

reset check_function_bodies;
