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
