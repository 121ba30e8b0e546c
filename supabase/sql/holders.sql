-- Who is in a run's way.

create or replace function etl.holder(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := (select to_regclass(f.target) from etl.feeds f where f.name = feed_name);
  holder record;
begin
  select l.pid, a.xact_start into holder
  from pg_catalog.pg_locks l
  join pg_catalog.pg_database d on d.oid = l.database and d.datname = current_database()
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.pid <> pg_backend_pid()
    and case l.classid
      when etl.lock_part(hashtext('tdc-etl feed')) then l.objid = etl.lock_part(hashtext(feed_name))
      when etl.lock_part(hashtext('tdc-etl table')) then
        l.objid = etl.lock_part(hashoid(etl.root_of(target)))
        -- Others that share a parent are in nobody's way.
        or (l.mode = 'ExclusiveLock' and l.objid in (
          select etl.lock_part(hashoid(etl.root_of(k.parent)))
          from etl.foreign_keys(target) k
          where k.child = target
        ))
      else false
    end
  order by a.xact_start, l.pid
  limit 1;
  if holder.pid is null then
    return null;
  end if;
  return format(
    'Process %s of the database has it%s; select pg_terminate_backend(%1$s) ends that run.',
    holder.pid, ' since ' || to_char(holder.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
  );
end
$$;
comment on function etl.holder(text) is
  'Which process of the database has the feed, its table, or exclusively one that its keys refer to, since when, and
how that run is ended, for a message; null where nobody has. Since when is told to its own role, superusers and
pg_read_all_stats.';

create or replace function etl.lock_part(key int)
returns oid
language sql immutable
set search_path = ''
as $$
  select ((key::bigint + 4294967296) % 4294967296)::oid
$$;
comment on function etl.lock_part(int) is 'A key of an advisory lock as pg_locks shows it: without a sign.';

revoke all on all functions in schema etl from public;
