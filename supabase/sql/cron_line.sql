-- A cron line: is it one, and when is it due? Needs no extension. pg_cron itself is too kind to trust with the answer:
-- of six fields it drops the last in silence, and of "1-5x" the x.

create or replace function etl.next_run(line text, after timestamptz default now())
returns timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
  f text[] := regexp_split_to_array(btrim(line), '[ \t]+');
  minutes int[] := etl.cron_values(f[1], 0, 59);
  hours int[] := etl.cron_values(f[2], 0, 23);
  month_ends boolean := f[3] = '$';
  days int[] := case when month_ends then '{}' else etl.cron_values(f[3], 1, 31) end;
  months int[] := etl.cron_values(f[4], 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
  weekdays int[] := etl.cron_values(f[5], 0, 7, '{sun,mon,tue,wed,thu,fri,sat}');
  before text := current_setting('timezone');
  due timestamptz;
begin
  if line ~ '^([1-9]|[1-5][0-9]) seconds?$' then
    return after + substring(line from '^[0-9]+')::int * interval '1 second';
  end if;
  if cardinality(f) <> 5 or minutes is null or hours is null or days is null or months is null or weekdays is null then
    raise exception '"%" is no cron line', line
      using errcode = 'ETL08',
        hint = 'Five fields: minute, hour, day, month, weekday, as in */10 * * * *; or "30 seconds", up to 59.';
  end if;
  -- AT TIME ZONE reads some zones otherwise: see etl.day_in().
  perform set_config('timezone', coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT'), true);
  due := (
    select t.at
    from (
      select d.day
      from (select after::date + n as day from generate_series(0, 366 * 8) n) d
      cross join lateral (
        select
          case
            when month_ends then extract(day from d.day + 1) = 1
            else extract(day from d.day) = any (days)
          end as by_day,
          extract(dow from d.day) = any (weekdays) or extract(isodow from d.day) = any (weekdays) as by_weekday
      ) is_listed
      where extract(month from d.day) = any (months)
        -- As in every cron: with both fields restricted, either will do.
        and case when f[3] ~ '^\*' or f[5] ~ '^\*' then by_day and by_weekday else by_day or by_weekday end
      order by d.day
      -- Today may be over, and a change of the clocks may swallow the only hour of a day.
      limit 3
    ) d
    cross join unnest(hours) h
    cross join unnest(minutes) m
    cross join lateral (select (d.day + make_interval(hours => h, mins => m))::timestamptz as at) t
    where t.at > after
    order by t.at
    limit 1
  );
  perform set_config('timezone', before, true);
  return due;
end
$$;
comment on function etl.next_run(text, timestamptz) is
  'When a cron line is due next, in the time zone of pg_cron; null where never within eight years. Raises ETL08 for
what is no cron line: pg_cron itself takes six fields and drops the last in silence.';

create or replace function etl.cron_values(field text, low int, high int, names text[] default '{}')
returns int[]
language plpgsql immutable strict
set search_path = ''
as $$
declare
  part text;
  bounds text[];
  every boolean;
  first int;
  last int;
  step int;
  listed int[] := '{}';
begin
  foreach part in array regexp_split_to_array(lower(field), ',') loop
    bounds := regexp_match(part, '^(?:(\*)|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,2}))?$');
    every := bounds[1] is not null;
    first := case when every then low else etl.cron_number(bounds[2], low, names) end;
    last := case
      when every then high
      when bounds[3] is null then first
      else etl.cron_number(bounds[3], low, names)
    end;
    step := coalesce(bounds[4]::int, 1);
    if (first >= low and last <= high and first <= last and step > 0) is not true
      or (bounds[4] is not null and not every and bounds[3] is null)
    then
      return null;
    end if;
    listed := listed || array(select generate_series(first, last, step));
  end loop;
  return listed;
end
$$;
comment on function etl.cron_values(text, int, int, text[]) is
  'The values that a field of a cron line stands for; null where it is none.';

create or replace function etl.cron_number(word text, low int, names text[])
returns int
language sql immutable
set search_path = ''
as $$
  select case when word ~ '^[0-9]+$' then word::int else array_position(names, word) + low - 1 end
$$;
comment on function etl.cron_number(text, int, text[]) is
  'A number or, where there are names, a name of a cron field; null where it is neither.';

revoke all on all functions in schema etl from public;
