-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql. The temp tables that
-- they hand each other are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, place int, header text[], sentinel text,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out ignored_columns text[], out changed boolean
)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  as_json boolean := header is null;
  different bigint := 0;
  caller_time_zone text := current_setting('timezone');
begin
  perform etl.take_staged(feed, place, header);
  select count(*) into read from pg_temp.etl_staging;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  perform etl.find_cells(feed, as_json, sentinel);
  if read > etl.rejected_count() then
    perform set_config('timezone', feed.time_zone, true);
    perform set_config('datestyle', 'ISO, ' || coalesce(upper(feed.date_order), 'YMD'), true);
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
    perform etl.validate_rows(target);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    -- For the table's own rules and triggers it is as ever.
    perform set_config('datestyle', 'ISO, MDY', true);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.validate_relations(target);
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(
        target, inserted, updated, rejects_left => floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      );
      perform etl.check_limit(feed, read, at_least => true);
    end loop;
  end if;
  perform set_config('timezone', caller_time_zone, true);
  rejected := etl.rejected_count();
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform etl.check_limit(feed, read);
  changed := etl.keep_rejects(feed, run, as_json) or inserted + updated > 0;
  ignored_columns := etl.ignored_columns();
  drop table pg_temp.etl_staging;
end
$$;
comment on function etl.merge(text, uuid, int, text[], text) is
  'Brings the feed that was staged at this place into its target: casts, rejects what breaks a rule, drops duplicates
(the last record wins), writes what is new or differs, and returns the counts. Nothing is written where nothing
changed. The staging table is gone after it; etl_columns stays for etl.remember(). header: as it was staged; sentinel:
what the cell of an unreadable record begins with, null where there is none. Raises ETL03 as etl.check_columns() does,
ETL05 where a trigger drops rows, ETL06 above the reject limit, 40001 where another session deletes a row meanwhile.';

revoke all on all functions in schema etl from public;
