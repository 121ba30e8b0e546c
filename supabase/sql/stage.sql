-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. All feeds of a run are staged, each in a table of its own, before the first is
-- merged. The steps of a merge hand each other temp tables, which are made once a run, but for the staged feeds:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file.
--                 Until its merge it is etl_staging_1, etl_staging_2, …, by the feed's place in the run
--   etl_columns   which source column feeds which column of the target; of JSON the column's other keys, too
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

create or replace function etl.stage(
  feed_name text, place int, header text[], delimiter text, quote text default '"'
)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  staging text := 'etl_staging_' || place;
  wide name[];
begin
  perform etl.target_of(feed);
  perform etl.check_time_zone(feed.time_zone);
  if header is null then
    if feed.decimal_comma then
      raise exception 'JSON writes its numbers with a point'
        using errcode = 'ETL11', hint = 'Set etl.feeds.decimal_comma to false.';
    end if;
    execute format('create temp table %s (record text) on commit drop', staging);
    return format(
      $copy$copy pg_temp.%s (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$, staging
    );
  end if;
  perform etl.empty_tables();
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, is_empty => false);
  execute etl.fill(
    $sql$create temp table {staging} ({columns}) on commit drop$sql$,
    jsonb_build_object(
      'staging', staging,
      -- A "char" keeps one byte of whatever it is given.
      'columns', (
        select string_agg(
          'c' || c.position || case when c.stored then ' text' else ' "char"' end, ', ' order by c.position
        )
        from pg_temp.etl_columns c
      )
    )
  );
  wide := etl.wide_cells(staging);
  if wide is not null then
    execute etl.fill(
      $sql$
      create or replace function pg_temp.{staging}() returns trigger language plpgsql set search_path = '' as $body$
      begin
        new.{first} := array[{cells}]::text;
        {emptied}
        return new;
      end
      $body$;
      create trigger etl_narrow before insert on pg_temp.{staging} for each row execute function pg_temp.{staging}();
      $sql$,
      jsonb_build_object(
        'staging', staging, 'first', wide[1], 'cells', etl.each(wide, 'new.{column}'),
        'emptied', (select string_agg(format('new.%I := null;', w.cell), ' ') from unnest(wide[2:]) w(cell))
      )
    );
  end if;
  return format('copy pg_temp.%s from stdin (format csv, delimiter %L, quote %L)', staging, delimiter, quote);
end
$$;
comment on function etl.stage(text, int, text[], text, text) is
  'Makes the staging table of the feed at this place in the run, counted from 1, for a CSV header or (header null)
for JSON, and returns the COPY statement that fills it. Takes no lock on the target, and so asks what the catalogs
tell: raises what etl.target_of(), etl.check_time_zone() and etl.check_columns() raise.';

create or replace function etl.wide_cells(staging text default 'etl_staging')
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(w.attname order by w.attnum)
  from (
    select a.attname, a.attnum
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.' || staging) and a.attnum > 0 and not a.attisdropped
      and a.atttypid = 'pg_catalog.text'::regtype
    order by a.attnum
    -- A row of up to 340 texts fits a page, for the long ones are kept elsewhere.
    offset 300
  ) w
$$;
comment on function etl.wide_cells(text) is
  'The columns of a staging table that a row would not have room for: the first of them holds the cells of all, as the
text of an array. Null where there is room.';

create or replace function etl.take_staged(feed etl.feeds, place int, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- A new name takes no further lock.
  execute format('alter table pg_temp.etl_staging_%s rename to etl_staging', place);
  perform etl.empty_tables();
  if header is null then
    return;
  end if;
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)));
  if exists (
    select from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || c.position
    where c.stored and a.atttypid <> 'pg_catalog.text'::regtype
  ) then
    raise exception 'its table was given a column while it was staged'
      using errcode = 'ETL03', hint = 'Run again.';
  end if;
end
$$;
comment on function etl.take_staged(etl.feeds, int, text[]) is
  'Makes the staged feed at this place etl_staging, and maps the columns of its header (null for JSON) as the target
is now. Raises what etl.check_columns() raises, and ETL03 where a column has come that was staged as a single byte.';

create or replace function etl.empty_tables()
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  fixed text;
begin
  create temp table if not exists etl_columns (
    position bigint, source text, stored boolean, name name, attnum smallint,
    type text, collate_clause text, base_type text, has_length boolean,
    kind text, nulls text[], decimal_comma boolean, refused text, forms text[], needs_order boolean, lenient boolean,
    others text[]
  ) on commit drop;
  create temp table if not exists etl_rejected (
    etl$staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text,
    faults jsonb
  ) on commit drop;
  foreach fixed in array '{pg_temp.etl_columns,pg_temp.etl_rejected}'::text[] loop
    -- TRUNCATE writes to the catalogs; what DELETE leaves is read at each scan.
    if pg_relation_size(fixed) > 65536 then
      execute format('truncate %s', fixed);
    else
      execute format('delete from %s', fixed);
    end if;
  end loop;
end
$$;
comment on function etl.empty_tables() is
  'Makes etl_columns and etl_rejected, once a run, or empties them for the next feed.';

create or replace function etl.shape_table(name text, columns text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  shaped regclass := to_regclass('pg_temp.' || name);
  places jsonb := jsonb_build_object('name', name, 'columns', array_to_string(columns, ', '));
  dropped text;
begin
  -- A dropped column costs a null in each row; an index, of etl.isolate(), each insert.
  if (
    select c.relnatts + cardinality(columns) > 100 or c.relhasindex from pg_catalog.pg_class c where c.oid = shaped
  ) then
    execute etl.fill('drop table pg_temp.{name}', places);
    shaped := null;
  end if;
  if shaped is null then
    execute etl.fill('create temp table {name} ({columns}) on commit drop', places);
    return;
  end if;
  if pg_relation_size(shaped) > 0 then
    execute etl.fill('truncate pg_temp.{name}', places);
  end if;
  select string_agg(format('drop column %I', a.attname), ', ') into dropped
  from pg_catalog.pg_attribute a
  where a.attrelid = shaped and a.attnum > 0 and not a.attisdropped;
  execute etl.fill('alter table pg_temp.{name} {dropped}, {added}', places || jsonb_build_object(
    'dropped', dropped,
    'added', (select string_agg('add column ' || c, ', ' order by n) from unnest(columns) with ordinality u(c, n))
  ));
end
$$;
comment on function etl.shape_table(text, text[]) is
  'Makes etl_typed or etl_delta an empty table of these columns (SQL text: name and type). Where the feed before left
one, that one is altered: until the commit each table that a run makes and drops keeps its locks, and the room for
locks is limited.';

create or replace function etl.regclass_of(said text)
returns regclass
language plpgsql stable
set search_path = ''
as $$
begin
  return to_regclass(said);
exception when feature_not_supported or syntax_error or invalid_name or insufficient_privilege then
  return null;
end
$$;
comment on function etl.regclass_of(text) is
  'The table or view of that name, as etl.feeds.target has it; null where there is none, also where to_regclass()
raises: for three names and more, and for a schema that is closed to the role.';

create or replace function etl.target_of(feed etl.feeds)
returns regclass
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := etl.regclass_of(feed.target);
  closed name;
begin
  if target is null then
    select n.nspname into closed
    from pg_catalog.pg_namespace n
    where starts_with(replace(feed.target, '"', ''), n.nspname || '.') and not has_schema_privilege(n.oid, 'usage')
    limit 1;
    if closed is not null then
      raise exception 'the schema of its table % is closed to the role %', feed.target, current_user
        using errcode = 'insufficient_privilege',
          hint = format('Whoever owns it opens it: grant usage on schema %I to %I', closed, current_user);
    end if;
    raise exception 'its table % does not exist', feed.target
      using errcode = 'undefined_table', hint = case
        when etl.tables_called(feed.target) = '{}' then 'Create it in a migration, or correct etl.feeds.target.'
        else format(
          'There is %1$s. If that is meant: update etl.feeds set target = %1$L where name = %2$L',
          (etl.tables_called(feed.target))[1], feed.name
        )
      end;
  end if;
  if (select c.relkind not in ('r', 'p') from pg_catalog.pg_class c where c.oid = target) then
    raise exception 'its target % is no table', feed.target
      using errcode = 'ETL04', hint = 'Name the table beneath it in etl.feeds.target.';
  end if;
  if etl.is_inherited(target) then
    raise exception 'its table % has tables that inherit from it', feed.target
      using errcode = 'ETL04',
        hint = 'Its key does not hold their rows. Part them (alter table … no inherit …), or make it partitioned.';
  end if;
  if exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.is_instead and r.ev_type in ('2', '3')
  ) then
    raise exception 'its table % has a rule that does something else INSTEAD of a write', feed.target
      using errcode = 'ETL04', hint = 'Drop the rule, or make it a trigger: what it swallows could not be counted.';
  end if;
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  if feed.absent <> 'keep' then
    perform etl.check_absent(feed, target);
  end if;
  return target;
end
$$;
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, 42501 where its schema is closed to the role,
ETL04 where it is no table, has tables that inherit from it or a rule INSTEAD of a write, ETL02 where it has no primary
key, and what etl.check_absent() raises.';

create or replace function etl.is_inherited(parent regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select exists (
      select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = parent and not c.relispartition
    )
  );
end
$$;
comment on function etl.is_inherited(regclass) is
  'Whether tables inherit from it that are no partitions: their rows are seen in it, and its keys do not hold them.';

create or replace function etl.key_of(target regclass)
returns name[]
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select array_agg(a.attname order by k.position)
    from pg_catalog.pg_index i
    cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where i.indrelid = target and i.indisprimary and k.position <= i.indnkeyatts
  );
end
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, kind, nulls, decimal_comma,
    refused, forms, needs_order, lenient
  )
  with loadable as materialized (
    select * from etl.loadable_columns(etl.target_of(feed))
  )
  select
    h.position, h.source,
    -- The first cell may hold the sentinel.
    c.name is not null or cardinality(header) <= 300 or h.position = 1,
    c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.kind, feed.nulls,
    feed.decimal_comma and c.kind in ('integer', 'number', 'money'), etl.refused_of(c.kind, feed),
    etl.forms_of(c.kind, feed), c.kind ~ '^(zoned )?day' and feed.date_order is null, false
  from unnest(header) with ordinality as h(source, position)
  -- A name is cut to 63 bytes, as Postgres cuts that of a column.
  left join loadable c on c.name = case
    when coalesce(feed.columns ->> h.source, h.source)::name in (select l.name from loadable l)
      then coalesce(feed.columns ->> h.source, h.source)::name
    else etl.wanted_column(feed, h.source)::name
  end;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have. Blanks around a name do not
count, unless the target has a column of just that name.';

create or replace function etl.wanted_column(feed etl.feeds, source text)
returns text
language sql immutable
set search_path = ''
as $$
  select coalesce(feed.columns ->> source, feed.columns ->> btrim(source, etl.blanks()), btrim(source, etl.blanks()))
$$;
comment on function etl.wanted_column(etl.feeds, text) is
  'The column that a name of the feed means: by etl.feeds.columns, else the name itself, without blanks around it.';

create or replace function etl.blanks()
returns text
language sql immutable
set search_path = ''
as $$
  select e' \t\n\x0b\f\r\u0085\u00a0\u00ad\u061c\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
    || e'\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d'
    || e'\u202e\u202f\u205f\u2060\u2066\u2067\u2068\u2069\u3000\ufe0e\ufe0f\ufeff'
$$;
comment on function etl.blanks() is
  'What cannot be seen around a name: the white space of Unicode, characters of no width, those that turn the direction
of a line, and the byte order mark.';

create or replace function etl.near_name(name text)
returns text
language sql stable
set search_path = ''
as $$
  select lower(translate(
    -- Elsewhere Postgres refuses to.
    case when getdatabaseencoding() = 'UTF8' then normalize(name) else name end, etl.blanks(), ''
  ))
$$;
comment on function etl.near_name(text) is
  'A name as it is compared with those that it may be meant for: without blanks, case, or how its accents are encoded.';

create or replace function etl.source_names()
returns table (place bigint, name text)
language sql stable
set search_path = ''
as $$
  select
    c.position,
    case
      when btrim(c.source, etl.blanks()) <> '' and c.nth = 1 then c.source
      else 'column ' || c.position || case
        when exists (select from pg_temp.etl_columns o where o.source = 'column ' || c.position) then ' (unnamed)'
        else ''
      end
    end
  from (
    select position, source, row_number() over (partition by source order by name is null, position) as nth
    from pg_temp.etl_columns
  ) c
$$;
comment on function etl.source_names() is
  'The feed''s columns under distinct names: one that has no name, or that of another, is named by its place.';

create or replace function etl.unplaced_columns()
returns text[]
language sql stable
set search_path = ''
as $$
  select array(
    select n.name
    from etl.source_names() n
    join pg_temp.etl_columns c on c.position = n.place
    where c.name is null and c.source is not null
    order by n.place
  )
$$;
comment on function etl.unplaced_columns() is
  'The feed''s columns that the target does not have; one without a name only where it holds something.';

create or replace function etl.empty_unnamed()
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_columns c
  set source = null
  where c.name is null and btrim(c.source, etl.blanks()) = '' and not etl.is_filled(c.position);
end
$$;
comment on function etl.empty_unnamed() is
  'Makes null the source of each column that has no name and in which no record has anything, as of one delimiter too
many.';

create or replace function etl.ignored_columns()
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  most constant int := 100;
  ignored text[] := array(select left(u.name, 100) from unnest(etl.unplaced_columns()) u(name));
begin
  if cardinality(ignored) > most then
    return ignored[:most] || format('… and %s more', cardinality(ignored) - most);
  end if;
  return ignored;
end
$$;
comment on function etl.ignored_columns() is
  'etl.unplaced_columns() for a report: a hundred at most, each of a hundred characters.';

create or replace function etl.is_filled(place bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_filled boolean := true;
begin
  -- A key of JSON may be empty, too.
  if exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || place
  ) then
    execute etl.fill(
      $sql$select exists (select from pg_temp.etl_staging s where s.{cell} is not null)$sql$,
      jsonb_build_object('cell', 'c' || place)
    ) into is_filled;
  end if;
  return is_filled;
end
$$;
comment on function etl.is_filled(bigint) is
  'Whether any record has something in the column at this place of the header.';

create or replace function etl.check_columns(feed etl.feeds, is_empty boolean, as_json boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
  mapping jsonb;
  total int;
  known int;
  names text;
  -- Whether they are names: where the file has no header line, one value may be a column's name by chance.
  may_tell boolean;
  advice text;
begin
  select string_agg(quote_ident(twice.name), ', ') into fault
  from (
    select c.name from pg_temp.etl_columns c where c.name is not null group by c.name having count(*) > 1
  ) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  -- What is near a column's name is a name. All else may be a value, where the file has no header line.
  select string_agg(format('%I for %I', near.source, near.name), ', '), jsonb_object_agg(near.source, near.name)
  into fault, mapping
  from (
    select distinct on (l.name) c.source, l.name
    from pg_temp.etl_columns c
    join etl.loadable_columns(target) l on etl.near_name(l.name) = etl.near_name(etl.wanted_column(feed, c.source))
    where c.name is null and not exists (select from pg_temp.etl_columns o where o.name = l.name)
    order by l.name, c.position
    limit 20
  ) near;
  if fault is not null then
    raise exception 'it spells a column otherwise than its table does: %', fault
      using errcode = 'ETL03', hint = format(
        'If it is the same: update etl.feeds set columns = columns || %L where name = %L; if not, map it to a name '
          'that its table does not have.', mapping, feed.name
      );
  end if;

  select count(*), count(c.name), string_agg(quote_ident(c.source), ', ' order by c.position) into total, known, names
  from pg_temp.etl_columns c;
  may_tell := known > 0 and known * 2 >= total;
  advice := case
    when may_tell then 'Where the feed spells a name differently, say so in etl.feeds.columns.'
    when as_json then
      'If its records stand deeper in it, say where in etl.feeds.records; else map its names in etl.feeds.columns.'
    when feed.header is not null then 'Correct the names in etl.feeds.header.'
    else 'If its first line is a record, name the columns in etl.feeds.header; if other lines stand above its '
      || 'header, say how many in etl.feeds.skip; else map its names in etl.feeds.columns.'
  end;
  if total > 0 and known = 0 then
    raise exception 'none of its % names is a column of %', total, feed.target
      using errcode = 'ETL03', hint = coalesce(etl.unmatched_told(feed, may_guess => false), advice);
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    -- Without a required column the rows that are there can still be corrected.
    and (
      a.attname = any (etl.key_of(target))
      or (
        is_empty and a.attidentity = '' and (etl.default_of(target, a.attnum)).value is null
          and etl.is_required(target, a.attnum)
      )
    )
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, case
        when may_tell then left(names, 500)
        else format('%s names, and the table %s of them', total, known)
      end
      using errcode = 'ETL03', hint = coalesce(etl.unmatched_told(feed, may_guess => may_tell), advice);
  end if;
end
$$;
comment on function etl.check_columns(etl.feeds, boolean, boolean) is
  'Raises ETL03 where etl_columns names a column of the target twice, spells one otherwise, as etl.near_name() compares,
has none, or lacks the key or, where the target is empty, a NOT NULL column without default. as_json: they are the keys
of JSON records.';

create or replace function etl.loadable_columns(target regclass)
returns table (
  name name, attnum smallint, type text, collate_clause text, base_type text, has_length boolean, kind text
)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
    select
      a.attname, a.attnum, format_type(a.atttypid, a.atttypmod),
      case when a.attcollation <> t.typcollation then etl.collation_of(a.attcollation) else '' end,
      -- The fields of an interval say what is read: 1 as a day.
      format_type(
        base.oid, case when base.oid = any ('{interval,interval[]}'::regtype[]) then base.length else -1 end
      ),
      base.length <> -1,
      case
        when t.typcategory <> 'S' then etl.kind_of(base.oid)
        -- A null refers to nothing and is nobody's like, where an empty text would be one value more.
        when not a.attnotnull and etl.is_compared(target, a.attnum)
          then case when base.oid = 'name'::regtype then 'name code' else 'code' end
        else case when base.oid = 'name'::regtype then 'name' else 'text' end
      end
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_type t on t.oid = a.atttypid
    cross join lateral (
      with recursive chain as (
        select t.oid, t.typtype, t.typbasetype, t.typtypmod, a.atttypmod as length
        union all
        select b.oid, b.typtype, b.typbasetype, b.typtypmod, chain.typtypmod
        from chain
        join pg_catalog.pg_type b on b.oid = chain.typbasetype
        where chain.typtype = 'd'
      )
      select chain.oid, chain.length from chain where chain.typtype <> 'd'
    ) base
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      -- What the database alone decides could be inserted, but never updated.
      and (a.attidentity <> 'a' or a.attname = any (etl.key_of(target)));
end
$$;
comment on function etl.loadable_columns(regclass) is
  'The columns of a table that a feed can fill: their type in full; their collation, as SQL, where it is not the
type''s; the type beneath all domains, without length, unless that says how it is read; whether a length can change what
is assigned; and of what kind it is, as etl.kind_of() says, or text, or code: a text of which an empty one is null (name
and name code, where it is cut at 63 bytes).';

create or replace function etl.is_compared(target regclass, attnum smallint)
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = target and c.contype = 'f' and c.conkey @> array[attnum]
    ) or exists (
      select from pg_catalog.pg_index i
      where i.indrelid = target and i.indisunique and attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    )
  );
end
$$;
comment on function etl.is_compared(regclass, smallint) is
  'Whether a column refers to another table by a key, or is in a unique index, INCLUDE apart.';

create or replace function etl.check_time_zone(zone text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
begin
  -- With a digit in it Postgres would take anything for a zone, and read its sign the other way round.
  if zone ~ '[0-9]' and lower(zone) not in (select lower(z.name) from pg_catalog.pg_timezone_names z) then
    raise invalid_parameter_value;
  end if;
  perform set_config('timezone', zone, true);
  perform set_config('timezone', before, true);
exception when invalid_parameter_value then
  raise exception 'there is no time zone %', zone
    using errcode = 'ETL09', hint = 'Name a place in etl.feeds.time_zone, as America/New_York: see pg_timezone_names.';
end
$$;
comment on function etl.check_time_zone(text) is 'Raises ETL09 for what is not the name of a time zone.';

revoke all on all functions in schema etl from public;
