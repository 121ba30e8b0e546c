-- What a record breaks by itself: NOT NULL, CHECK, the header once more. Then the rows that its keys leave, made whole.

create or replace function etl.validate_rows(target regclass, has_header boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rules jsonb;
  first_broken text;
  value text;
  offenders bigint;
begin
  select
    jsonb_agg(to_jsonb(r)),
    'case ' || string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) || ' end',
    'case bad.rule ' || string_agg(
      format('when %s then %s', r.rule, etl.value_of('pg_temp.etl_typed', 't', r.column_name)), ' '
    ) || ' end'
  into rules, first_broken, value
  from (
    select row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
    from (
      select c.attnum as place, c.name::text as column_name,
        -- Of a composite NOT NULL takes one of nulls; but a key with a null in it is found by no join.
        format(case
          when t.typtype <> 'c' then '%I is null'
          when c.name = any (etl.key_of(target)) then '(%I is not null) is not true'
          else 'num_nulls(%I) = 1'
        end, c.name) as broken,
        'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
      from pg_temp.etl_columns c
      join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
      join pg_catalog.pg_type t on t.oid = etl.base_type(a.atttypid)
      union all
      select
        null,
        case
          when cardinality(k.conkey) = 1 then (select c.name from pg_temp.etl_columns c where c.attnum = k.conkey[1])
        end,
        format('(%s) is false', pg_get_expr(k.conbin, k.conrelid)),
        'breaks the rule ' || pg_get_constraintdef(k.oid), '23514', k.conname
      from pg_catalog.pg_constraint k
      where k.conrelid = target and k.contype = 'c'
        and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
      union all
      select
        null, null, string_agg(format('%I::text = %L collate "C"', c.name, c.source), ' and ')
          -- Where the feed's row has the names, the partner may begin to send such a line, as the first one.
          || case when has_header then '' else $sql$ and etl$staged = '(0,1)'$sql$ end,
        'repeats the header line', '22P04', null
      from pg_temp.etl_columns c
      where c.name is not null and c.stored
      having not etl.is_staged_json()
    ) r
  ) r;
  offenders := etl.execute_on(
    target, 'etl_typed',
    etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select bad.etl$staged, r.column_name, bad.value, r.reason, r.sqlstate, r.constraint_name
      from (
        select t.etl$staged, bad.rule, {value} as value
        from pg_temp.etl_typed t
        cross join lateral (select {first_broken} as rule) bad
        where bad.rule is not null
      ) bad
      join jsonb_to_recordset({rules}) as r(
        rule int, column_name text, reason text, sqlstate text, constraint_name text
      ) using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken, 'value', value, 'rules', quote_literal(rules))
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl$staged between $1 and $2$sql$,
      jsonb_build_object('first_broken', first_broken)
    )
  );
  perform etl.remove_rejected('etl_typed', offenders);
end
$$;
comment on function etl.validate_rows(regclass, boolean) is
  'Rejects what breaks NOT NULL, a CHECK of carried columns, or is the header line once more. has_header: whether the
file has such a line; where the feed''s row names its columns, its first record alone may be one.';

create or replace function etl.drop_duplicates(target regclass, some_unchanged boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  places jsonb := jsonb_build_object('key', etl.each(key, '{column}'));
  repeated boolean;
  undone bigint := 0;
  dropped bigint := 0;
begin
  if some_unchanged and exists (select from pg_temp.etl_typed t where t.etl$exists) then
    -- Otherwise Postgres may sort all cells by their key, where a look at each would do.
    analyze pg_temp.etl_typed;
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed d
      using ({typed}) t
      where d.etl$exists and {same_key} and t.etl$staged > d.etl$staged
        and not exists (select from pg_temp.etl_rejected r where r.etl$staged = t.etl$staged)
      $sql$,
      jsonb_build_object(
        'typed', etl.typed_cells(with_length => true), 'same_key', etl.same_key(target, 't', 'd')
      )
    );
    get diagnostics undone = row_count;
  end if;
  execute etl.fill(
    $sql$select exists (select from pg_temp.etl_typed group by {key} having count(*) > 1)$sql$, places
  ) into repeated;
  if repeated then
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed t
      using (
        select etl$staged, row_number() over (partition by {key} order by etl$staged desc) as place
        from pg_temp.etl_typed
      ) d
      where d.etl$staged = t.etl$staged and d.place > 1
      $sql$,
      places
    );
    get diagnostics dropped = row_count;
  end if;
  return undone + dropped;
end
$$;
comment on function etl.drop_duplicates(regclass, boolean) is
  'Of records with the same key the last one stays, and none where that one is what the target has already; returns
how many went. some_unchanged: whether any record is what the target has.';

create or replace function etl.complete_rows(target regclass)
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  key name[] := etl.key_of(target);
  is_known constant text := etl.each(key[:1], 'o.{column} is not null');
  kept text;
  generated text;
  kept_names text;
  rows text;
  filled text;
begin
  -- A volatile default is left out, as one that takes from a sequence: a look at the rules must not move it.
  select
    string_agg(
      etl.fill('case when {is_known} then o.{column} else {default} end as {column}', jsonb_build_object(
        'is_known', is_known, 'column', quote_ident(a.attname),
        'default', case when a.attidentity = '' and not d.is_volatile then d.value else 'null' end
      )),
      ', '
    ) filter (where a.attgenerated = ''),
    string_agg(d.value || ' as ' || quote_ident(a.attname), ', ') filter (where a.attgenerated <> ''),
    string_agg(quote_ident(a.attname), ', ')
  into kept, generated, kept_names
  from pg_catalog.pg_attribute a
  cross join lateral (
    select coalesce(d.value, 'null') as value, d.is_volatile from etl.default_of(target, a.attnum) d
  ) d
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if kept is null and generated is null then
    -- They are whole: no second copy of them. The other table is the next feed's etl_typed.
    alter table if exists pg_temp.etl_delta rename to etl_spare;
    alter table pg_temp.etl_typed rename to etl_delta;
    alter table if exists pg_temp.etl_spare rename to etl_typed;
    return;
  end if;
  rows := etl.fill(
    $sql$
    select {columns}
    from (select {carried} from pg_temp.etl_typed t left join {target} o on {same_key}) d
    $sql$,
    jsonb_build_object(
      'target', target, 'same_key', etl.same_key(target, 'o', 't'),
      'columns', concat_ws(', ', 'd.*', generated),
      'carried', concat_ws(
        ', ', 't.etl$staged', etl.each(etl.carried_columns(), 't.{column}'), '(' || is_known || ') as etl$exists', kept
      )
    )
  );
  if generated is null then
    perform etl.shape_table('etl_delta', '{etl$staged tid,etl$exists boolean}'::text[] || array(
      select format('%I %s', a.attname, etl.step_type(target, a.attnum))
      from pg_catalog.pg_attribute a
      where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      order by a.attnum
    ));
    filled := etl.fill('insert into pg_temp.etl_delta ({columns}) ', jsonb_build_object(
      'columns', concat_ws(', ', 'etl$staged', etl.each(etl.carried_columns(), '{column}'), 'etl$exists', kept_names)
    ));
  else
    -- What a generated column's expression gives is converted at the write alone, where that is asked of each record.
    drop table if exists pg_temp.etl_delta;
    filled := 'create temp table etl_delta on commit drop as ';
  end if;
  perform etl.execute_on(
    target, 'etl_typed', filled || rows, rows || ' where d.etl$staged between $1 and $2'
  );
end
$$;
comment on function etl.complete_rows(regclass) is
  'Makes etl_delta of etl_typed: whole rows, as they would be stored, with what the feed does not carry.';

create or replace function etl.validate_checks(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rule record;
  places jsonb;
  offenders bigint;
begin
  for rule in
    select a.attname
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      and a.attidentity = '' and (etl.default_of(target, a.attnum)).value is null and etl.is_required(target, a.attnum)
      and not exists (select from pg_temp.etl_columns c where c.name = a.attname)
      -- An empty table has come to require it meanwhile: no record is at fault.
      and not etl.is_empty(target)
    order by a.attnum
  loop
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, reason, sqlstate)
      select d.etl$staged, {name}, 'is missing', '23502' from pg_temp.etl_delta d where d.{column} is null
      $sql$,
      jsonb_build_object('name', quote_literal(rule.attname), 'column', quote_ident(rule.attname))
    );
    get diagnostics offenders = row_count;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  for rule in
    select
      k.conname, pg_get_expr(k.conbin, k.conrelid) as holds, pg_get_constraintdef(k.oid) as definition,
      case when cardinality(k.conkey) = 1 then a.attname end as column_name
    from pg_catalog.pg_constraint k
    left join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = k.conkey[1]
    where k.conrelid = target and k.contype = 'c'
      and not k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
      -- Of the row as a whole, or of where it is stored, the write alone can be asked.
      and 0 < all (k.conkey)
    order by k.conname
  loop
    places := jsonb_build_object(
      'holds', rule.holds, 'column_name', quote_nullable(rule.column_name),
      'value', etl.value_of('pg_temp.etl_delta', 'd', rule.column_name),
      'reason', quote_literal('breaks the rule ' || rule.definition), 'constraint_name', quote_literal(rule.conname)
    );
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl$staged, {column_name}, {value}, {reason}, '23514', {constraint_name}
        from pg_temp.etl_delta d
        where ({holds}) is false
        $sql$,
        places
      ),
      etl.fill($sql$select {holds} from pg_temp.etl_delta where etl$staged between $1 and $2$sql$, places)
    );
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
end
$$;
comment on function etl.validate_checks(regclass) is
  'Rejects what lacks a required column that the feed does not carry, or breaks a CHECK that names such a column:
both are tried on the row as it would be stored.';

revoke all on all functions in schema etl from public;
