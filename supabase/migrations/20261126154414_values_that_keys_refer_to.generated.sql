-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

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
      where d.etl$exists and row({old})::record operator(pg_catalog.*<>) row({new})::record
        and exists (select from {child} c where {matches} {and_lost} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', fk.child, 'matches', fk.matches, 'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.each(fk.parent_columns, 'p.{column}'), 'new', etl.each(fk.parent_columns, 'd.{column}'),
        -- Another spelling of what the key takes for the same is no other value, unless the key restricts any change.
        'and_lost', case
          when fk.on_update = 'a' then format('and not exists (select from (select d.*) p where %s)', fk.matches)
          else ''
        end,
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
    )
  group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. on_update: a letter, as
in pg_constraint. SQL text: present, whether the child''s row c refers to anything (under MATCH FULL, in part);
matches, whether the parent''s row p is what it refers to, as the key compares.';

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
  if inserted > 0 and updated > 0 and statement.update_known is not null then
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
      -- Of an expression or a condition a null need not make a null; and where a key refers to, it would cascade.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
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
    execute format('select exists (select %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    -- A null would not do, two nulls would violate it, or a trigger would see them.
    if sees_updates or not ix.frees
      or (select i.indnullsnotdistinct from pg_catalog.pg_index i where i.indexrelid = ix.index)
    then
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
