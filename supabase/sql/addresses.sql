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
