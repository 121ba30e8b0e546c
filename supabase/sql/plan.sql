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
