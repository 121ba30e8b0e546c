-- Dates as they are mostly spelled, asked of thousands of cells at once. A regular expression costs from a third of a
-- microsecond to two for a cell, nearly all of which is to begin it; in a long text a few nanoseconds a character.

create or replace function etl.usual_day()
returns text
language sql immutable
set search_path = ''
as $$
  select '\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d(?::?\d\d)?)?)?'
$$;
comment on function etl.usual_day() is
  'A regular expression for the most usual dates, with a time or without; all of them are of one of etl.day_forms().';

create or replace function etl.accept_days()
returns void
language plpgsql
set search_path = ''
as $$
declare
  positions bigint[];
  good text;
begin
  -- To take a record apart twice costs more than it saves.
  if etl.is_staged_json() or etl.wide_cells() is not null then
    return;
  end if;
  select
    array_agg(c.position order by c.position),
    string_agg(
      etl.fill(
        $sql$
        coalesce(string_agg({plain}, e'\x01') collate "C" ~ {usual}, true) or not exists (
          select from pg_temp.etl_staging s
          where s.ctid >= part.first and s.ctid < part.next and ({spelled}) is not null and ({refused})
            and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
        )
        $sql$,
        jsonb_build_object(
          'spelled', x.spelled, 'plain', case when c.nulls = '{}' then x.cell else x.spelled end,
          'usual', quote_literal(replace('^(?:(?:{day})?\u0001)*(?:{day})?$', '{day}', etl.usual_day())),
          'refused', etl.refused_cell(x.cell, c.kind, c.refused, c.forms, c.decimal_comma, c.lenient)
        )
      ),
      ', ' order by c.position
    )
  into positions, good
  from pg_temp.etl_columns c
  cross join lateral (
    select place.cell, etl.spelled(place.cell, c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled
    from format('s.c%s', c.position) as place(cell)
  ) x
  where c.name is not null and c.kind in ('day', 'zoned day') and c.forms is not null;
  if positions is null then
    return;
  end if;
  -- By 32 pages, which hold some two thousand records.
  execute etl.fill(
    $sql$
    update pg_temp.etl_columns c
    set forms = null, refused = null
    from (
      select ($1)[g.place] as position
      from (
        select format('(%s,0)', n)::tid as first, format('(%s,0)', n + 32)::tid as next
        from generate_series(
          0, pg_relation_size('pg_temp.etl_staging') / current_setting('block_size')::bigint, 32
        ) n
      ) part
      cross join lateral (
        select array[{good}] as columns
        from pg_temp.etl_staging s
        where s.ctid >= part.first and s.ctid < part.next
      ) asked
      cross join unnest(asked.columns) with ordinality as g(is_good, place)
      group by g.place
      having bool_and(g.is_good)
    ) accepted
    where c.position = accepted.position
    $sql$,
    jsonb_build_object('good', good)
  ) using positions;
end
$$;
comment on function etl.accept_days() is
  'Takes the rules of those columns of days away in which no cell is refused, so that they are not asked of each.';

revoke all on all functions in schema etl from public;
