-- The feeds that runs have put off: which of them comes first now, and which of them wait on. A row is written by the
-- run that has claimed its feed, so that no two runs are at one row; only etl.lead() touches others, and waits for
-- none.

create or replace function etl.lead(names text[])
returns text
language plpgsql
set search_path = ''
as $$
declare
  leader text;
begin
  update etl.waiting w
  set led = true
  where w.feed = (
    select longest.feed
    from etl.waiting longest
    join etl.feeds f on f.name = longest.feed
    where not longest.led and (f.name = any (names) or (names = '{}' and f.enabled))
    order by longest.since, longest.feed
    limit 1
    for update of longest skip locked
  )
  returning w.feed into leader;
  return leader;
-- Under a stricter level, another run's commit.
exception when transaction_rollback then
  return null;
end
$$;
comment on function etl.lead(text[]) is
  'The feed that comes first in a run of these, or of all enabled ones where no name is given: of those that wait and
have not led yet, the one that waits longest; null where there is none. To be committed before the run begins: should
that feed break the run off, others are first in the next one.';

create or replace function etl.keep_waiting(leader text, had_turn text[], put_off jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from etl.waiting w where w.feed = any (had_turn);
  insert into etl.waiting as w (feed, since, reason)
  select f.name, now(), p.value
  from jsonb_each_text(put_off) p
  join etl.feeds f on f.name = p.key
  order by 1
  on conflict on constraint waiting_pkey do update
  set reason = excluded.reason, led = w.led and w.feed is not distinct from leader
  where (w.reason, w.led) is distinct from (excluded.reason, w.led and w.feed is not distinct from leader);
-- Whoever removes a feed meanwhile, or holds a lock, breaks no run: the next one puts it off once more.
exception when foreign_key_violation or lock_not_available or transaction_rollback then
  null;
end
$$;
comment on function etl.keep_waiting(text, text[], jsonb) is
  'Ends the waiting of the feeds that had their turn in this run, and begins or goes on with that of those that it put
off: feed -> why. A feed that waits on though it led gives way to others; one that did not lead may.';

revoke all on all functions in schema etl from public;
