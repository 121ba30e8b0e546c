-- What a person accepts, once health has shown it.

create or replace function etl.approve(feed_name text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(feed_name);
  state etl.feed_state := (select s from etl.feed_state s where s.feed = feed_name);
  removals bigint := case when feed.absent <> 'keep' then state.withheld end;
begin
  perform etl.accept_usual(feed_name);
  update etl.feed_state s set undone_run = null, undone_at = null where s.feed = feed_name and s.undone_run is not null;
  if removals > 0 then
    insert into etl.approvals as a (feed, removals) values (feed_name, removals)
    on conflict on constraint approvals_pkey do update
    set removals = excluded.removals, approved_at = excluded.approved_at;
  end if;
  return coalesce(nullif(concat_ws(
    ' ',
    case
      when state.drifted_since is not null or state.shrunk_since is not null
        then format('The columns of its last file are usual now, and so are %s records.', state.records)
    end,
    case
      when state.undone_run is not null and not feed.enabled then 'It stays disabled, and health does not speak of it.'
    end,
    case
      when removals > 0 then format('The next run may %s up to %s rows of %s.', feed.absent, removals, feed.target)
    end
  ), ''), 'There is nothing to accept.');
end
$$;
comment on function etl.approve(text) is
  'Accepts what health says of the feed''s last file: its columns, how many records it has, and the removal of as many
rows as it lacks and were withheld, by the next run and no more than these; or that etl.undo() has disabled it. Says
what it has accepted. Raises ETL01 for a name that is not in etl.feeds.';

revoke all on all functions in schema etl from public;
