-- SQL text with named places. Every statement that the merge writes is filled here, and nowhere else.

create or replace function etl.fill(template text, places jsonb)
returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  place constant text := '\{([a-z_]+)\}';
  names text[] := array(select match[1] from regexp_matches(template, place, 'g') match);
  unfilled text := (select min(name) from unnest(names) name where places ->> name is null);
begin
  if unfilled is not null then
    raise exception 'nothing fills {%}', unfilled using errcode = 'internal_error';
  end if;
  return (
    select string_agg(concat(part.piece, places ->> part.name), '' order by part.position)
    from unnest(regexp_split_to_array(template, place), names) with ordinality as part(piece, name, position)
  );
end
$$;
comment on function etl.fill(text, jsonb) is
  'SQL text: the template with each {place} replaced by its value, which is SQL itself: quoted where it is a name or
a literal. One pass: what a value holds is no place. Raises XX000 for a place without a value.';

create or replace function etl.each(columns name[], template text, separator text default ', ')
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(replace(template, '{column}', quote_ident(c.name)), separator order by c.position)
  from unnest(columns) with ordinality as c(name, position)
$$;
comment on function etl.each(name[], text, text) is
  'SQL text: the template with {column} replaced by each column''s name, quoted, and joined; null where there is no
column.';

revoke all on all functions in schema etl from public;
