-- The values inside a value: the elements of an array, the bounds of a range, the fields of a composite. What is
-- refused in a column of its own is refused there, too.

create or replace function etl.has_refused_part(cell text, type oid, rules jsonb)
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select
    from etl.values_within(cell, type) p
    where etl.is_refused(
      p.part, p.kind, nullif(rules -> p.kind ->> 'refused', ''),
      case
        when jsonb_typeof(rules -> p.kind -> 'forms') = 'array'
          then array(select jsonb_array_elements_text(rules -> p.kind -> 'forms'))
      end
    )
  )
$$;
comment on function etl.has_refused_part(text, oid, jsonb) is
  'Whether a cell holds a value that is refused, by etl.rules_of_parts(). False where it is no literal of its type: that
is for the type''s input to say.';

create or replace function etl.values_within(cell text, type oid)
returns table (kind text, part text)
language plpgsql stable strict
set search_path = ''
as $$
declare
  whole record;
begin
  kind := etl.plain_kind_of(type);
  if kind is not null then
    part := cell;
    return next;
    return;
  end if;
  select t.typtype, t.typcategory, t.typbasetype, t.typelem, t.typrelid
  into whole
  from pg_catalog.pg_type t
  where t.oid = type;
  if whole.typtype = 'd' then
    return query select p.* from etl.values_within(cell, whole.typbasetype) p;
  elsif whole.typtype = 'c' then
    return query
      select p.*
      from unnest(etl.split_literal(cell)) with ordinality as f(field, place)
      join (
        select a.atttypid, row_number() over (order by a.attnum) as place
        from pg_catalog.pg_attribute a
        where a.attrelid = whole.typrelid and a.attnum > 0 and not a.attisdropped
      ) c using (place)
      cross join lateral etl.values_within(f.field, c.atttypid) p;
  elsif whole.typtype = 'r' then
    return query
      select p.*
      from pg_catalog.pg_range r
      cross join unnest(etl.split_literal(cell)) as b(bound)
      cross join lateral etl.values_within(b.bound, r.rngsubtype) p
      where r.rngtypid = type;
  elsif whole.typtype = 'm' then
    return query
      select p.*
      from pg_catalog.pg_range r
      cross join regexp_matches(cell, '[[(](?:"(?:[^"\\]|\\.|"")*"|[^])"\\]|\\.)*[])]', 'g') as m(match)
      cross join lateral etl.values_within(m.match[1], r.rngtypid) p
      where r.rngmultitypid = type;
  elsif whole.typcategory = 'A' and pg_input_is_valid(cell, 'text[]') then
    return query
      select p.*
      from unnest(cell::text[]) as e(element)
      cross join lateral etl.values_within(e.element, whole.typelem) p;
  end if;
end
$$;
comment on function etl.values_within(text, oid) is
  'The values inside a literal of this type, however deep, which are of a kind of their own by etl.plain_kind_of(). None
where it is no such literal.';

create or replace function etl.split_literal(literal text)
returns text[]
language sql immutable
set search_path = ''
as $$
  select array_agg(
    (
      select string_agg(
        regexp_replace(coalesce(piece.match[1], piece.match[2]), '\\(.)|"(")', '\1\2', 'g'), '' order by piece.place
      )
      from regexp_matches(field.match[1], '"((?:[^"\\]|\\.|"")*)"|((?:[^"\\]|\\.)+)', 'g') with ordinality
        as piece(match, place)
    )
    order by field.place
  )
  from regexp_matches(
    substring(literal from '^\s*[[(](.*)[])]\s*$') || ',', '((?:"(?:[^"\\]|\\.|"")*"|[^,"\\]|\\.)*),', 'g'
  ) with ordinality as field(match, place)
$$;
comment on function etl.split_literal(text) is
  'The fields of a literal of a composite, or the bounds of one of a range, without their quotes; null for what is not
there.';

revoke all on all functions in schema etl from public;
