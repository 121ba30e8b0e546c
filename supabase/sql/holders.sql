-- Who is in a run's way.

create or replace function etl.holder(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := (select etl.regclass_of(f.target) from etl.feeds f where f.name = feed_name);
  holder record;
begin
  select l.pid, a.xact_start into holder
  from pg_catalog.pg_locks l
  join pg_catalog.pg_database d on d.oid = l.database and d.datname = current_database()
  left join pg_catalog.pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.pid <> pg_backend_pid()
    and case l.classid
      -- As etl.claim_feeds() and etl.claim_tables() lock them.
      when hashtext('tdc-etl feed')::oid then l.objid = hashtext(feed_name)::oid
      when hashtext('tdc-etl table')::oid then
        l.objid = hashoid(etl.root_of(target))::oid
        -- Others that share a parent are in nobody's way.
        or (l.mode = 'ExclusiveLock' and l.objid in (
          select hashoid(etl.root_of(k.parent))::oid
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

revoke all on all functions in schema etl from public;
