-- What a record breaks beside others: FOREIGN KEY and UNIQUE.

create or replace function etl.validate_relations(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform etl.validate_references(target);
    exit when not etl.validate_unique(target);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass) is
  'Rejects orphans and unique violations, until there is none: a record that goes may have been another''s parent.';

create or replace function etl.validate_references(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  again boolean := true;
  has_self_reference boolean := exists (
    select from pg_catalog.pg_constraint k where k.conrelid = target and k.confrelid = target
  );
begin
  while again loop
    again := false;
    for fk in
      select
        k.conname, k.confrelid::regclass as parent,
        etl.each(array_agg(child.attname), 'd.{column} is not null', ' and ') as present,
        string_agg(
          etl.fill('p.{parent} {equals} d.{child}', jsonb_build_object(
            'parent', quote_ident(parent.attname), 'child', quote_ident(child.attname),
            'equals', format('operator(%I.%s)', n.nspname, o.oprname)
          )),
          ' and '
        ) as matches,
        case when cardinality(k.conkey) = 1 then min(child.attname::text) end as column_name,
        k.conkey && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
      from pg_catalog.pg_constraint k
      cross join unnest(k.conkey, k.confkey, k.conpfeqop) as pair(child, parent, equals)
      join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
      join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
      join pg_catalog.pg_operator o on o.oid = pair.equals
      join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
      where k.conrelid = target and k.contype = 'f'
      group by k.oid, k.conname, k.confrelid, k.conkey
      order by k.conname
    loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl_staged, {column_name}, to_jsonb(d) ->> {column_name}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta d
        where {touched} and {present} and not exists (select from {parent} p where {matches}) {nor_in_the_feed}
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.conname),
          'reason', quote_literal('is in no row of ' || fk.parent), 'parent', fk.parent,
          'touched', case when fk.is_carried then 'true' else 'not d.etl_exists' end,
          'present', fk.present, 'matches', fk.matches,
          'nor_in_the_feed', case
            when fk.parent = target then format('and not exists (select from pg_temp.etl_delta p where %s)', fk.matches)
            else ''
          end
        )
      );
      get diagnostics offenders = row_count;
      perform etl.remove_rejected('etl_delta', offenders);
      again := again or (offenders > 0 and has_self_reference);
    end loop;
  end loop;
end
$$;
comment on function etl.validate_references(regclass) is
  'Rejects orphans: what a foreign key finds no parent for. A parent may be in the same feed; without it, its
children go too.';

create or replace function etl.validate_unique(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  offenders bigint;
  any_rejected boolean := false;
begin
  for ix in
    select i.*, case when cardinality(i.columns) = 1 then i.columns[1] end as column_name
    from etl.unique_indexes(target) i
    where not i.excludes
  loop
    places := jsonb_build_object(
      'target', target, 'entry', ix.entry, 'entry_names', ix.entry_names, 'holds', ix.holds, 'same', ix.same,
      'column_name', quote_nullable(ix.column_name), 'constraint_name', quote_literal(ix.name),
      'key', etl.each(key, '{column}'), 'is_known', etl.each(key[:1], 'e.{column} is not null'),
      'same_key', etl.each(key, 'g.{column} = e.{column}', ' and ')
    );
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        with fresh as (
          select etl_staged, to_jsonb(r) ->> {column_name} as etl_value, {entry}
          from pg_temp.etl_delta r
          where {holds}
        )
        insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate, constraint_name)
        select t.etl_staged, {column_name}, t.etl_value, 'is another row''s already', '23505', {constraint_name}
        from (
          select
            d.*, g.etl_staged is null and {is_known} as kept,
            row_number() over (
              partition by {entry_names}
              order by (g.etl_staged = d.etl_staged) is true desc, d.etl_staged
            ) as place
          from fresh d
          left join (select {key}, {entry} from {target} where {holds}) e on {same}
          left join pg_temp.etl_delta g on {same_key}
        ) t
        where t.kept or t.place > 1
        $sql$,
        places
      ),
      etl.fill(
        $sql$
        select {entry}
        from (select * from pg_temp.etl_delta where etl_staged between $1 and $2 offset 0) d
        where {holds}
        $sql$,
        places
      )
    );
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_unique(regclass) is
  'Rejects unique violations: a value that a row of the target has and keeps, or an earlier record of the feed has.
Returns whether there was any.';

create or replace function etl.unique_indexes(target regclass)
returns table (
  index oid, name name, columns name[], excludes boolean, entry text, entry_names text, holds text, same text
)
language sql stable
set search_path = ''
as $$
  select
    x.oid, x.relname,
    array_agg(a.attname order by u.position),
    i.indisexclusion,
    string_agg(format('(%s) as etl_%s', u.value, u.position), ', ' order by u.position),
    string_agg('d.etl_' || u.position, ', ' order by u.position),
    concat_ws(
      ' and ', coalesce('(' || pg_get_expr(i.indpred, i.indrelid) || ')', 'true'),
      case
        when not i.indnullsnotdistinct then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
      end
    ),
    string_agg(
      etl.fill('e.etl_{position} {equals} d.etl_{position}', jsonb_build_object('position', u.position, 'equals', case
        when i.indnullsnotdistinct then 'is not distinct from'
        when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname)
        else '='
      end)),
      ' and ' order by u.position
    )
  from pg_catalog.pg_index i
  join pg_catalog.pg_class x on x.oid = i.indexrelid
  cross join lateral (
    select position, pg_get_indexdef(i.indexrelid, position, false) as value
    from generate_series(1, i.indnkeyatts::int) position
  ) u
  left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[u.position - 1]
  left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype = 'x'
  left join pg_catalog.pg_operator o on o.oid = k.conexclop[u.position]
  left join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where i.indrelid = target and (i.indisunique or i.indisexclusion) and not i.indisprimary
  group by x.oid, i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct, i.indisexclusion, x.relname
  order by x.relname
$$;
comment on function etl.unique_indexes(regclass) is
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an
expression), what they hold of a row, as etl_1, etl_2, …, of which rows (one with a null violates nothing), and when
the entries e and d are the same, or exclude each other.';

revoke all on all functions in schema etl from public;
