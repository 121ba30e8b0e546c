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
