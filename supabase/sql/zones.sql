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
