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
