-- The merge: from text in a temp table to rows in the target, set by set. Read it from etl.merge at the end.
-- Every rule comes from pg_catalog. The steps hand each other temp tables, made anew for each feed:
--   etl_staging  the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file
--   etl_columns  which source column feeds which column of the target
--   etl_rejected the records put aside, by the ctid of their staged row
--   etl_cells    a view: the staged records that are whole, under the target's names, still text
--   etl_typed    the same with the target's types
--   etl_delta    what is new or differs from the target

create or replace function etl.target_of(feed etl.feeds)
returns regclass
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := to_regclass(feed.target);
begin
  if target is null then
    raise exception 'its table % does not exist', feed.target
      using errcode = 'undefined_table', hint = 'Create it in a migration, or correct etl.feeds.target.';
  end if;
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  return target;
end
$$;

create or replace function etl.key_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by k.position)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = target and i.indisprimary
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.names(columns name[], template text default '%I', separator text default ', ')
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(format(template, variadic array_fill(n, array[2])), separator order by position)
  from unnest(columns) with ordinality as c(n, position)
$$;
comment on function etl.names(name[], text, text) is 'SQL text: the template filled with each column''s name, at most twice, and joined.';

create or replace function etl.stage(feed_name text, header text[], delimiter text)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
begin
  perform etl.target_of(feed);
  drop table if exists
    pg_temp.etl_staging, pg_temp.etl_columns, pg_temp.etl_rejected, pg_temp.etl_typed, pg_temp.etl_delta cascade;
  create temp table etl_rejected (
    etl_staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text
  ) on commit drop;
  if header is null then
    create temp table etl_staging (record text) on commit drop;
    return $copy$copy pg_temp.etl_staging from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$;
  end if;
  perform etl.map_columns(feed, header);
  execute format(
    'create temp table etl_staging (%s) on commit drop',
    (select string_agg(format('c%s text', position), ', ' order by position) from pg_temp.etl_columns)
  );
  return format('copy pg_temp.etl_staging from stdin (format csv, header true, delimiter %L)', delimiter);
end
$$;
comment on function etl.stage(text, text[], text) is
  'Makes the staging table of a feed, for a CSV header or (header null) for JSON, and returns the COPY statement that fills it.
A last record of one character, EOT (U+0004), must follow the data: etl.merge checks that it arrived.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
begin
  create temp table etl_columns on commit drop as
  select
    h.position, h.source, a.attname as name, a.attnum,
    format_type(a.atttypid, a.atttypmod) as type,
    format_type(a.atttypid, -1) as base_type,
    t.typcategory = 'S' as textual
  from unnest(header) with ordinality as h(source, position)
  left join pg_catalog.pg_attribute a
    on a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.attname = coalesce(feed.columns ->> h.source, h.source)
  left join pg_catalog.pg_type t on t.oid = a.atttypid;

  select string_agg(quote_ident(twice.source), ', ') into fault
  from (select min(c.source) as source from pg_temp.etl_columns c group by coalesce(c.name, c.source) having count(*) > 1) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and (a.attname = any (etl.key_of(target)) or (a.attnotnull and not a.atthasdef and a.attidentity = ''))
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, (
        select left(string_agg(quote_ident(c.source), ', ' order by c.position), 500) from pg_temp.etl_columns c
      )
      using errcode = 'ETL03', hint = 'Where the feed spells a name differently, say so in etl.feeds.columns.';
  end if;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have.
Raises ETL03 where a column is named twice, or the key or a NOT NULL column without default is missing.';

create or replace function etl.take_end_mark(as_json boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  staged bigint;
begin
  execute format(
    'delete from pg_temp.etl_staging where %1$s = e''\x04'' and ctid = (select max(ctid) from pg_temp.etl_staging)',
    case when as_json then 'record' else 'c1' end
  );
  get diagnostics staged = row_count;
  if staged = 0 then
    raise exception 'Postgres took a line that holds only \. for the end of the data'
      using errcode = 'ETL04', hint = 'Ask the partner to quote this value.';
  end if;
  if as_json then
    delete from pg_temp.etl_staging where coalesce(btrim(record), '') = '';
  end if;
  select count(*) into staged from pg_temp.etl_staging;
  return staged;
end
$$;
comment on function etl.take_end_mark(boolean) is 'Proves that the whole feed was staged, and returns its number of records.';

create or replace function etl.sift_json(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
declare
  keys text[];
begin
  insert into pg_temp.etl_rejected (etl_staged, reason, sqlstate)
  select
    s.ctid,
    case
      when not s.record is json then 'is not valid JSON'
      when not s.record is json object then 'is not a JSON object'
      when not pg_input_is_valid(s.record, 'jsonb') then 'has a string that holds \u0000 or half of a surrogate pair'
      else 'has a key twice'
    end,
    '22032'
  from pg_temp.etl_staging s
  where not s.record is json object with unique keys;

  select array_agg(distinct k) into keys
  from (
    select s.record from pg_temp.etl_staging s where s.record is json object with unique keys limit 1000
  ) s
  cross join json_object_keys(s.record::json) k;

  perform etl.map_columns(feed, array(
    select k from unnest(keys) k
    union
    select w.source
    from (
      select coalesce((select m.key from jsonb_each_text(feed.columns) m where m.value = a.attname limit 1), a.attname) as source
      from pg_catalog.pg_attribute a
      where a.attrelid = etl.target_of(feed) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    ) w
    where w.source <> all (coalesce(keys, '{}')) and exists (
      select from pg_temp.etl_staging s
      where (strpos(s.record, to_json(w.source)::text) > 0 or strpos(s.record, '\') > 0)
        and case when s.record is json object with unique keys then s.record::jsonb ? w.source end
    )
  ));
end
$$;
comment on function etl.sift_json(etl.feeds) is
  'Puts aside what is no JSON object, and maps the keys: those of the first 1,000 objects, and any later one that the target has.';

create or replace function etl.name_cells(as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  carried text;
  origin text;
begin
  if as_json then
    select
      string_agg(format('x.%I as %I', c.source, c.name), ', '),
      format('pg_temp.etl_staging s, json_to_record(s.record::json) as x (%s)', string_agg(format('%I text', c.source), ', '))
    into carried, origin
    from pg_temp.etl_columns c
    where c.name is not null;
  else
    select string_agg(format('s.c%s as %I', c.position, c.name), ', '), 'pg_temp.etl_staging s'
    into carried, origin
    from pg_temp.etl_columns c
    where c.name is not null;
  end if;
  execute format('create temp view etl_cells as select s.ctid as etl_staged, %s from %s', carried, origin) || case
    when exists (select from pg_temp.etl_rejected)
      then ' where not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid)'
    else ''
  end;
end
$$;
comment on function etl.name_cells(boolean) is 'Makes the view etl_cells.';

create or replace function etl.cast_cells()
returns void
language plpgsql
set search_path = ''
as $$
declare
  carried name[] := array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position);
  statement text;
begin
  execute format(
    'create temp table etl_typed (etl_staged tid, %s) on commit drop',
    (select string_agg(format('%I %s', c.name, c.type), ', ' order by c.position) from pg_temp.etl_columns c where c.name is not null)
  );
  -- The cast is to the type without its length, so that the assignment to the column raises where '::varchar(3)' cuts.
  select format('insert into pg_temp.etl_typed select cells.etl_staged, %s from pg_temp.etl_cells cells', string_agg(
    format(case when c.textual then 'cells.%I::%s' else 'nullif(cells.%I, '''')::%s' end, c.name, c.base_type), ', ' order by c.position
  ))
  into statement
  from pg_temp.etl_columns c
  where c.name is not null;
  begin
    execute statement;
  exception when data_exception or integrity_constraint_violation then
    perform etl.sift_cells();
    execute statement || ' where not exists (select from pg_temp.etl_rejected r where r.etl_staged = cells.etl_staged)';
  end;
end
$$;
comment on function etl.cast_cells() is 'Fills etl_typed; puts aside the records with a cell that is no value of its column''s type.';

create or replace function etl.sift_cells()
returns void
language plpgsql
set search_path = ''
as $$
declare
  tests text;
begin
  select string_agg(
    format('when not pg_input_is_valid(%s, %L) then %L', c.cell, c.type, c.name), ' ' order by c.position
  )
  into tests
  from (
    select position, name, type, format(case when textual then '%I' else 'nullif(%I, '''')' end, name) as cell
    from pg_temp.etl_columns
    where name is not null
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

create or replace function etl.sift_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  tests text;
begin
  create temp table etl_rules on commit drop as
  select
    row_number() over () as rule, r.*
  from (
    select c.name::text as column_name, format('%I is null', c.name) as broken,
      'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
    from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
    union all
    select
      case when cardinality(k.conkey) = 1 then (select c.name from pg_temp.etl_columns c where c.attnum = k.conkey[1]) end,
      format('(%s) is false', pg_get_expr(k.conbin, k.conrelid)),
      'breaks the rule ' || pg_get_constraintdef(k.oid), '23514', k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.contype = 'c' and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    union all
    select null, string_agg(format('%I::text = %L', c.name, c.source), ' and '), 'repeats the header line', '22P04', null
    from pg_temp.etl_columns c
    where c.name is not null
  ) r;
  select string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) into tests from pg_temp.etl_rules r;
  execute format($sift$
    insert into pg_temp.etl_rejected
    select bad.etl_staged, r.column_name, bad.typed ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
    from (
      select t.etl_staged, found.rule, to_jsonb(t) as typed
      from pg_temp.etl_typed t
      cross join lateral (select case %s end as rule) found
      where found.rule is not null
    ) bad
    join pg_temp.etl_rules r using (rule)
  $sift$, tests);
  drop table pg_temp.etl_rules;
  perform etl.set_aside('etl_typed');
end
$$;
comment on function etl.sift_rows(regclass) is 'Puts aside what breaks NOT NULL or a CHECK, or is the header once more.';

create or replace function etl.set_aside(step text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if exists (select from pg_temp.etl_rejected) then
    execute format('delete from pg_temp.%I t using pg_temp.etl_rejected r where r.etl_staged = t.etl_staged', step);
  end if;
end
$$;

create or replace function etl.drop_duplicates(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key text := etl.names(etl.key_of(target));
  repeated boolean;
  dropped bigint := 0;
begin
  execute format('select exists (select from pg_temp.etl_typed group by %s having count(*) > 1)', key) into repeated;
  if repeated then
    execute format($drop$
      delete from pg_temp.etl_typed t
      using (select etl_staged, row_number() over (partition by %s order by etl_staged desc) as place from pg_temp.etl_typed) d
      where d.etl_staged = t.etl_staged and d.place > 1
    $drop$, key);
    get diagnostics dropped = row_count;
  end if;
  return dropped;
end
$$;
comment on function etl.drop_duplicates(regclass) is 'Of records with the same key the last one stays; returns how many went.';

create or replace function etl.find_delta(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key) order by c.position);
  same bigint;
begin
  -- *<> compares what is stored, byte by byte: it needs no equality operator, and sees 1.0 become 1.00.
  execute format(
    'create temp table etl_delta on commit drop as
    select t.*, o.%1$I is not null as etl_known
    from pg_temp.etl_typed t
    left join %2$s o on %3$s
    where o.%1$I is null or row(%4$s)::record operator(pg_catalog.*<>) row(%5$s)::record',
    key[1], target, etl.names(key, 'o.%I = t.%I', ' and '), etl.names(rest, 't.%I'), etl.names(rest, 'o.%I')
  );
  select (select count(*) from pg_temp.etl_typed) - (select count(*) from pg_temp.etl_delta) into same;
  return same;
end
$$;
comment on function etl.find_delta(regclass) is 'Keeps what is new or differs, in etl_delta; returns the number of records that are in the target already.';

create or replace function etl.sift_orphans(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  found bigint;
  again boolean := true;
begin
  while again loop
    again := false;
    for fk in
      select
        k.conname, k.confrelid::regclass as parent,
        string_agg(format('d.%I is not null', child.attname), ' and ') as present,
        string_agg(format('p.%I operator(%I.%s) d.%I', parent.attname, n.nspname, o.oprname, child.attname), ' and ') as matches,
        case when cardinality(k.conkey) = 1 then min(child.attname::text) end as column_name
      from pg_catalog.pg_constraint k
      cross join unnest(k.conkey, k.confkey, k.conpfeqop) as pair(child, parent, equals)
      join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
      join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
      join pg_catalog.pg_operator o on o.oid = pair.equals
      join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
      where k.conrelid = target and k.contype = 'f' and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
      group by k.oid, k.conname, k.confrelid, k.conkey
      order by k.conname
    loop
      execute format(
        'insert into pg_temp.etl_rejected
        select d.etl_staged, %L, to_jsonb(d) ->> %1$L, %L, ''23503'', %L
        from pg_temp.etl_delta d
        where %s and not exists (select from %s p where %s)',
        fk.column_name, 'is in no row of ' || fk.parent, fk.conname, fk.present, fk.parent, fk.matches
      ) || case when fk.parent = target then format(' and not exists (select from pg_temp.etl_delta p where %s)', fk.matches) else '' end;
      get diagnostics found = row_count;
      if found > 0 then
        again := again or fk.parent = target;
        perform etl.set_aside('etl_delta');
      end if;
    end loop;
  end loop;
end
$$;
comment on function etl.sift_orphans(regclass) is
  'Puts aside what a foreign key finds no parent for. A parent may be in the same feed; without it, its children go too.';

create or replace function etl.sift_twins(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  twin record;
  found bigint;
  again boolean := true;
begin
  while again loop
    again := false;
    for twin in
      select
        i.indexrelid::regclass::text as name,
        array_agg(a.attname order by u.position) as columns,
        coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') as predicate,
        i.indnullsnotdistinct as nulls_equal
      from pg_catalog.pg_index i
      cross join unnest(i.indkey::int2[]) with ordinality as u(attnum, position)
      join pg_temp.etl_columns c on c.attnum = u.attnum
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum
      where i.indrelid = target and i.indisunique and not i.indisprimary and i.indexprs is null and u.position <= i.indnkeyatts
      group by i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct, i.indnkeyatts
      having count(*) = i.indnkeyatts
      order by 1
    loop
      execute format(
        'with fresh as (select * from pg_temp.etl_delta where (%1$s) and %2$s)
        insert into pg_temp.etl_rejected
        select d.etl_staged, %3$L, to_jsonb(d) ->> %3$L, %4$L, ''23505'', %5$L
        from fresh d
        where exists (select from fresh e where %6$s and e.etl_staged < d.etl_staged)
          or exists (
            select from (select * from %7$s where (%1$s)) e
            where %6$s and not (%8$s) and not exists (select from pg_temp.etl_delta r where %9$s)
          )',
        twin.predicate,
        case when twin.nulls_equal then 'true' else etl.names(twin.columns, '%I is not null', ' and ') end,
        case when cardinality(twin.columns) = 1 then twin.columns[1] end,
        'is another row''s already', twin.name,
        etl.names(twin.columns, 'e.%I is not distinct from d.%I', ' and '), target,
        etl.names(key, 'e.%I = d.%I', ' and '), etl.names(key, 'r.%I = e.%I', ' and ')
      );
      get diagnostics found = row_count;
      if found > 0 then
        again := true;
        perform etl.set_aside('etl_delta');
      end if;
    end loop;
  end loop;
end
$$;
comment on function etl.sift_twins(regclass) is
  'Puts aside what a unique index has already: in an earlier record of the feed, or in a row that this run leaves as it is.';

create or replace function etl.write_delta(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position);
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key) order by c.position);
  expected bigint := (select count(*) from pg_temp.etl_delta);
  written bigint;
begin
  if expected = 0 then
    return;
  end if;
  execute format(
    'insert into %s (%s) overriding system value select %2$s from pg_temp.etl_delta on conflict (%s) do %s',
    target, etl.names(carried), etl.names(key),
    coalesce('update set ' || etl.names(rest, '%I = excluded.%I'), 'nothing')
  );
  get diagnostics written = row_count;
  if written <> expected then
    raise exception '% of % rows were not written', expected - written, expected
      using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
  end if;
end
$$;

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  as_record text := 'jsonb_object(%L::text[], array[%s]), null::text';
  gone bigint;
  written bigint;
begin
  select case when as_json
    then 'case when r.sqlstate <> ''22032'' then s.record::jsonb end, case when r.sqlstate = ''22032'' then s.record end'
    else format(as_record, array_agg(c.source order by c.position), string_agg('s.c' || c.position, ', ' order by c.position))
  end
  into as_record
  from pg_temp.etl_columns c;
  execute format(
    'create temp table etl_found (record_number, record, raw, column_name, value, reason, sqlstate, constraint_name) on commit drop as
    select s.record_number, %s, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
    from (select ctid, row_number() over (order by ctid) as record_number, * from pg_temp.etl_staging) s
    join (select distinct on (etl_staged) * from pg_temp.etl_rejected) r on r.etl_staged = s.ctid',
    as_record
  );
  delete from etl.rejects r
  where r.feed = loaded.name
    and not exists (select from pg_temp.etl_found f where f.record_number = r.record_number);
  get diagnostics gone = row_count;
  insert into etl.rejects as r
  select loaded.name, f.*, run, run
  from pg_temp.etl_found f
  on conflict (feed, record_number) do update
  set record = excluded.record, raw = excluded.raw, column_name = excluded.column_name, value = excluded.value,
    reason = excluded.reason, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, last_run = run
  where row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name) is distinct from
    row(excluded.record, excluded.raw, excluded.column_name, excluded.value, excluded.reason, excluded.sqlstate, excluded.constraint_name);
  get diagnostics written = row_count;
  drop table pg_temp.etl_found;
  return gone + written > 0;
end
$$;
comment on function etl.keep_rejects(etl.feeds, uuid, boolean) is
  'Makes etl.rejects what is wrong now, writing only what is new, other or gone; returns whether anything was.';

create or replace function etl.check_limit(feed etl.feeds, read bigint, rejected bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  example text;
begin
  if rejected <= feed.reject_limit * read then
    return;
  end if;
  select concat_ws(' ', 'record', s.record_number || ',', 'column ' || r.column_name || ':', r.reason, '(' || r.constraint_name || ')')
  into example
  from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) s
  join pg_temp.etl_rejected r on r.etl_staged = s.ctid
  order by s.record_number
  limit 1;
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      rejected, read, round(feed.reject_limit * 100, 2)::float8, example
    using errcode = 'ETL06', hint = 'Nothing of this feed was loaded. Have the feed mended, or raise etl.feeds.reject_limit.';
end
$$;

create or replace function etl.merge(
  feed_name text, run uuid, as_json boolean,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint, out rejected bigint,
  out ignored_columns text[], out changed boolean
)
language plpgsql
set search_path = ''
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  caller_time_zone text := current_setting('timezone');
begin
  read := etl.take_end_mark(as_json);
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if as_json and read > 0 then
    perform etl.sift_json(feed);
  end if;
  if exists (select from pg_temp.etl_staging s where not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid)) then
    perform set_config('timezone', feed.time_zone, true);
    perform etl.name_cells(as_json);
    perform etl.cast_cells();
    perform etl.sift_rows(target);
    duplicate := etl.drop_duplicates(target);
    unchanged := etl.find_delta(target);
    perform etl.sift_orphans(target);
    perform etl.sift_twins(target);
    perform etl.write_delta(target);
    select count(*) filter (where not d.etl_known), count(*) filter (where d.etl_known) into inserted, updated from pg_temp.etl_delta d;
    perform set_config('timezone', caller_time_zone, true);
  end if;
  select count(distinct r.etl_staged) into rejected from pg_temp.etl_rejected r;
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform etl.check_limit(feed, read, rejected);
  changed := inserted + updated > 0;
  if read > 0 then
    changed := etl.keep_rejects(feed, run, as_json) or changed;
    ignored_columns := array(select c.source from pg_temp.etl_columns c where c.name is null order by c.position);
  end if;
end
$$;
comment on function etl.merge(text, uuid, boolean) is
  'Brings the staged feed into its target: casts, puts aside what breaks a rule, drops duplicates (the last record wins),
writes what is new or differs, and returns the counts. Nothing is written where nothing changed.
Raises ETL04 when staging was cut at a line \., ETL05 when a trigger drops rows, ETL06 above the reject limit.';

revoke all on all functions in schema etl from public;
