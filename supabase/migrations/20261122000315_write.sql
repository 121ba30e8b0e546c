-- Writing etl_delta into the target: all at once, and where that is refused without the records that are at fault.

create or replace function etl.free_values(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  twin record;
  rule pg_catalog.pg_constraint;
  wanted boolean;
  loosened name[] := '{}';
  repairs text[] := '{}';
begin
  for twin in
    select i.*, a.attname as freed, a.attnotnull as required
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an exclusion's expression a null need not make a null: a range without a bound is the larger one.
      select a.attname, a.attnotnull
      from pg_catalog.pg_attribute a
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      left join pg_catalog.pg_depend p
        on p.classid = 'pg_catalog.pg_class'::regclass and p.objid = i.index and p.refobjid = target and p.refobjsubid = a.attnum
      where a.attrelid = target and (a.attname = any (i.columns) or (p.objid is not null and not i.excludes))
      order by (a.attname = any (i.columns)) is true desc, a.attnotnull, a.attnum
      limit 1
    ) a
  loop
    twin.holds := format(
      'from (select %1$s, %2$s from %3$s where %4$s) e join (select %1$s, %2$s from pg_temp.etl_delta where %4$s) d on %5$s and not (%6$s)',
      etl.names(key), twin.entry, target, twin.holds, twin.same, etl.names(key, 'd.%I = e.%I', ' and ')
    ) || case when twin.excludes
      then format(' join pg_temp.etl_delta g on %s', etl.names(key, 'g.%I = e.%I', ' and '))
      else ''
    end;
    execute 'select exists (select ' || twin.holds || ')' into wanted;
    if not wanted then
      continue;
    end if;
    -- Two nulls would be twins to it.
    if (select i.indnullsnotdistinct from pg_catalog.pg_index i where i.indexrelid = twin.index) then
      rule := (select k from pg_catalog.pg_constraint k where k.conindid = twin.index and k.contype = 'u');
      if rule.oid is null then
        repairs := repairs || pg_get_indexdef(twin.index);
        execute format('drop index %s', twin.index::regclass);
      else
        repairs := repairs || format('alter table %s add constraint %I %s', target, rule.conname, pg_get_constraintdef(rule.oid));
        execute format('alter table %s drop constraint %I', target, rule.conname);
      end if;
      continue;
    end if;
    if twin.required and twin.freed <> all (loosened) then
      execute format('alter table %s alter %I drop not null', target, twin.freed);
      loosened := loosened || twin.freed;
      repairs := repairs || format('alter table %s alter %I set not null', target, twin.freed);
    end if;
    execute format('update %s o set %I = null %s where %s', target, twin.freed, twin.holds, etl.names(key, 'o.%I = e.%I', ' and '));
  end loop;
  return repairs;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each value of a unique index or an exclusion constraint that a row gives up and another takes in this run, in a
column that the feed carries and so fills again: Postgres looks for twins row by row, so that two rows could not swap theirs.
Where the column is NOT NULL that is lifted; where nulls are twins themselves the index is dropped. Returns the statements that
put this right again, once all is written.';

create or replace function etl.defer_indexes(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  filled boolean;
  deferred record;
  repairs text[] := '{}';
begin
  execute format('select exists (select from %s)', target) into filled;
  -- A trigger may look things up by these indexes, for each row.
  if filled or exists (select from pg_catalog.pg_trigger g where g.tgrelid = target and not g.tgisinternal) then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  for deferred in
    select i.indexrelid::regclass as index, pg_get_indexdef(i.indexrelid) as definition
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and i.indisvalid and not i.indisunique and not i.indisexclusion
      -- What the definition does not tell.
      and x.relkind = 'i' and not x.relispartition and not i.indisclustered and x.reltablespace = 0
      and obj_description(i.indexrelid, 'pg_class') is null
    order by i.indexrelid
  loop
    execute format('drop index %s', deferred.index);
    repairs := repairs || deferred.definition;
  end loop;
  return repairs;
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all is written:
at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table waiting until the commit;
where it cannot be had at once, nothing is dropped.';

create or replace function etl.repair(statements text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  statement text;
begin
  foreach statement in array statements loop
    execute statement;
  end loop;
end
$$;
comment on function etl.repair(text[]) is 'Executes what etl.free_values and etl.defer_indexes returned.';

create or replace function etl.write_statements(target regclass)
returns text[]
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  same_key text := etl.names(key, 'o.%I = d.%I', ' and ');
  carried text := etl.names(array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position));
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key) order by c.position);
  part text := '($1 is null or d.etl_staged between $1 and $2)';
  arbitrated boolean := (select i.indimmediate from pg_catalog.pg_index i where i.indrelid = target and i.indisprimary);
begin
  return array[
    format('insert into %s (%s) overriding system value select %2$s from pg_temp.etl_delta d where not d.etl_known and %s', target, carried, part),
    case when arbitrated
      then format(' on conflict (%s) do %s', etl.names(key), coalesce('update set ' || etl.names(rest, '%I = excluded.%I'), 'nothing'))
      else ''
    end,
    -- Not by ON CONFLICT: Postgres would try the CHECKs of a known row on defaults in place of what the feed does not carry.
    format('update %s o set ', target) || etl.names(rest, '%I = d.%I')
      || format(' from pg_temp.etl_delta d where d.etl_known and %s and %s', part, same_key),
    format('select count(*) from pg_temp.etl_delta d where d.etl_known and %s and not exists (select from %s o where %s)', part, target, same_key)
  ];
end
$$;
comment on function etl.write_statements(regclass) is
  'Of etl_delta, or its part from record $1 to $2: to insert the new rows, and what to do with one that another session has
inserted meanwhile; to update the known ones, and to count those that are no longer known.';

create or replace function etl.write_rows(
  target regclass, statements text[], expected bigint, first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  written bigint;
  updated bigint;
  gone bigint;
begin
  -- ON CONFLICT costs a sixth more, for it looks each key up first; so it is left for when all at once has failed.
  execute statements[1] || case when first is null then '' else statements[2] end using first, last;
  get diagnostics written = row_count;
  if written < expected and statements[3] is not null then
    execute statements[3] using first, last;
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  if written = expected then
    return;
  end if;
  execute statements[4] into gone using first, last;
  if gone > 0 then
    raise exception 'another session deleted % of the rows to be updated', gone
      using errcode = 'serialization_failure', hint = 'Run again.';
  end if;
  raise exception '% of % rows were not written', expected - written, expected
    using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
end
$$;
comment on function etl.write_rows(regclass, text[], bigint, tid, tid) is
  'Executes etl.write_statements, for so many rows. Raises 40001 where another session has deleted a row since it was compared,
ETL05 where a trigger or rule drops rows.';

create or replace function etl.write_delta(target regclass, inserted bigint, updated bigint, room bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  elders name[] := array(
    select k.conname from pg_catalog.pg_constraint k where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
  statements text[] := etl.write_statements(target);
  repairs text[];
  faults jsonb[];
  state text;
  said text;
  rule text;
  at_column text;
  advice text;
begin
  if inserted + updated = 0 then
    return true;
  end if;
  -- What waits for the commit would be nobody's fault there, and the end of the whole run.
  set constraints all immediate;
  begin
    repairs := case when updated > 0 then etl.free_values(target) else etl.defer_indexes(target) end;
    perform etl.write_rows(target, statements, inserted + updated);
    perform etl.repair(repairs);
    return true;
  exception when others or assert_failure then
    get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
      at_column = column_name, advice = pg_exception_hint;
    if not etl.breaks_by_itself(target, state, rule, at_column) then
      raise;
    end if;
  end;
  begin
    repairs := case when updated > 0 then etl.free_values(target) else '{}' end;
    -- A part may hold a child without its parent. Whether there is one, etl.sift_orphans finds out; and this is undone.
    if elders <> '{}' then
      execute format('alter table %s %s', target, etl.names(elders, 'drop constraint %I'));
    end if;
    faults := etl.isolate(target, 'etl_delta', format('select etl.write_rows(%L, %L, $3, $1, $2)', target, statements), room);
    if faults = '{}' and elders = '{}' then
      perform etl.repair(repairs);
      return true;
    end if;
    raise exception using errcode = 'ETL00';
  exception when sqlstate 'ETL00' then
    if faults = '{}' then
      raise exception '%', said using errcode = state, hint = advice;
    end if;
  end;
  perform etl.put_aside('etl_delta', faults);
  return false;
end
$$;
comment on function etl.write_delta(regclass, bigint, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones, all at once; true when that is done. Where a record is refused by
what only a write can ask (a trigger, an exclusion constraint, an index), nothing is written, and the records at fault are put
aside, with false: it is then to be called again, for others may have counted on them. room: how many more may be put aside.';

revoke all on all functions in schema etl from public;
