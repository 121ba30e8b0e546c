-- What a long merge is at, for whoever watches.

create or replace function etl.tell_step(step text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- INFO alone is sent whatever client_min_messages says, and is in no log of the server's.
  raise info '%', step using detail = 'tdc-etl step';
end
$$;
comment on function etl.tell_step(text) is
  'Tells the client at once what is done next, by a notice with the detail "tdc-etl step".';

revoke all on all functions in schema etl from public;
