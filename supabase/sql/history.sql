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
