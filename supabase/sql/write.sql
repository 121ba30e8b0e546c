-- Writing etl_delta into the target: all at once, and where that is refused without the records that are at fault.

create or replace function etl.write_delta(
  feed etl.feeds, target regclass, run uuid, inserted bigint, updated bigint, rejects_left bigint
)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  has_history boolean := feed.history is not null;
  written boolean := false;
  parts record;
  state text;
  said text;
  rule text;
  at_column text;
  at_table text;
  advice text;
begin
  if inserted + updated = 0 then
    return true;
  end if;
  -- What waits for the commit would be nobody's fault there, and the end of the whole run.
  set constraints all immediate;
  if has_history then
    perform etl.keep_before(target);
  end if;
  begin
    perform etl.write_at_once(target, inserted, updated);
    written := true;
  exception when others or assert_failure then
    get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
      at_column = column_name, at_table = table_name, advice = pg_exception_hint;
    if not etl.is_record_fault(target, state, rule, at_column, at_table) then
      raise;
    end if;
  end;
  if not written then
    if has_history then
      -- Another session may have inserted one of the new rows.
      perform etl.keep_before(target);
    end if;
    parts := etl.write_in_parts(target, updated, rejects_left);
    if not parts.written and parts.faults = '{}' then
      raise exception '%', said using errcode = state, hint = advice;
    end if;
    perform etl.reject_faults('etl_delta', parts.faults);
    written := parts.written;
  end if;
  if written and has_history then
    perform etl.keep_changes(feed, target, run, is_removal => false);
  end if;
  return written;
end
$$;
comment on function etl.write_delta(etl.feeds, regclass, uuid, bigint, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones, all at once; true when that is done. Where a record is
refused by what only a write can ask (a trigger, an exclusion constraint, an index), nothing is written, and the
records at fault are rejected, with false: it is then to be called again, for others may have counted on them.
rejects_left: how many more the feed may have.';

create or replace function etl.write_at_once(target regclass, inserted bigint, updated bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  repairs text[] := case when updated > 0 then etl.free_values(target) else etl.defer_indexes(target) end;
  statement record := etl.write_statements(target);
  -- A new row may refer to what a known one gets just now, and the other way round.
  is_mutual boolean := inserted > 0 and updated > 0 and statement.update_known is not null
    and etl.refers_to(target, target);
  written bigint;
begin
  perform set_config('search_path', etl.session_path(), true);
  if is_mutual and etl.has_rules(target) then
    -- Postgres takes no statement within another one where the table has a rule: the keys wait until two are done.
    repairs := etl.defer_self_references(target) || repairs;
    is_mutual := false;
  end if;
  -- Without ON CONFLICT, which costs a sixth more: it looks each key up first.
  if is_mutual then
    execute etl.fill(
      $sql$
      with new as ({insert_new} returning 1), known as ({update_known} returning 1)
      select (select count(*) from new) + (select count(*) from known)
      $sql$,
      jsonb_build_object('insert_new', statement.insert_new, 'update_known', statement.update_known)
    ) into written using null::tid, null::tid;
    perform etl.require_written(target, statement.count_gone, written, expected => inserted + updated);
  else
    perform etl.write_rows(
      target, statement.insert_new, statement.update_known, statement.count_gone, expected => inserted + updated
    );
  end if;
  set constraints all immediate;
  perform etl.repair(repairs);
end
$$;
comment on function etl.write_at_once(regclass, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones. Raises whatever the target raises at any record.';

create or replace function etl.has_rules(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.ev_type in ('2', '3')
  );
end
$$;
comment on function etl.has_rules(regclass) is
  'Whether a rule does something beside an insert or an update of the table.';

create or replace function etl.defer_self_references(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  fixed name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0 and not k.condeferrable
  );
  repairs text[] := '{}';
begin
  if fixed <> '{}' then
    execute format('alter table %s %s', target, etl.each(fixed, 'alter constraint {column} deferrable'));
    repairs := array[format(
      'alter table %s %s', target, etl.each(fixed, 'alter constraint {column} not deferrable')
    )];
  end if;
  set constraints all deferred;
  return repairs;
end
$$;
comment on function etl.defer_self_references(regclass) is
  'Has the table''s foreign keys to itself wait until SET CONSTRAINTS asks them, as all that may wait, and returns the
statements that put them right again.';

create or replace function etl.write_in_parts(
  target regclass, updated bigint, rejects_left bigint, out written boolean, out faults jsonb[]
)
language plpgsql
set search_path = ''
as $$
declare
  keys_dropped boolean;
  statement record := etl.write_statements(target);
  repairs text[] := '{}';
begin
  if updated > 0 then
    repairs := etl.free_values(target);
  end if;
  -- A part may hold a child without its parent. Whether there is one, etl.validate_references tells; this is undone.
  keys_dropped := etl.drop_self_references(target);
  faults := etl.isolate(target, 'etl_delta', rejects_left => rejects_left, statement => etl.fill(
    $sql$select etl.write_rows({target}, {insert_new}, {update_known}, {count_gone}, $3, $1, $2)$sql$,
    jsonb_build_object(
      'target', quote_literal(target), 'insert_new', quote_literal(statement.insert_new || statement.on_conflict),
      'update_known', quote_nullable(statement.update_known), 'count_gone', quote_literal(statement.count_gone)
    )
  ));
  written := faults = '{}' and not keys_dropped;
  if written then
    perform etl.repair(repairs);
  else
    raise exception using errcode = 'ETL00';
  end if;
exception when sqlstate 'ETL00' then
  return;
end
$$;
comment on function etl.write_in_parts(regclass, bigint, bigint) is
  'Writes etl_delta part by part, and finds the records at fault. written: whether what it wrote stays, since none
was; otherwise all is as before.';

create or replace function etl.drop_self_references(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  self_references name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
begin
  if self_references <> '{}' then
    execute etl.fill($sql$alter table {target} {drops}$sql$, jsonb_build_object(
      'target', target, 'drops', etl.each(self_references, 'drop constraint {column}')
    ));
  end if;
  return self_references <> '{}';
end
$$;
comment on function etl.drop_self_references(regclass) is
  'Drops the table''s foreign keys to itself, where it has any, and returns whether it has: for a trial of parts, which
is undone.';

create or replace function etl.write_statements(
  target regclass, out insert_new text, out on_conflict text, out update_known text, out count_gone text
)
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := etl.carried_columns();
  rest name[] := array(select c from unnest(carried) c where c <> all (key));
  is_immediate boolean := (
    select i.indimmediate from pg_catalog.pg_index i where i.indrelid = target and i.indisprimary
  );
  places jsonb := jsonb_build_object(
    'target', target, 'carried', etl.each(carried, '{column}'), 'key', etl.each(key, '{column}'),
    'same_key', etl.same_key(target, 'o', 'd'),
    'part', '($1 is null or etl$staged between $1 and $2)', 'key_column', quote_ident(key[1]),
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta where not etl$exists and {part}
    $sql$,
    places
  );
  on_conflict := case
    -- Postgres infers no deferrable key, and takes no ON CONFLICT where the table has a rule.
    when not is_immediate or etl.has_rules(target) then ''
    when rest = '{}' then etl.fill($sql$ on conflict ({key}) do nothing$sql$, places)
    else etl.fill($sql$ on conflict ({key}) do update set {excluded}$sql$, places)
  end;
  -- Not by ON CONFLICT: Postgres would try the CHECKs of a known row on defaults in place of what the feed does not
  -- carry.
  update_known := case
    when rest <> '{}' then etl.fill(
      $sql$
      update {target} o set {fed}
      from (select * from pg_temp.etl_delta where etl$exists and {part}) d
      where {same_key}
      $sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from (select * from pg_temp.etl_delta where etl$exists and {part}) d
    left join {target} o on {same_key}
    where o.{key_column} is null
    $sql$,
    places
  );
end
$$;
comment on function etl.write_statements(regclass) is
  'SQL text. Of etl_delta, or its part from record $1 to $2: to insert the new rows, and what to do with one that
another session has inserted meanwhile; to update the known ones (null where the feed carries the key alone), and to
count those that are no longer known.';

create or replace function etl.write_rows(
  target regclass, insert_new text, update_known text, count_gone text, expected bigint,
  first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  written bigint;
  updated bigint;
begin
  perform set_config('search_path', etl.session_path(), true);
  execute insert_new using first, last;
  get diagnostics written = row_count;
  if written < expected and update_known is not null then
    execute update_known using first, last;
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  perform etl.require_written(target, count_gone, written, expected, first, last);
end
$$;
comment on function etl.write_rows(regclass, text, text, text, bigint, tid, tid) is
  'Executes etl.write_statements, for so many rows. Raises as etl.require_written does.';

create or replace function etl.require_written(
  target regclass, count_gone text, written bigint, expected bigint, first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  gone bigint;
begin
  if written = expected then
    return;
  end if;
  execute count_gone into gone using first, last;
  if gone > 0 then
    raise exception 'another session deleted % of the rows to be updated', gone
      using errcode = 'serialization_failure', hint = 'Run again.';
  end if;
  raise exception '% of % rows were not written', expected - written, expected
    using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
end
$$;
comment on function etl.require_written(regclass, text, bigint, bigint, tid, tid) is
  'Raises 40001 where fewer rows than expected were written, since another session has deleted one after it was
compared; ETL05 where a trigger or rule drops rows.';

create or replace function etl.free_values(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  moving text;
  wanted boolean;
  loosened name[] := '{}';
  made_again text[] := '{}';
begin
  for ix in
    select i.*, a.attname as freed, a.attnotnull as required, a.may_free
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an expression, a condition or what is generated a null need not make a null; where a key refers to, it would
      -- cascade; and to some indexes two nulls are the same.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
      ) and not exists (
        select from pg_catalog.pg_index n
        where n.indrelid = target and n.indnullsnotdistinct and a.attnum = any (n.indkey::int2[])
      ) as may_free
      from unnest(etl.columns_beneath(target, i.index, i.columns)) u(attnum)
      join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = u.attnum
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      order by may_free desc, a.attnotnull, a.attnum
      limit 1
    ) a
  loop
    places := jsonb_build_object(
      'target', target, 'freed', quote_ident(ix.freed), 'key', etl.each(key, '{column}'),
      'entry', ix.entry, 'holds', ix.holds, 'same', ix.same,
      'same_key', etl.same_key(target, 'd', 'e'), 'given_up', etl.same_key(target, 'g', 'e'),
      'this_row', etl.same_key(target, 'o', 'e')
    );
    moving := etl.fill(
      $sql$
      from (select {key}, {entry} from {target} where {holds}) e
      join (select {key}, {entry} from pg_temp.etl_delta where {holds}) d on {same} and not ({same_key})
      $sql$,
      places
    );
    if ix.excludes then
      moving := moving || etl.fill($sql$join pg_temp.etl_delta g on {given_up}$sql$, places);
    end if;
    execute format('select exists (select 1 %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    if ix.may_free and not etl.shows_updates(target) and etl.try_nulls(
      target, ix.freed, is_required => ix.required and ix.freed <> all (loosened), statement => etl.fill(
        $sql$update {target} o set {freed} = null {moving} where {this_row}$sql$,
        places || jsonb_build_object('moving', moving)
      )
    ) then
      if ix.required and ix.freed <> all (loosened) then
        loosened := loosened || ix.freed;
      end if;
    else
      made_again := made_again || etl.drop_index(ix.index);
    end if;
  end loop;
  -- First, for an index may ask for it: that of a replica identity.
  return array(
    select format('alter table %s alter %I set not null', target, l.freed) from unnest(loosened) l(freed)
  ) || made_again;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each value of a unique index or an exclusion constraint that a row gives up and another takes in
this run, in a column that the feed carries and so fills again: Postgres looks for violations row by row, so that
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where a null cannot be, two of them
violate the index, or somebody would see them, the index is dropped. Returns the statements that put this right
again, once all is written.';

create or replace function etl.columns_beneath(target regclass, index oid, columns name[])
returns smallint[]
language plpgsql stable
set search_path = ''
as $$
begin
  return array(
    with held as (
      select a.attnum from pg_catalog.pg_attribute a where a.attrelid = target and a.attname = any (columns)
      union
      select p.refobjsubid
      from pg_catalog.pg_depend p
      where p.classid = 'pg_catalog.pg_class'::regclass and p.objid = index and p.refobjid = target
    )
    select h.attnum from held h
    union
    select p.refobjsubid
    from held h
    join pg_catalog.pg_attrdef d on d.adrelid = target and d.adnum = h.attnum
    join pg_catalog.pg_depend p
      on p.classid = 'pg_catalog.pg_attrdef'::regclass and p.objid = d.oid and p.refobjid = target
  );
end
$$;
comment on function etl.columns_beneath(regclass, oid, name[]) is
  'The numbers of the columns on which an index of these columns depends: by an expression or its condition, too, and
those of which what is generated is made.';

create or replace function etl.shows_updates(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return etl.has_rules(target) or exists (
    select
    from etl.parts_of(target) p
    join pg_catalog.pg_trigger g on g.tgrelid = p.relation and not g.tgisinternal and g.tgtype & 16 > 0
  ) or exists (
    select
    from etl.parts_of(target) p
    join pg_catalog.pg_constraint k on k.confrelid = p.relation and k.contype = 'f' and k.conparentid = 0
    where p.level > 0
  );
end
$$;
comment on function etl.shows_updates(regclass) is
  'Whether somebody sees an update of the table: a trigger, be it a partition''s alone, a rule, or a foreign key that
refers to a partition by itself.';

create or replace function etl.try_nulls(target regclass, freed name, is_required boolean, statement text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  if is_required then
    execute format('alter table %s alter %I drop not null', target, freed);
  end if;
  perform set_config('search_path', etl.session_path(), true);
  execute statement;
  return true;
exception when others then
  -- What is no word about nulls: a lock, the server.
  if sqlstate ~ '^(40|53|55P03|57|58|XX)' then
    raise;
  end if;
  return false;
end
$$;
comment on function etl.try_nulls(regclass, name, boolean, text) is
  'Executes a statement that sets values of this column to null, its NOT NULL being lifted where it has one. False,
with all as before, where it cannot be null: it is an identity, NOT NULL in a parent, of a replica identity, of a key
MATCH FULL, of a domain, a CHECK or a generated column that refuses it, or tells its partition.';

create or replace function etl.drop_index(index regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  -- One of a partition cannot go by itself.
  root constant regclass := coalesce(pg_partition_root(index), index);
  repairs constant text[] := array(
    select s.statement
    from etl.parts_of(root) p
    cross join unnest(etl.index_statements(p.relation, p.parent)) with ordinality as s(statement, place)
    order by p.level, p.relation, s.place
  );
  identified regclass;
  state text;
  said text;
  told text;
begin
  for identified in
    select i.indrelid::regclass
    from etl.parts_of(root) p
    join pg_catalog.pg_index i on i.indexrelid = p.relation
    where i.indisreplident
  loop
    -- Where it is published, Postgres updates no row of a table without an identity.
    execute format('alter table %s replica identity full', identified);
  end loop;
  execute (
    select coalesce(
      format('alter table %s drop constraint ', i.indrelid::regclass) || quote_ident(k.conname),
      format('drop index %s', root)
    )
    from pg_catalog.pg_index i
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('u', 'x')
    where i.indexrelid = root
  );
  return repairs;
exception when dependent_objects_still_exist or insufficient_privilege then
  get stacked diagnostics state = returned_sqlstate, said = message_text, told = pg_exception_detail;
  raise exception 'the index % must be dropped for the time of the write, and cannot be: %', index, said
    using errcode = state, hint = case state
      when '42501' then 'Make the loader''s role its owner, as of the table.'
      else format('Drop what needs it, and make it anew by other means: %s.', replace(told, e'\n', ', '))
    end;
end
$$;
comment on function etl.drop_index(regclass) is
  'Drops an index, with its constraint where it has one and with those of the whole partitioned table where it is a
part, and returns the statements that make all of it again as it was. Raises 2BP01 where something else needs it.';

create or replace function etl.index_statements(index regclass, parent regclass)
returns text[]
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select array_remove(
      array[
        -- The definition of a partitioned table's says ONLY.
        case
          when k.oid is null then pg_get_indexdef(index)
          else format('alter table only %s add constraint %I ', i.indrelid::regclass, k.conname) || coalesce(
            -- That of an exclusion tells them itself.
            case
              when k.contype = 'u' then regexp_replace(
                pg_get_constraintdef(k.oid), '( DEFERRABLE)?( INITIALLY DEFERRED)?$', ' WITH (' || o.options || ')\&'
              )
            end,
            pg_get_constraintdef(k.oid)
          )
        end,
        case when parent is not null then format('alter index %s attach partition %s', parent, index) end,
        format('alter index %s set tablespace ', index) || quote_ident(s.spcname),
        format('alter index %s ', index) || a.statistics,
        format('comment on index %s is ', index) || quote_literal(obj_description(index, 'pg_class')),
        format('comment on constraint %I on %s is ', x.relname, i.indrelid::regclass)
          || quote_literal(obj_description(k.oid, 'pg_constraint')),
        case when i.indisclustered then format('alter table %s cluster on %I', i.indrelid::regclass, x.relname) end,
        case
          when i.indisreplident
            then format('alter table %s replica identity using index %I', i.indrelid::regclass, x.relname)
        end
      ],
      null
    )
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype in ('u', 'x')
    left join pg_catalog.pg_tablespace s on s.oid = x.reltablespace
    cross join lateral (
      select string_agg(format('%I = %L', o.option_name, o.option_value), ', ') as options
      from pg_options_to_table(x.reloptions) o
    ) o
    cross join lateral (
      select string_agg(format('alter column %s set statistics %s', a.attnum, a.attstattarget), ', ') as statistics
      from pg_catalog.pg_attribute a
      where a.attrelid = i.indexrelid and a.attstattarget >= 0
    ) a
    where i.indexrelid = index
  );
end
$$;
comment on function etl.index_statements(regclass, regclass) is
  'The statements that make an index, or its constraint, as it is, beneath this parent where it is a part: with what
the definition does not tell.';

create or replace function etl.defer_indexes(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  deferred regclass[];
  index regclass;
  repairs text[] := '{}';
begin
  -- A trigger may look things up by these indexes, for each row.
  if not etl.is_empty(target) or exists (
    select from etl.parts_of(target) p
    join pg_catalog.pg_trigger g on g.tgrelid = p.relation and not g.tgisinternal
  ) then
    return repairs;
  end if;
  deferred := etl.deferrable_indexes(target);
  if deferred = '{}' then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  foreach index in array deferred loop
    repairs := repairs || etl.drop_index(index);
  end loop;
  return repairs;
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all
is written: at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table
waiting until the commit; where it cannot be had at once, or there is no such index, nothing is locked or dropped.';

create or replace function etl.deferrable_indexes(target regclass)
returns regclass[]
language sql stable
set search_path = ''
as $$
  select array(
    select i.indexrelid::regclass
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and not i.indisunique and not i.indisexclusion and not x.relispartition
      -- What the definition does not tell, of none of its parts.
      and not exists (
        select from etl.parts_of(i.indexrelid) p
        join pg_catalog.pg_index part on part.indexrelid = p.relation
        join pg_catalog.pg_class partx on partx.oid = p.relation
        where not part.indisvalid or part.indisclustered or partx.reltablespace <> 0
          or obj_description(p.relation, 'pg_class') is not null
      )
    order by i.indexrelid
  )
$$;
comment on function etl.deferrable_indexes(regclass) is
  'The indexes of a table, partitioned or not, that enforce nothing, and of which no more is known than their
definitions.';

create or replace function etl.parts_of(whole regclass)
returns table (relation regclass, parent regclass, level int)
language sql stable
set search_path = ''
as $$
  select whole, null::regclass, 0
  union all
  select t.relid, t.parentrelid, t.level from pg_catalog.pg_partition_tree(whole) t where t.level > 0
$$;
comment on function etl.parts_of(regclass) is
  'A table or an index and, where it is partitioned, all its partitions, by level.';

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
comment on function etl.repair(text[]) is
  'Executes the statements that etl.free_values, etl.defer_indexes and etl.defer_self_references returned.';

revoke all on all functions in schema etl from public;
