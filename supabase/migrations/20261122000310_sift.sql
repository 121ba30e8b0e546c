-- The rules, set by set, read from the target's own columns and constraints: what breaks one is put aside in
-- etl_rejected, with its reason. The temp tables are those of the migration before.

create or replace function etl.typed_cells(with_length boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select format('select cells.etl_staged, %s from pg_temp.etl_cells cells', string_agg(
      format(case when c.textual then 'cells.%I::%s' else 'nullif(cells.%I, '''')::%s' end || ' as %1$I',
        c.name, case when with_length then c.type else c.base_type end),
      ', ' order by c.position
    ))
    from pg_temp.etl_columns c
    where c.name is not null
  );
end
$$;
comment on function etl.typed_cells(boolean) is
  'SQL text: the query that casts etl_cells, to the columns'' types with their length, or without: a cast to varchar(3) cuts what
is longer, where the assignment to such a column raises.';

create or replace function etl.cast_cells(target regclass, as_json boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  same_key text := etl.names(key, 'o.%I = t.%I', ' and ');
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key));
  -- *<> compares what is stored, byte by byte: it needs no equality operator, and sees 1.0 become 1.00.
  differs text := format('row(%s)::record operator(pg_catalog.*<>) row(%s)::record', etl.names(rest, 't.%I'), etl.names(rest, 'o.%I'));
  typed text := etl.typed_cells(with_length => false);
  statement text := format('insert into pg_temp.etl_typed select t.*, false from (%s) t', typed);
  all_new boolean;
  different bigint;
  assigned bigint := 0;
begin
  execute format(
    'create temp table etl_typed (etl_staged tid, %s, etl_known boolean) on commit drop',
    (select string_agg(format('%I %s', c.name, c.type), ', ' order by c.position) from pg_temp.etl_columns c where c.name is not null)
  );
  execute format('select not exists (select from %s)', target) into all_new;
  if not all_new then
    -- OFFSET 0: without it Postgres casts behind the join, which then spills the text of all rows.
    statement := format(
      'insert into pg_temp.etl_typed
      select t.*, o.%1$I is not null from (%2$s offset 0) t left join %3$s o on %4$s where o.%1$I is null or %5$s',
      key[1], typed, target, same_key, differs
    );
  end if;
  begin
    execute statement;
  exception when data_exception or integrity_constraint_violation then
    perform etl.sift_cells();
    perform etl.name_cells(as_json);
    execute statement;
  end;
  get diagnostics different = row_count;
  if not all_new and exists (select from pg_temp.etl_columns c where c.type <> c.base_type) then
    -- The assignment may have made of it what the target has: 1 is stored as 1.00.
    if exists (select from pg_temp.etl_columns c where c.type <> c.base_type and c.name = any (key)) then
      execute format('update pg_temp.etl_typed t set etl_known = true from %s o where not t.etl_known and %s', target, same_key);
    end if;
    execute format('delete from pg_temp.etl_typed t using %s o where %s and not %s', target, same_key, differs);
    get diagnostics assigned = row_count;
  end if;
  return different - assigned;
end
$$;
comment on function etl.cast_cells(regclass, boolean) is
  'Fills etl_typed with what is new or differs, and returns how many records that is; puts aside those with a cell that is no
value of its column''s type. etl_known: whether the target has the key.';

create or replace function etl.sift_cells()
returns void
language plpgsql
set search_path = ''
as $$
declare
  tests text;
begin
  select string_agg(
    format('when not pg_input_is_valid(%s, %L) then %L', c.cell, c.type, c.name), ' ' order by c.attnum
  )
  into tests
  from (
    select attnum, name, type, format(case when textual then '%I' else 'nullif(%I, '''')' end, name) as cell
    from pg_temp.etl_columns
    where name is not null and type <> 'text'
  ) c;
  execute format($sift$
    insert into pg_temp.etl_rejected (etl_staged, column_name, value, reason, sqlstate)
    select bad.etl_staged, bad.name, bad.value, case why.sql_error_code
        when '22003' then 'is out of the range of ' when '22008' then 'is out of the range of '
        when '22001' then 'is too long for ' when '23514' then 'breaks a rule of '
        else 'is no '
      end || c.type,
      why.sql_error_code
    from (
      select cells.etl_staged, found.name, to_jsonb(cells) ->> found.name as value
      from pg_temp.etl_cells cells
      cross join lateral (select case %s end as name) found
      where found.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    cross join pg_input_error_info(bad.value, c.type) why
  $sift$, tests);
end
$$;
comment on function etl.sift_cells() is 'Puts aside the records with a cell that is no value of its column''s type.';

create or replace function etl.sift_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  tests text;
  found bigint;
begin
  create temp table etl_rules on commit drop as
  select
    row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
  from (
    select c.attnum as place, c.name::text as column_name, format('%I is null', c.name) as broken,
      'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
    from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
    union all
    select
      null, case when cardinality(k.conkey) = 1 then (select c.name from pg_temp.etl_columns c where c.attnum = k.conkey[1]) end,
      format('(%s) is false', pg_get_expr(k.conbin, k.conrelid)),
      'breaks the rule ' || pg_get_constraintdef(k.oid), '23514', k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.contype = 'c' and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    union all
    select null, null, string_agg(format('%I::text = %L', c.name, c.source), ' and '), 'repeats the header line', '22P04', null
    from pg_temp.etl_columns c
    where c.name is not null
  ) r;
  select string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) into tests from pg_temp.etl_rules r;
  found := etl.execute_on(target, 'etl_typed', format($sift$
    insert into pg_temp.etl_rejected
    select bad.etl_staged, r.column_name, bad.typed ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
    from (
      select t.etl_staged, found.rule, to_jsonb(t) as typed
      from pg_temp.etl_typed t
      cross join lateral (select case %s end as rule) found
      where found.rule is not null
    ) bad
    join pg_temp.etl_rules r using (rule)
  $sift$, tests), format('select case %s end from pg_temp.etl_typed where etl_staged between $1 and $2', tests));
  drop table pg_temp.etl_rules;
  perform etl.set_aside('etl_typed', found);
end
$$;
comment on function etl.sift_rows(regclass) is 'Puts aside what breaks NOT NULL or a CHECK, or is the header once more.';

create or replace function etl.drop_duplicates(target regclass, some_unchanged boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  repeated boolean;
  undone bigint := 0;
  dropped bigint := 0;
begin
  if some_unchanged and exists (select from pg_temp.etl_typed t where t.etl_known) then
    -- Otherwise Postgres may sort all cells by their key, where a look at each would do.
    analyze pg_temp.etl_typed;
    execute format(
      'delete from pg_temp.etl_typed d
      using (%s) t
      where d.etl_known and %s and t.etl_staged > d.etl_staged
        and not exists (select from pg_temp.etl_rejected r where r.etl_staged = t.etl_staged)',
      etl.typed_cells(with_length => true), etl.names(key, 't.%I = d.%I', ' and ')
    );
    get diagnostics undone = row_count;
  end if;
  execute format('select exists (select from pg_temp.etl_typed group by %s having count(*) > 1)', etl.names(key)) into repeated;
  if repeated then
    execute format($drop$
      delete from pg_temp.etl_typed t
      using (select etl_staged, row_number() over (partition by %s order by etl_staged desc) as place from pg_temp.etl_typed) d
      where d.etl_staged = t.etl_staged and d.place > 1
    $drop$, etl.names(key));
    get diagnostics dropped = row_count;
  end if;
  return undone + dropped;
end
$$;
comment on function etl.drop_duplicates(regclass, boolean) is
  'Of records with the same key the last one stays, and none where that one is what the target has already; returns how many
went. some_unchanged: whether any record is what the target has.';

create or replace function etl.sift_checks(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rule record;
  found bigint;
begin
  for rule in
    select k.conname, pg_get_expr(k.conbin, k.conrelid) as holds, 'breaks the rule ' || pg_get_constraintdef(k.oid) as reason,
      case when cardinality(k.conkey) = 1 then a.attname end as column_name
    from pg_catalog.pg_constraint k
    left join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = k.conkey[1]
    where k.conrelid = target and k.contype = 'c'
      and not k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    order by k.conname
  loop
    found := etl.execute_on(
      target, 'etl_delta',
      format(
        'insert into pg_temp.etl_rejected
        select d.etl_staged, %1$L, to_jsonb(d) ->> %1$L, %2$L, ''23514'', %3$L from pg_temp.etl_delta d where (%4$s) is false',
        rule.column_name, rule.reason, rule.conname, rule.holds
      ),
      format('select %s from pg_temp.etl_delta where etl_staged between $1 and $2', rule.holds)
    );
    perform etl.set_aside('etl_delta', found);
  end loop;
end
$$;
comment on function etl.sift_checks(regclass) is
  'Puts aside what breaks a CHECK that names a column the feed does not carry: it is tried on the row as it would be stored.';

create or replace function etl.sift_orphans(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  found bigint;
  again boolean := true;
  has_elders boolean := exists (select from pg_catalog.pg_constraint k where k.conrelid = target and k.confrelid = target);
begin
  while again loop
    again := false;
    for fk in
      select
        k.conname, k.confrelid::regclass as parent,
        string_agg(format('d.%I is not null', child.attname), ' and ') as present,
        string_agg(format('p.%I operator(%I.%s) d.%I', parent.attname, n.nspname, o.oprname, child.attname), ' and ') as matches,
        case when cardinality(k.conkey) = 1 then min(child.attname::text) end as column_name,
        case when k.conkey && array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
          then 'true' else 'not d.etl_known' end as touched
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
      execute format(
        'insert into pg_temp.etl_rejected
        select d.etl_staged, %L, to_jsonb(d) ->> %1$L, %L, ''23503'', %L
        from pg_temp.etl_delta d
        where %s and %s and not exists (select from %s p where %s)',
        fk.column_name, 'is in no row of ' || fk.parent, fk.conname, fk.touched, fk.present, fk.parent, fk.matches
      ) || case when fk.parent = target then format(' and not exists (select from pg_temp.etl_delta p where %s)', fk.matches) else '' end;
      get diagnostics found = row_count;
      perform etl.set_aside('etl_delta', found);
      again := again or (found > 0 and has_elders);
    end loop;
  end loop;
end
$$;
comment on function etl.sift_orphans(regclass) is
  'Puts aside what a foreign key finds no parent for. A parent may be in the same feed; without it, its children go too.';

create or replace function etl.unique_indexes(target regclass)
returns table (index oid, name name, columns name[], excludes boolean, entry text, entry_names text, holds text, same text)
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
      case when not i.indnullsnotdistinct then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position) end
    ),
    string_agg(
      format(
        case when i.indnullsnotdistinct then 'e.etl_%1$s is not distinct from d.etl_%1$s' else 'e.etl_%1$s %2$s d.etl_%1$s' end,
        u.position, case when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname) else '=' end
      ),
      ' and ' order by u.position
    )
  from pg_catalog.pg_index i
  join pg_catalog.pg_class x on x.oid = i.indexrelid
  cross join lateral (
    select position, pg_get_indexdef(i.indexrelid, position, false) as value from generate_series(1, i.indnkeyatts::int) position
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
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an expression), what
they hold of a row, as etl_1, etl_2, …, of which rows (those with a null can have no twin), and when the entries e and d are
the same, or exclude each other.';

create or replace function etl.sift_twins(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  twin record;
  rejected bigint;
  any_rejected boolean := false;
begin
  for twin in
    select *, case when cardinality(columns) = 1 then columns[1] end as column_name from etl.unique_indexes(target) where not excludes
  loop
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    rejected := etl.execute_on(target, 'etl_delta', format(
      'with fresh as (select etl_staged, to_jsonb(r) ->> %1$L as etl_value, %2$s from pg_temp.etl_delta r where %3$s)
      insert into pg_temp.etl_rejected
      select t.etl_staged, %1$L, t.etl_value, %4$L, ''23505'', %5$L
      from (
        select d.*, g.etl_staged is null and e.%6$I is not null as kept,
          row_number() over (partition by %7$s order by (g.etl_staged = d.etl_staged) is true desc, d.etl_staged) as place
        from fresh d
        left join (select %8$s, %2$s from %9$s where %3$s) e on %10$s
        left join pg_temp.etl_delta g on %11$s
      ) t
      where t.kept or t.place > 1',
      twin.column_name, twin.entry, twin.holds, 'is another row''s already', twin.name,
      key[1], twin.entry_names, etl.names(key), target, twin.same, etl.names(key, 'g.%I = e.%I', ' and ')
    ), format(
      'select %s from (select * from pg_temp.etl_delta where etl_staged between $1 and $2 offset 0) d where %s', twin.entry, twin.holds
    ));
    any_rejected := any_rejected or rejected > 0;
    perform etl.set_aside('etl_delta', rejected);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.sift_twins(regclass) is
  'Puts aside what a unique index has already: in a row of the target that keeps it, or in an earlier record of the feed.
Returns whether it found any.';

revoke all on all functions in schema etl from public;
