-- What a person permits that the loader does not do by itself.

create or replace function etl.approve(feed_name text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  of_feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  removals bigint := (select s.withheld from etl.feed_state s where s.feed = feed_name);
begin
  if of_feed.name is null then
    raise exception 'there is no feed %', feed_name
      using errcode = 'ETL01',
        hint = 'etl.feeds has: '
          || coalesce((select string_agg(f.name, ', ' order by f.name) from etl.feeds f), 'none');
  end if;
  if of_feed.absent = 'keep' or coalesce(removals, 0) = 0 then
    return format('Nothing of %s is withheld.', of_feed.name);
  end if;
  insert into etl.approvals as a (feed, removals) values (of_feed.name, removals)
  on conflict on constraint approvals_pkey do update
  set removals = excluded.removals, approved_at = excluded.approved_at;
  return format('The next run may %s up to %s rows of %s.', of_feed.absent, removals, of_feed.target);
end
$$;
comment on function etl.approve(text) is
  'Permits the next run to delete or mark as many rows as the last one withheld, and no more; says how many. Raises
ETL01 for a name that is not in etl.feeds.';

revoke all on all functions in schema etl from public;
