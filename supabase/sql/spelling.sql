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

create or replace function etl.kind_of(type oid)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case
    when type in ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) then 'integer'
    when type in ('numeric'::regtype, 'real'::regtype, 'double precision'::regtype) then 'number'
    when type in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) then 'day'
    when type in ('time'::regtype, 'timetz'::regtype, 'interval'::regtype) then 'time'
    else (
      with recursive held as (
        select type as oid
        union
        select part.oid
        from held h
        join pg_catalog.pg_type t on t.oid = h.oid
        cross join lateral (
          select t.typelem where t.typcategory = 'A'
          union all
          select t.typbasetype where t.typtype = 'd'
          union all
          select r.rngsubtype from pg_catalog.pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
          union all
          select a.atttypid
          from pg_catalog.pg_attribute a
          where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        ) part(oid)
      )
      select case
        when bool_or(h.oid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)) then 'days'
        when bool_or(h.oid in ('time'::regtype, 'timetz'::regtype, 'interval'::regtype)) then 'times'
        else 'other'
      end
      from held h
    )
  end;
end
$$;
comment on function etl.kind_of(oid) is
  'What there is to know of a type, no domain, for the spelling of its values: integer, number, day (a date, with a
time or without), time, days and times for what holds such (arrays, ranges, composites), other.';

create or replace function etl.refused_of(kind text, feed etl.feeds)
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(pattern, '|')
  from (
    select '\m(?:now|today|tomorrow|yesterday|epoch|infinity)\M' where kind in ('day', 'days', 'time', 'times')
    union all
    select '^\D*$' where kind in ('day', 'time')
    union all
    select etl.unordered_date() where kind in ('day', 'days') and feed.date_order is null
    union all
    select '^(?!\s*[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d*)?(e[-+]?\d+)?\s*$)'
    where kind in ('integer', 'number') and feed.decimal_comma
  ) refused(pattern)
$$;
comment on function etl.refused_of(text, etl.feeds) is
  'A regular expression for what the input of a type would take, and a load does not; null where that is nothing. A word
such as now means another time at each run; a year of two digits may be a day; with a decimal comma a point stands
between thousands.';

create or replace function etl.unordered_date()
returns text
language sql immutable
set search_path = ''
as $$
  select concat_ws(
    '|',
    -- 3/4/24, 3 4 24
    '(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)', '^\s*\d{1,2}\s+\d{1,2}\s+\d{1,2}(?![\d:])',
    -- 240403
    '(?:^|[{[(,"])\s*\d{6,7}(?!\d)',
    -- 3-Apr-24
    '(?<!\d)\d{1,2}[-/., ]*' || month.names || '[-/., ]*\d{1,2}(?![\d:])',
    -- Apr 3, 24
    month.names || '[-/., ]*\d{1,2}[-/., ]+\d{1,2}(?![\d:])'
  )
  from (
    select '(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*' as names
  ) month
$$;
comment on function etl.unordered_date() is
  'A regular expression for dates without a year of four digits, which Postgres reads as the date style has it.';

create or replace function etl.spelled(cell text, kind text, nulls text[], decimal_comma boolean, lenient boolean)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  if cardinality(nulls) > 0 then
    cell := format('case when %s <> all (%L::text[]) then %1$s end', cell, nulls);
  end if;
  if kind = 'text' then
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
