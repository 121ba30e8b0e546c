-- The machinery's own schema: what to load, what happened, what is wrong now. Never exposed by the API.
create schema if not exists etl;
revoke all on schema etl from public;
comment on schema etl is 'The loader''s feeds, ledger, rejects and functions. Private: not for the API.';

create table if not exists etl.feeds (
  name text primary key check (name <> ''),
  url text not null,
  target text not null,
  format text check (format in ('csv', 'json', 'ndjson')),
  time_zone text not null default 'UTC',
  columns jsonb not null default '{}' check (jsonb_typeof(columns) = 'object'),
  delimiter text check (delimiter in (',', ';', '|', e'\t')),
  encoding text not null default 'utf-8',
  reject_limit numeric not null default 0.1 check (reject_limit between 0 and 1),
  enabled boolean not null default true,
  etag text,
  last_modified text,
  content_hash text,
  content_length bigint,
  definition_hash text
);
alter table etl.feeds enable row level security;
drop policy if exists "the owner alone" on etl.feeds;
create policy "the owner alone" on etl.feeds using (false);
comment on table etl.feeds is 'One row a feed. A further feed costs a table and a row here, no code.';
comment on column etl.feeds.url is 'http or https, without credentials.';
comment on column etl.feeds.target is 'The table to load, as in public.trips. It must have a primary key.';
comment on column etl.feeds.format is 'csv, json (an array of objects) or ndjson (an object a line); null: by content.';
comment on column etl.feeds.time_zone is 'For times that carry none, as in America/New_York.';
comment on column etl.feeds.columns is 'Source name -> column, for names the feed spells differently: {"Driver No": "id"}.';
comment on column etl.feeds.delimiter is 'Of a CSV feed: comma, semicolon, tab or pipe; null: by the header line.';
comment on column etl.feeds.encoding is 'As the WHATWG Encoding Standard names it: utf-8, windows-1252, utf-16le, ….';
comment on column etl.feeds.reject_limit is 'Share of a feed''s records, 0 to 1. With more rejects the feed is rolled back whole.';
comment on column etl.feeds.enabled is 'Whether a run without feed names takes this feed.';
comment on column etl.feeds.etag is 'Validator of the last answer that was loaded, sent as If-None-Match.';
comment on column etl.feeds.last_modified is 'Validator of the last answer that was loaded, sent as If-Modified-Since.';
comment on column etl.feeds.content_hash is 'XXH64 of the last body that was loaded, hexadecimal.';
comment on column etl.feeds.content_length is
  'Content-Length of the last answer that was loaded: a body as long as that is hashed first, and loaded only if it differs.';
comment on column etl.feeds.definition_hash is
  'MD5 of this row''s and the target''s definition when the four validators were stored; they count only while it is the same.';

create table if not exists etl.runs (
  run uuid not null,
  feed text not null references etl.feeds on update cascade on delete cascade,
  status text not null check (status in ('changed', 'failed')),
  started_at timestamptz not null,
  finished_at timestamptz not null,
  bytes bigint not null,
  read bigint not null,
  inserted bigint not null,
  updated bigint not null,
  unchanged bigint not null,
  duplicate bigint not null,
  rejected bigint not null,
  error_code text,
  error text,
  primary key (run, feed)
);
create index if not exists runs_feed_started_at_idx on etl.runs (feed, started_at desc);
alter table etl.runs enable row level security;
drop policy if exists "the owner alone" on etl.runs;
create policy "the owner alone" on etl.runs using (false);
comment on table etl.runs is 'The ledger: a row for each feed and run that changed something or failed. A run without change leaves none.';
comment on column etl.runs.bytes is 'Bytes of the body as received, before decompression.';
comment on column etl.runs.read is 'Records. Always read = inserted + updated + unchanged + duplicate + rejected.';

create table if not exists etl.rejects (
  feed text not null references etl.feeds on update cascade on delete cascade,
  record_number bigint not null,
  record jsonb,
  raw text,
  column_name text,
  value text,
  reason text not null,
  sqlstate text not null,
  constraint_name text,
  first_run uuid not null,
  last_run uuid not null,
  primary key (feed, record_number)
);
alter table etl.rejects enable row level security;
drop policy if exists "the owner alone" on etl.rejects;
create policy "the owner alone" on etl.rejects using (false);
comment on table etl.rejects is 'What is wrong now: a record leaves when it loads or vanishes from its feed, and is not rewritten while it stays the same.';
comment on column etl.rejects.record_number is 'From 1, in the order of the feed; a CSV header line is not counted.';
comment on column etl.rejects.record is 'The record, source name -> text for CSV. Null where it could not be split: see raw.';
comment on column etl.rejects.raw is 'The record''s text where it could not be split.';
comment on column etl.rejects.last_run is 'The run that last wrote this row.';

insert into etl.feeds (name, url, target, format)
values
  ('drivers', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/drivers.json', 'public.drivers', 'json'),
  ('trips', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/trips.csv', 'public.trips', 'csv'),
  ('charges', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/charges.csv', 'public.charges', 'csv')
on conflict (name) do nothing;

create or replace function etl.definition_hash(feed etl.feeds)
returns text
language sql stable
set search_path = ''
as $$
  -- The catalog as it is, not pg_get_constraintdef: that would wait for a lock on the table, and with it the whole run.
  select md5(concat_ws(
    e'\n', feed.url, feed.target, feed.format, feed.time_zone, feed.columns, feed.delimiter, feed.encoding,
    (
      select string_agg(
        concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, case when a.attgenerated <> '' then v.adbin end),
        ',' order by a.attnum
      )
      from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum
      where a.attrelid = to_regclass(feed.target) and a.attnum > 0 and not a.attisdropped
    ),
    (
      select string_agg(
        concat_ws(' ', c.conname, c.contype, c.conkey, c.confrelid::regclass, c.confkey, c.conbin), ',' order by c.conname
      )
      from pg_catalog.pg_constraint c
      where c.conrelid = to_regclass(feed.target)
    ),
    (
      select string_agg(
        concat_ws(' ', i.indexrelid::regclass, i.indisunique, i.indkey, i.indclass, i.indnullsnotdistinct, i.indpred, i.indexprs),
        ',' order by i.indexrelid::regclass::text
      )
      from pg_catalog.pg_index i
      where i.indrelid = to_regclass(feed.target)
    )
  ))
$$;
comment on function etl.definition_hash(etl.feeds) is
  'MD5 of everything but the body that decides what a load does: the feed''s row, the target''s columns, constraints and indexes.';

create or replace function etl.plan(names text[], force boolean default false)
returns setof etl.feeds
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
        hint = 'etl.feeds has: ' || (select coalesce(string_agg(f.name, ', ' order by f.name), 'none') from etl.feeds f);
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
  select
    f.name, f.url, f.target, f.format, f.time_zone, f.columns, f.delimiter, f.encoding, f.reject_limit, f.enabled,
    case when v.valid then f.etag end,
    case when v.valid then f.last_modified end,
    case when v.valid then f.content_hash end,
    case when v.valid then f.content_length end,
    etl.definition_hash(f)
  from etl.feeds f
  cross join lateral (
    select not force
      and f.definition_hash is not distinct from etl.definition_hash(f)
      and not exists (
        select from etl.rejects r
        where r.feed = f.name and (r.sqlstate !~ '^(22|23502|23514)' or r.reason like 'is refused by a trigger%')
      ) as valid
  ) v
  where f.name = any (names) or (names = '{}' and f.enabled)
  order by (select max(d.depth) from depths d where d.name = f.name), f.name;
end
$$;
comment on function etl.plan(text[], boolean) is
  'The feeds of a run, parents before children by the foreign keys; all enabled ones where no name is given.
Validators are null where they must not be used: when forced, when a definition has changed, while there are rejects that
depend on more than their record. Those alone that hold no value of a type (class 22), lack one (23502) or break a CHECK
(23514) do not; but whatever a trigger refuses does.
definition_hash is the present one. Raises ETL01 for a name that is not in etl.feeds.';
