-- What a person accepts, once health has shown it.

create or replace function etl.approve(feed_name text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if not exists (select from etl.feeds f where f.name = feed_name) then
    raise exception 'there is no feed %', feed_name using errcode = 'ETL01', hint = 'table etl.feeds has them.';
  end if;
  perform etl.accept_usual(feed_name);
end
$$;
comment on function etl.approve(text) is
  'Accepts what health says of the feed''s last file: its columns, and how many records it has. Raises ETL01 for a name
that is not in etl.feeds.';

revoke all on all functions in schema etl from public;
