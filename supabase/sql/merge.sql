-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql; of a feed of changes
-- in retries.sql, too, and of one whose absent rows are to go in absent.sql. The temp tables that they hand each other
-- are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, place int, header text[], sentinel text, is_whole boolean default false,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out deleted bigint, out ignored_columns text[], out changed boolean,
  out withheld jsonb
)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set array_nulls = on
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  as_json boolean := header is null;
  rejects_wait boolean := feed.contents = 'changes';
  sources text[];
  new_records bigint := 0;
  waiting record;
  absent record;
  caller_time_zone text := current_setting('timezone');
begin
  perform set_config('timezone', feed.time_zone, true);
  read := 0;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  deleted := 0;
  changed := false;
  if rejects_wait then
    perform etl.gather_retries(feed, target);
  end if;
  if place is not null then
    perform etl.take_staged(feed, place, header);
    select count(*) into new_records from pg_temp.etl_staging;
    perform etl.tell_step('reading cells');
    perform etl.find_cells(feed, as_json, sentinel);
    if feed.absent = 'mark' and is_whole is not null then
      perform etl.carry_mark(target, as_json);
    end if;
    select m.* into inserted, updated, unchanged, duplicate
    from etl.merge_staged(feed, target, run, new_records, has_limit => true) m;
    perform etl.empty_unnamed();
    sources := array(select c.source from pg_temp.etl_columns c order by c.position);
    ignored_columns := etl.ignored_columns();
    if rejects_wait then
      perform etl.add_retries(feed, target, as_json);
    else
      rejected := etl.rejected_count();
      perform etl.check_limit(feed, new_records);
      changed := etl.keep_rejects(feed, run, as_json);
    end if;
    if feed.absent <> 'keep' and is_whole is not null then
      perform etl.tell_step('looking for absent rows');
      select a.* into absent from etl.remove_absent(feed, target, run, is_whole, inserted) a;
      deleted := absent.deleted;
      withheld := absent.withheld;
      changed := changed or absent.changed;
      delete from pg_temp.etl_columns c where c.name = 'absent_since';
    end if;
    drop table pg_temp.etl_staging;
  end if;
  read := new_records;
  if rejects_wait then
    select w.* into waiting from etl.try_retries(feed, target, run, new_records) w;
    read := read + waiting.read;
    inserted := inserted + waiting.inserted;
    updated := updated + waiting.updated;
    unchanged := unchanged + waiting.unchanged;
    duplicate := duplicate + waiting.duplicate;
    rejected := waiting.rejected;
    perform etl.keep_waited(feed, target, run);
    changed := etl.keep_retries(feed, run);
    if place is not null then
      perform etl.empty_tables();
      perform etl.map_columns(feed, sources);
    end if;
  end if;
  changed := changed or inserted + updated > 0;
  if changed and feed.history is not null then
    perform etl.purge_changes(feed.name);
  end if;
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform set_config('timezone', caller_time_zone, true);
end
$$;
comment on function etl.merge(text, uuid, int, text[], text, boolean) is
  'Brings the feed that was staged at this place into its target: casts, rejects what breaks a rule, drops duplicates
(the last record wins), writes what is new or differs, and returns the counts. Nothing is written where nothing
changed. The staging table is gone after it; etl_columns stays for etl.remember(). place: null where nothing new came,
so that the rejects alone are tried that wait; header: as it was staged; sentinel: what the cell of an unreadable record
begins with, null where there is none; is_whole: whether the file is known not to be cut short, null where it is not
asked what it lacks. deleted, withheld: the rows that it lacks, as etl.remove_absent() has it. Raises ETL03 as
etl.check_columns() does, ETL05 where a trigger drops or keeps rows, ETL06 above the reject limit, 40001 where another
session deletes a row meanwhile.';

create or replace function etl.merge_staged(
  feed etl.feeds, target regclass, run uuid, read bigint, has_limit boolean,
  out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint
)
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  different bigint := 0;
begin
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if read > etl.rejected_count() then
    perform etl.set_date_order(feed);
    perform etl.validate_names();
    perform etl.tell_step('comparing rows');
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
    perform etl.tell_step('checking rows');
    perform etl.validate_rows(target, has_header => feed.header is null);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    -- For the table's own rules and triggers it is as ever.
    perform set_config('datestyle', 'ISO, MDY', true);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.tell_step('checking keys');
      perform etl.validate_relations(target, feed);
      perform etl.tell_step('writing rows');
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(feed, target, run, inserted, updated, rejects_left => case
        when has_limit then floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      end);
      if has_limit then
        perform etl.check_limit(feed, read, at_least => true);
      end if;
    end loop;
  end if;
end
$$;
comment on function etl.merge_staged(etl.feeds, regclass, uuid, bigint, boolean) is
  'Brings so many records of etl_staging into the target, their columns being mapped; what is rejected is in
etl_rejected after it. has_limit: whether ETL06 is raised as soon as it is clear that there are too many.';

revoke all on all functions in schema etl from public;
