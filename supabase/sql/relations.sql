-- What a record breaks beside others: FOREIGN KEY and UNIQUE.

create or replace function etl.validate_relations(target regclass, feed etl.feeds default null)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform etl.validate_references(target);
    continue when etl.validate_unique(target);
    exit when not etl.validate_referenced(target, feed);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass, etl.feeds) is
  'Rejects orphans, unique violations and what gives up a value that rows refer to, until there is none: a record
that goes may have been another''s parent. feed: whose file etl_staging holds; null where there is none.';

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
    select from etl.foreign_keys(target) k where k.child = target and k.parent = target
  );
begin
  while again loop
    again := false;
    for fk in
      select k.*, k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
      from etl.foreign_keys(target) k
      where k.child = target
      order by k.name
    loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select c.etl$staged, {column_name}, {value}, {reason}, '23503', {constraint_name}
        from {children} c
        left join {parent} p on {matches}
        {given}
        where {touched} and {present} and (p.{parent_column} is null {or_given})
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.name),
          'value', etl.value_of('pg_temp.etl_delta', 'c', fk.column_name),
          'reason', quote_literal('is in no row of ' || fk.parent || case
            when etl.is_inherited(fk.parent) then ' itself: the tables that inherit from it do not count'
            when fk.parent <> target and etl.refers_to(fk.parent, target)
              then ', which refers to this table in turn: of two new rows that need each other neither can be first'
            else ''
          end),
          'parent', etl.own_rows(fk.parent),
          'touched', case when fk.is_carried then 'true' else 'not c.etl$exists' end,
          'present', fk.present, 'matches', fk.matches,
          'parent_column', quote_ident(fk.parent_columns[1]),
          -- A parent in the same table counts as the feed leaves it.
          'children', case
            when fk.parent = target then etl.fill(
              $sql$
              (
                select c.*
                from pg_temp.etl_delta c
                left join pg_temp.etl_delta p on {matches}
                where p.{parent_column} is null
              )
              $sql$,
              jsonb_build_object('matches', fk.matches, 'parent_column', quote_ident(fk.parent_columns[1]))
            )
            else 'pg_temp.etl_delta'
          end,
          'given', case
            when fk.parent = target then 'left join pg_temp.etl_delta g on ' || etl.same_key(target, 'g', 'p')
            else ''
          end,
          'or_given', case
            when fk.parent = target then format('or g.%I is not null', (etl.key_of(target))[1])
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

create or replace function etl.validate_referenced(target regclass, feed etl.feeds)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  any_rejected boolean := false;
begin
  for fk in
    select k.*, x.is_carried, k.on_update not in ('a', 'r') as is_followed
    from etl.foreign_keys(target) k
    cross join lateral (
      select k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
    ) x
    where k.parent = target
      and (k.on_update in ('a', 'r') or k.child = target and x.is_carried and feed.name is not null)
      and exists (select from pg_temp.etl_columns c where c.name = any (k.parent_columns))
      and not k.parent_columns <@ etl.key_of(target)
    order by k.name
  loop
    if fk.is_followed then
      perform etl.set_date_order(feed);
    end if;
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select d.etl$staged, {column_name}, {value}, {reason}, '23503', {constraint_name}
      from pg_temp.etl_delta d
      join {target} p on {same_key}
      where d.etl$exists and pg_catalog.record_image_ne(row({old}), row({new}))
        and exists (select 1 from {child} c where {matches} {and_lost} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', etl.own_rows(fk.child), 'matches', fk.matches,
        'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'value', etl.value_of(
          'pg_temp.etl_delta', 'd', case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end
        ),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.as_stored(target, 'p', fk.parent_columns), 'new', etl.as_stored(target, 'd', fk.parent_columns),
        -- Another spelling of what the key takes for the same is no other value, unless the key restricts any change.
        'and_lost', case
          when fk.on_update = 'a' then format('and not exists (select 1 from (select d.*) p where %s)', fk.matches)
          else ''
        end,
        'and_stays', case
          -- A child would follow, and its record in the same file says that it does not.
          when fk.is_followed then etl.fill(
            $sql$
            and exists (
              select 1 from ({typed}) t join {target} o on {same_key} where {is_child} and not {differs}
            )
            $sql$,
            jsonb_build_object(
              'typed', etl.typed_cells(with_length => true), 'same_key', etl.same_key(target, 't', 'o'),
              'target', target, 'is_child', etl.same_key(target, 'o', 'c'),
              'differs', etl.differs(etl.key_of(target))
            )
          )
          -- A child whose reference the feed changes, too, was an orphan or was not.
          when fk.child = target and fk.is_carried then etl.fill(
            'and not exists (select 1 from pg_temp.etl_delta g where {same_key})',
            jsonb_build_object('same_key', etl.same_key(target, 'g', 'c'))
          )
          else ''
        end
      )
    );
    get diagnostics offenders = row_count;
    if fk.is_followed then
      perform set_config('datestyle', 'ISO, MDY', true);
    end if;
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_referenced(regclass, etl.feeds) is
  'Rejects what gives up a value that a row refers to, where the foreign key neither cascades nor sets another, or where
that row is of the same file, and there as it was. Returns whether there was any.';

create or replace function etl.as_stored(of_table regclass, a text, columns name[])
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    format('%s.%I::%s', a, c.attname, format_type(etl.base_type(c.atttypid), -1)), ', ' order by u.position
  )
  from unnest(columns) with ordinality u(name, position)
  join pg_catalog.pg_attribute c on c.attrelid = of_table and c.attname = u.name
$$;
comment on function etl.as_stored(regclass, text, name[]) is
  'SQL text: these columns of a row, under this alias, by the types beneath all domains: for record_image_ne(), which
takes no two types for one.';

create or replace function etl.foreign_keys(of regclass)
returns table (
  name name, child regclass, parent regclass, attnums smallint[], column_name text, parent_columns name[],
  on_update "char", present text, matches text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
    select
      k.conname, k.conrelid::regclass, k.confrelid::regclass, k.conkey,
      case when cardinality(k.conkey) = 1 then min(child.attname::text) end,
      array_agg(parent.attname order by pair.position),
      k.confupdtype,
      '(' || string_agg(
        format('c.%I is not null', child.attname), case when k.confmatchtype = 'f' then ' or ' else ' and ' end
      ) || ')',
      string_agg(
        etl.fill('p.{parent} {equals} c.{child}{collation}', jsonb_build_object(
          'parent', quote_ident(parent.attname), 'child', quote_ident(child.attname),
          'equals', format('operator(%I.%s)', n.nspname, o.oprname),
          'collation', case
            when parent.attcollation <> child.attcollation then etl.collation_of(parent.attcollation)
            else ''
          end
        )),
        ' and '
      )
    from pg_catalog.pg_constraint k
    cross join unnest(k.conkey, k.confkey, k.conpfeqop) with ordinality as pair(child, parent, equals, position)
    join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
    join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
    join pg_catalog.pg_operator o on o.oid = pair.equals
    join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    where k.contype = 'f' and of in (k.conrelid, k.confrelid)
      -- A key to or from a partitioned table has one more row for each partition, beneath that of the table.
      and not exists (
        select from pg_catalog.pg_constraint whole
        where whole.oid = k.conparentid and (whole.conrelid = k.conrelid or whole.confrelid = k.confrelid)
          -- Of a partition by itself that row is the only one.
          and of in (whole.conrelid, whole.confrelid)
      )
    group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype;
end
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. on_update: a letter, as
in pg_constraint. SQL text: present, whether the child''s row c refers to anything (under MATCH FULL, in part);
matches, whether the parent''s row p is what it refers to, as the key compares.';

create or replace function etl.own_rows(of regclass)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return case when etl.is_inherited(of) then 'only ' else '' end || of;
end
$$;
comment on function etl.own_rows(regclass) is
  'SQL text: the rows that a foreign key from or to the table holds: those of its partitions, too, but not of tables
that inherit from it.';

create or replace function etl.refers_to(child regclass, parent regclass)
returns boolean
language sql stable
set search_path = ''
as $$
  with recursive reached as (
    select child::oid as oid
    union
    select k.confrelid
    from reached r
    join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
  )
  select exists (
    select from reached r join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
    where k.confrelid = parent
  )
$$;
comment on function etl.refers_to(regclass, regclass) is
  'Whether a table has a foreign key to another one, be it by way of others.';

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
      'value', etl.value_of('pg_temp.etl_delta', 'r', ix.column_name),
      'key', etl.each(key, '{column}'), 'is_known', etl.each(key[:1], 'e.{column} is not null'),
      'same_key', etl.same_key(target, 'g', 'e'),
      -- While rows refer to it, it cannot be set to null on its way to another row.
      'is_kept', case
        when ix.is_referenced then '(g.etl$staged = d.etl$staged) is not true'
        else 'g.etl$staged is null'
      end
    );
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        with fresh as (
          select etl$staged, {value} as etl$value, {entry}
          from pg_temp.etl_delta r
          where {holds}
        )
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select
          t.etl$staged, {column_name}, t.etl$value,
          'is another row''s ' || case when t.is_given_up then 'still, and rows refer to it' else 'already' end,
          '23505', {constraint_name}
        from (
          select
            d.*, {is_known} and {is_kept} as kept, {is_known} and {is_kept} and g.etl$staged is not null as is_given_up,
            row_number() over (
              partition by {entry_names}
              order by (g.etl$staged = d.etl$staged) is true desc, d.etl$staged
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
        from (select * from pg_temp.etl_delta where etl$staged between $1 and $2 offset 0) d
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
  index oid, name name, columns name[], excludes boolean, is_referenced boolean,
  entry text, entry_names text, holds text, same text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
    select
      x.oid, x.relname,
      array_agg(a.attname order by u.position),
      i.indisexclusion,
      exists (
        select from pg_catalog.pg_constraint k where k.contype = 'f' and k.confrelid = target and k.conindid = x.oid
      ),
      string_agg(format('(%s)%s as etl$%s', u.value, u.collation, u.position), ', ' order by u.position),
      string_agg('d.etl$' || u.position, ', ' order by u.position),
      concat_ws(
        ' and ', coalesce('(' || pg_get_expr(i.indpred, i.indrelid) || ')', 'true'),
        case
          when not i.indnullsnotdistinct
            then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
        end
      ),
      string_agg(
        etl.fill(
          case
            when i.indnullsnotdistinct
              then '(e.{entry} {equals} d.{entry} or (e.{entry} is null and d.{entry} is null))'
            else 'e.{entry} {equals} d.{entry}'
          end,
          jsonb_build_object('entry', 'etl$' || u.position, 'equals', case
            when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname)
            else etl.equals(x.oid, u.position)
          end)
        ),
        ' and ' order by u.position
      )
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    cross join lateral (
      select
        n as position, pg_get_indexdef(i.indexrelid, n, false) as value,
        etl.collation_of(i.indcollation[n - 1]) as collation
      from generate_series(1, i.indnkeyatts::int) n
    ) u
    left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[u.position - 1]
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype = 'x'
    left join pg_catalog.pg_operator o on o.oid = k.conexclop[u.position]
    left join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
    where i.indrelid = target and (i.indisunique or i.indisexclusion) and not i.indisprimary
    group by x.oid, i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct, i.indisexclusion, x.relname
    order by x.relname;
end
$$;
comment on function etl.unique_indexes(regclass) is
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an
expression), whether a foreign key refers to them, what they hold of a row, as etl$1, etl$2, …, of which rows (one
with a null violates nothing), and when the entries e and d are the same, or exclude each other.';

create or replace function etl.collation_of(collation_oid oid)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select coalesce(
      (
        select format(' collate %I.%I', n.nspname, c.collname)
        from pg_catalog.pg_collation c
        join pg_catalog.pg_namespace n on n.oid = c.collnamespace
        where c.oid = collation_oid and n.nspname || '.' || c.collname <> 'pg_catalog.default'
      ),
      ''
    )
  );
end
$$;
comment on function etl.collation_of(oid) is
  'SQL text: a COLLATE clause; empty for the database''s own collation, or none.';

revoke all on all functions in schema etl from public;
