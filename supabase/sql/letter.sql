-- The rejects in the words of whoever sent the file: his column names, records and rows, and types as people call them.
-- One place for the command, the link that etl.share() makes, and whatever else shows them.

create or replace function etl.letter(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(feed_name);
  called text := etl.called(feed);
  attempt etl.attempts := (select a from etl.attempts a where a.feed = feed_name);
  refusal record;
  list text := '';
  part record;
  waiting bigint;
  amount bigint;
begin
  select * into refusal from etl.refusals(feed_name);
  for part in
    select
      k.*, sum(k.rejects) over () as rejected, sum(k.of_before) over () as waiting, count(*) over () as kinds,
      bool_or(k.has_row) over () as has_rows
    from (
      select
        s.source, s.problem, s.mend, count(*) as records, count(*) filter (where s.nth = 1) as rejects,
        count(*) filter (where s.nth = 1 and not s.attempted) as of_before,
        min(s.record_number) as first, bool_or(s.row_number is not null) as has_row,
        string_agg(
          format(
            e'\n    record %s%s%s%s', s.record_number, ' (row ' || s.row_number || ')',
            ', came ' || etl.moment(s.came), ': ' || etl.short(coalesce(s.value, s.raw))
          ),
          '' order by s.place
        ) filter (where s.place <= 3) as examples
      from (
        select
          s.*, c.came,
          row_number() over (
            partition by s.source, s.problem, s.mend order by c.came, s.record_number, s.record_id
          ) as place
        from etl.faults_for_partner(feed_name) s
        -- Each file of changes counts its own records.
        cross join lateral (select case when feed.contents = 'changes' then s.since end as came) c
      ) s
      group by s.source, s.problem, s.mend
    ) k
    order by k.records desc, k.first, k.source, k.problem
    limit 20
  loop
    list := list || concat(
      e'\n\n* ', 'Column "' || etl.short(part.source) || '" ', part.problem, ' (',
      etl.counted(part.records, 'record'), ')', part.examples,
      case when part.records > 3 then format(e'\n    and %s more', part.records - 3) end, e'\n  ', part.mend
    );
  end loop;
  waiting := coalesce(part.waiting, 0);
  amount := waiting + coalesce(attempt.rejected, 0);
  if amount = 0 and coalesce(refusal.whose, 'us') = 'us' then
    return etl.clean_since(feed_name) || e'\n';
  end if;
  return concat_ws(
    e'\n',
    format('Subject: %s: ', called) || concat_ws(
      '; ',
      case when refusal.whose <> 'us' then 'could not be loaded' end,
      case
        when amount > 0
          then concat(case when attempt.is_least then 'at least ' end, etl.counted(amount, 'record'), ' to mend')
      end
    ),
    '',
    'Hello,',
    '',
    case
      when refusal.whose is null then null
      when refusal.whose = 'us' then concat(
        format('we could not load the latest %s, since %s', called, etl.moment(refusal.since)), ': ' || refusal.problem,
        '. ', refusal.mend
      )
      else format(
        e'the latest %s could not be loaded, since %s: %s.\n%s', called, etl.moment(refusal.since), refusal.problem,
        refusal.mend
      )
    end || case when amount > 0 then e'\n' else '' end,
    case
      when attempt is not null then format(
        e'%s of %s was loaded. %s%s of its %s cannot be used,\nwhich is more than we let pass (%s).',
        case when refusal.whose is null then 'nothing' else 'Of the file before it: nothing' end, called,
        case when attempt.is_least then 'At least ' else '' end, attempt.rejected,
        etl.counted(attempt.read, 'record'), etl.moment(attempt.since)
      )
    end,
    case
      when waiting = 0 then null
      when attempt is not null
        then format('%s of files before it could not be loaded either.', etl.counted(waiting, 'record'))
      when refusal.whose is not null
        then format('Of what came before, %s could not be loaded. All else was.', etl.counted(waiting, 'record'))
      else format('%s in %s could not be loaded. All else was.', etl.counted(waiting, 'record'), called)
    end,
    case
      when amount > 0 then concat(
        e'\nWhat is wrong, the most frequent first',
        case when part.rejected < amount then format(', as seen in %s of them', part.rejected) end, ':', list, e'\n'
      )
    end,
    case when part.kinds > 20 then format(e'There are %s more kinds of faults.\n', part.kinds - 20) end,
    case
      when amount > 0 then 'Records are counted from 1 in the order of the file' || case
        when part.has_rows
          then e', its header not counted. The row is\nthe one that a spreadsheet shows.'
        else '.'
      end
    end,
    case
      when attempt is not null and feed.contents = 'changes'
        then format('Once the file of %s has them right, it is loaded by itself.', etl.moment(attempt.since))
      when attempt is not null or (waiting > 0 and feed.contents = 'all')
        then 'Once your file has them right, they are loaded by themselves.'
    end,
    case
      when waiting > 0 and feed.contents = 'changes' then format(
        'Send %s once more, mended, in one of your next files.',
        case when attempt is null then 'these records' else 'the records of files before it' end
      )
    end,
    ''
  );
end
$$;
comment on function etl.letter(text) is
  'A plain text to send to the feed''s partner: why his latest file could not be loaded, where it could not; what is
wrong with his records, by kind, at most 20 of them, with three examples each, and what to mend; or, where nothing is
wrong, since when. It holds values. Raises ETL01 for a feed that is not in etl.feeds.';

create or replace function etl.clean_since(feed_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  definition etl.feeds := etl.feed_named(feed_name);
  called text := etl.called(definition);
  refusal record;
  last_status text := (
    select r.status from etl.runs r where r.feed = feed_name order by r.finished_at desc limit 1
  );
  last_bad timestamptz := (
    select r.finished_at
    from etl.runs r
    where r.feed = feed_name
      and (r.rejected > 0 or r.status = 'failed' and (etl.refusal(definition, r.error_code, r.error)).whose = 'file')
    order by r.finished_at desc
    limit 1
  );
  clean timestamptz := (
    select min(r.finished_at)
    from etl.runs r
    where r.feed = feed_name and r.status in ('changed', 'unchanged') and r.rejected = 0
      and r.finished_at > coalesce(last_bad, '-infinity')
  );
begin
  select * into refusal from etl.refusals(feed_name);
  return format('%s: ', called) || case
    when refusal.whose is not null then concat(
      'we could not load your latest file, since ', etl.moment(refusal.since), ': ' || refusal.problem, '. ',
      refusal.mend, ' We know of nothing else that you could mend.'
    )
    when last_status in ('changed', 'unchanged') and clean is not null
      then format('nothing to mend. Clean since %s.', etl.moment(clean))
    when last_bad is not null then 'nothing to mend any more.'
    when exists (select from etl.feed_state s where s.feed = feed_name) then 'nothing to mend.'
    else 'nothing has been loaded yet.'
  end;
end
$$;
comment on function etl.clean_since(text) is
  'What a partner is told where he has nothing to mend: since when, as far as the ledger tells; or that we could not
load his latest file.';

create or replace function etl.sheet(feed_name text default null)
returns table (
  feed text, record_number text, "row" text, "column" text, value text, problem text, mend text, record text,
  since text, listed_at text
)
language sql stable
set search_path = ''
as $$
  select l.*, (select etl.moment(now()))
  from (
    select
      r.feed, null as record_number, null as "row", null as "column", null as value,
      'the latest file could not be loaded' || coalesce(': ' || r.problem, '') as problem, r.mend, null as record,
      etl.moment(r.since) as since
    from etl.refusals(feed_name) r
    union all
    (
      -- A call for each cell would cost more than all else: most need none.
      select
        s.feed, s.record_number::text, s.row_number::text,
        case when s.source ~ c.care then etl.safe_cell(s.source) else s.source end,
        case when s.value ~ c.care then etl.safe_cell(s.value) else s.value end, s.problem, s.mend,
        case when t.whole ~ c.care then etl.safe_cell(t.whole) else t.whole end,
        to_char(s.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
      from etl.faults_for_partner(feed_name) s
      cross join lateral (select case when s.nth = 1 then coalesce(s.raw, s.record::text) end as whole) t
      cross join (
        select
          '^\s*[=+@＝＋－＠-]|^[\t\r\n]|[\x01-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]' as care
      ) c
      order by s.feed, s.record_number, s.since, s.record_id, s.nth
    )
  ) l
$$;
comment on function etl.sheet(text) is
  'The rejects of a feed, or of all, for a spreadsheet: a row for each fault, the whole record in the first of each; and
before them one without a record for each feed whose latest file could not be loaded. No cell is taken for a formula, or
moves a terminal.';

create or replace function etl.sheet_csv(feed_name text, most int)
returns text
language sql stable
set search_path = ''
as $$
  select e'\ufefffeed,record_number,row,column,value,problem,mend,record,since,listed_at\r\n' || coalesce(
    string_agg(
      (
        select string_agg('"' || replace(cell, '"', '""') || '"', ',' order by place)
        from unnest(array[
          s.feed, s.record_number, s."row", s."column", left(s.value, 1000), s.problem, s.mend, left(s.record, 10000),
          s.since, s.listed_at
        ]) with ordinality c(given, place)
        cross join lateral coalesce(c.given, '') cell
      ) || e'\r\n',
      '' order by s.place
    ),
    ''
  )
  from (select s.*, row_number() over () as place from etl.sheet(feed_name) s limit most) s
$$;
comment on function etl.sheet_csv(text, int) is
  'etl.sheet() as one text of CSV with a byte order mark, at most so many rows, long cells cut.';

create or replace function etl.faults_for_partner(feed_name text default null)
returns table (
  feed text, record_id uuid, record_number bigint, row_number bigint, since timestamptz, record jsonb, raw text,
  nth bigint, source text, value text, problem text, mend text, attempted boolean
)
language sql stable
set search_path = ''
as $$
  with told as materialized (
    select l.*, jsonb_build_array(l.feed, l.reason, l.column_name, l.source) as of_words
    from etl.faults(feed_name) l
    join etl.feeds f on f.name = l.feed
    left join etl.attempts a on a.feed = l.feed
    -- What stays though his file lacks it he has not sent.
    where l.record_number is not null
      -- The last attempt was at his latest file. Files of changes are each of its own.
      and (l.attempted or a.feed is null or f.contents = 'changes')
  ), words as (
    -- There are few, of however many records.
    select d.of_words, n.source, w.problem, w.mend
    from (select distinct t.of_words, t.feed, t.reason, t.column_name, t.source from told t) d
    join etl.feeds f on f.name = d.feed
    cross join lateral (
      select coalesce(
        d.source,
        (select m.key from jsonb_each_text(f.columns) m where m.value = d.column_name order by m.key limit 1),
        d.column_name
      ) as source
    ) n
    cross join lateral etl.in_plain_words(f, d.reason, d.column_name, n.source) w
  )
  select
    t.feed, t.record_id, t.record_number, t.row_number, t.since, t.record, t.raw, t.nth, w.source, t.value, w.problem,
    w.mend, t.attempted
  from told t
  join words w on w.of_words = t.of_words
$$;
comment on function etl.faults_for_partner(text) is
  'The faults of what a partner has sent, of one feed or all, under his own names and in plain words: those of the last
attempt where that failed for them (attempted), else of what is rejected now; of files of changes both.';

create or replace function etl.faults(feed_name text default null)
returns table (
  feed text, attempted boolean, record_id uuid, record_number bigint, row_number bigint, since timestamptz,
  record jsonb, raw text, nth bigint, column_name text, source text, value text, reason text, sqlstate text,
  constraint_name text
)
language sql stable
set search_path = ''
as $$
  with listed as (
    select
      r.feed, false as attempted, r.id, r.record_number, r.since, r.first_run as file, r.record, r.raw, r.as_json,
      r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from etl.rejects r
    where feed_name is null or r.feed = feed_name
    union all
    select
      r.feed, true, etl.attempt_id(r.feed, r.record_number), r.record_number, a.since, a.run, r.record, r.raw,
      r.as_json, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from etl.attempt_rejects r
    join etl.attempts a on a.feed = r.feed
    where feed_name is null or r.feed = feed_name
  ), placed as (
    select
      l.*,
      case
        when l.faults is not null and not l.as_json and f.next is null
          -- A spreadsheet reads on to the end of a quote that is not closed, where the loader reads the next line.
          and not coalesce(bool_or(l.reason = 'has a quote that is not closed') over (
            partition by l.feed, l.attempted, case when f.contents = 'changes' then l.file end
            order by l.record_number
            rows between unbounded preceding and 1 preceding
          ), false)
          then f.skip + case when f.header is null then 1 else 0 end + l.record_number
      end as row_number
    from listed l
    join etl.feeds f on f.name = l.feed
  )
  select
    p.feed, p.attempted, p.id, p.record_number, p.row_number, p.since, p.record, p.raw, x.nth,
    x.fault ->> 'column', x.fault ->> 'source', x.fault ->> 'value', x.fault ->> 'reason', x.fault ->> 'sqlstate',
    x.fault ->> 'constraint'
  from placed p
  cross join lateral jsonb_array_elements(coalesce(p.faults, jsonb_build_array(jsonb_build_object(
    'column', p.column_name, 'value', p.value, 'reason', p.reason, 'sqlstate', p.sqlstate,
    'constraint', p.constraint_name
  )))) with ordinality x(fault, nth)
$$;
comment on function etl.faults(text) is
  'A row for each fault of each reject, of one feed or all, the rejects of the last attempt included (attempted).
row_number: the row of the file in a spreadsheet, which takes a record with line breaks in quotes for one; null where it
is not known: of JSON, of pages, after a quote that is not closed.';

create or replace function etl.in_plain_words(
  feed etl.feeds, reason text, column_name text, source text, out problem text, out mend text
)
language plpgsql stable
set search_path = ''
as $$
declare
  type text := substring(reason from '^(?:is no|is out of the range of|is too long for|breaks a rule of) (.+)$');
  base text := regexp_replace(type, '\s*\([\d,]+\)', '');
  amounts text[] := regexp_match(type, '\((\d+)(?:,(\d+))?\)');
  wanted text := etl.plain_type(base);
  rule text := etl.plain_rule(substring(reason from '^breaks the rule (.*)$'));
  -- A name in quotes may hold what ends another one.
  known text[] := parse_ident(substring(reason from '^is in no row of ((?:"(?:[^"]|"")*"|[^",: ])+)'));
  example text := case wanted
    when 'a whole number' then '42'
    when 'a number' then case when feed.decimal_comma then '12,50' else '12.50' end
    when 'a date' then '2021-07-31'
    when 'a date and time' then '2021-07-31T14:05:00Z'
    when 'a time' then '14:05:00'
  end;
  as_wanted text := format('Send %s%s.', wanted, ', as ' || example);
begin
  problem := etl.visible(case
    when reason like 'is no %' and type is not null then 'is not ' || wanted
    when reason like 'is a date in an order %' then 'is a date of which day and month cannot be told apart'
    when reason like 'is out of the range of %' and wanted like 'a date%' then 'is not ' || wanted || ' that exists'
    when reason like 'is out of the range of %' then 'is too large or too small'
    when reason like 'is too long for %' then 'is too long'
    when reason like 'breaks a rule of %' then 'is not allowed'
    when reason = 'is missing' then 'is missing'
    when rule is not null then 'breaks a rule'
    when known is not null then format(
      'is not known: there is no such record in "%s"', known[cardinality(known)]
    )
    when reason like 'is another row''s already%' then 'is taken: another record has it already'
    when reason like 'is another row''s still%' then 'is taken: another record has it still'
    when reason = 'conflicts with another row' then 'conflicts with another record'
    when reason like 'gives up what a row refers to in %' then 'changes what other records refer to'
    when reason ~ '^(fits no partition|is refused by a trigger|cannot be written)' then 'cannot be stored'
    when reason like 'has a zone of letters that means several%' then 'has a zone of letters that means several'
    when reason like 'is not UTF-8%' then regexp_replace(reason, ', which etl.*', '')
    else reason
  end);
  mend := etl.visible(case
    when reason like 'is no %' and type is not null then as_wanted
    when reason like 'is a date in an order %' then 'Tell us which comes first, or send dates as 2021-07-31.'
    when reason like 'has a zone of letters %' or reason like 'has no zone, %'
      then 'Write the zone as +02:00, or send UTC with a Z.'
    when reason like 'is out of the range of %' and wanted like 'a date%' then as_wanted
    when reason like 'is out of the range of %' and wanted = 'a whole number' then case base
      when 'smallint' then 'Send a whole number from -32768 to 32767.'
      when 'integer' then 'Send a whole number from -2147483648 to 2147483647.'
      else 'Send a whole number of at most 18 digits.'
    end
    when reason like 'is out of the range of %' and base = 'numeric' and amounts is not null then format(
      'Send a number with at most %s digits before the point.', amounts[1]::int - coalesce(amounts[2], '0')::int
    )
    when reason like 'is out of the range of %' then as_wanted
    when reason like 'is too long for %' then format('Send at most %s characters.', coalesce(amounts[1], 'as many'))
    when reason like 'breaks a rule of %' then 'Send what holds: ' || coalesce(etl.domain_rule(base), 'ask us which.')
    when reason = 'is missing' then 'Send a value: it must not be empty.'
    when rule is not null then 'Send what holds: ' || etl.under_names(
      rule,
      etl.names_of_columns(feed)
        || case
          when source is null or column_name is null then '{}'
          else jsonb_build_object(quote_ident(column_name), source)
        end
    )
    when known is not null then 'Correct it, or send the record that it refers to first.'
    when reason like 'is another row''s still%' then 'Nothing: it is loaded once the other record has given it up.'
    when reason like 'is another row''s already%' or reason = 'conflicts with another row'
      then 'Correct whichever of the two is wrong.'
    when reason like 'gives up what a row refers to in %'
      then 'Send the value of before, or correct those records, too.'
    when reason ~ '^(fits no partition|is refused by a trigger|cannot be written)' then 'Ask us: we know more.'
    when reason like 'is not UTF-8%' or reason like 'holds a NUL byte%' or reason like 'has a string that holds%'
      then 'Send the file as text in UTF-8.'
    when reason ~ '^has \d+ fields?' then 'Quote the field that holds a delimiter.'
    when reason like 'has a value under more than one name%' then 'Send it under one of them alone.'
    when reason like 'has a quote%' or reason like 'has text after%'
      then 'Quote the whole field, and write each quote in it twice.'
    when reason like 'has half a line end%' then 'Quote the field.'
    when reason in ('is a blank line', 'repeats the header line') then 'Leave the line out.'
    when reason like 'has a key twice%' then 'Send each key once.'
    when reason like 'is empty%' then 'Leave the comma out.'
    else 'Send each record as one JSON object.'
  end);
end
$$;
comment on function etl.in_plain_words(etl.feeds, text, text, text) is
  'A reason of etl.rejects as its partner is told it, and what he is to mend. What a trigger said is left out: it may
speak of others.';

create or replace function etl.plain_type(type text)
returns text
language sql stable
set search_path = ''
as $$
  with recursive beneath as (
    select to_regtype(type)::oid as oid
    union all
    select t.typbasetype from beneath b join pg_catalog.pg_type t on t.oid = b.oid and t.typtype = 'd'
  ), base as (
    select b.oid, t.typtype, t.typcategory, etl.kind_of(b.oid) as kind
    from beneath b
    join pg_catalog.pg_type t on t.oid = b.oid and t.typtype <> 'd'
  )
  select coalesce(
    (
      select case
        when b.kind = 'integer' then 'a whole number'
        when b.kind = 'number' then 'a number'
        when b.oid = 'date'::regtype then 'a date'
        when b.kind in ('day', 'zoned day') then 'a date and time'
        when b.oid in ('time'::regtype, 'timetz'::regtype) then 'a time'
        when b.oid = 'interval'::regtype then 'a length of time'
        when b.oid = 'boolean'::regtype then 'true or false'
        when b.oid = 'uuid'::regtype then 'a UUID'
        when b.oid in ('json'::regtype, 'jsonb'::regtype) then 'JSON'
        when b.typtype = 'e' then (
          select 'one of ' || string_agg('"' || left(e.enumlabel, 40) || '"', ', ' order by e.enumsortorder)
          from pg_catalog.pg_enum e
          where e.enumtypid = b.oid
        )
        when b.typcategory = 'A' then 'a list'
        when b.typcategory = 'S' then 'a text'
      end
      from base b
    ),
    'a value of the type ' || type
  )
$$;
comment on function etl.plain_type(text) is 'A type, without its length, as people call it.';

create or replace function etl.plain_rule(definition text)
returns text
language plpgsql immutable
set search_path = ''
as $$
declare
  -- Names and texts in quotes may look like anything: each is a number between two signs while the rest is rewritten.
  quoted constant text := '"(?:[^"]|"")*"|''(?:[^'']|'''')*''';
  place constant text := '\u0001\d+\u0002';
  pieces text[] := array(select m[1] from regexp_matches(definition, '(' || quoted || ')', 'g') m);
  bare text;
begin
  select string_agg(
    part || case when n <= cardinality(pieces) then format(e'\u0001%s\u0002', n) else '' end, '' order by n
  )
  into bare
  from regexp_split_to_table(definition, quoted) with ordinality s(part, n);
  bare := regexp_replace(
    bare,
    format(
      '::(%1$s|[a-z_.0-9]+)(\.(%1$s|[a-z_.0-9]+))*(\([\d,]+\))?( varying| precision| with(out)? time zone)?'
        '(\([\d,]+\))?(\[\])*',
      place
    ),
    '', 'g'
  );
  bare := regexp_replace(bare, format('(?<![\w\u0002])\((-?[\d.]+|%s)\)', place), '\1', 'g');
  bare := regexp_replace(bare, '^CHECK \((.*)\)( NO INHERIT)?( NOT VALID)?$', '\1');
  bare := regexp_replace(bare, '^\(([^()]*)\)$', '\1');
  return (
    select string_agg(part || coalesce(pieces[left_over.numbers[n]], ''), '' order by n)
    from (
      select array(select m[1]::int from regexp_matches(bare, '\u0001(\d+)\u0002', 'g') m) as numbers
    ) left_over
    cross join regexp_split_to_table(bare, place) with ordinality s(part, n)
  );
end
$$;
comment on function etl.plain_rule(text) is
  'A CHECK as people write it: without casts, and parentheses that say nothing.';

create or replace function etl.under_names(rule text, names jsonb)
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(coalesce(names ->> w.match[1], w.match[1]), '' order by w.place)
  from regexp_matches(
    rule,
    -- A text and a name in quotes, a word, or that of a function with its parenthesis, and whatever is between them.
    '(''(?:[^'']|'''')*''|"(?:[^"]|"")*"|\w+\(?|[^\w''"]+|.)', 'g'
  ) with ordinality w(match, place)
$$;
comment on function etl.under_names(text, jsonb) is
  'SQL text with other names for its columns, of which names has those of now, as quote_ident() spells them. What stands
in a text of it stays.';

create or replace function etl.names_of_columns(feed etl.feeds)
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Of several the last of an object stays.
  select coalesce(jsonb_object_agg(quote_ident(m.value), m.key order by m.key desc), '{}')
  from jsonb_each_text(feed.columns) m
  where m.value is not null
$$;
comment on function etl.names_of_columns(etl.feeds) is
  'The partner''s names of the columns that etl.feeds.columns maps, by ours as quote_ident() spells them.';

create or replace function etl.domain_rule(type text)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(etl.plain_rule(pg_get_constraintdef(k.oid)), ' and ' order by k.conname)
  from pg_catalog.pg_constraint k
  where k.contypid = to_regtype(type)
$$;
comment on function etl.domain_rule(text) is 'What holds of the values of a domain; null where nothing is known.';

create or replace function etl.called(feed etl.feeds)
returns text
language sql immutable
set search_path = ''
as $$
  -- On one line: it is in a subject.
  select regexp_replace(
    etl.visible(coalesce(
      nullif(concat_ws(' in ', etl.unescaped(substring(feed.url from '#([^{}]+)$')), etl.unescaped(file.name)), ''),
      feed.name
    )),
    '\s+', ' ', 'g'
  )
  from (
    -- What stands before the path is a host, and may be a password. What follows a ; is no part of the name.
    select substring(
      feed.url from '^\s*\w+://[^/?#\\]+/(?:[^?#]*/)?([^/?#;{}\\]+\.[^/?#;{}\\]+)(?:;[^/?#]*)?(?:[?#]|\s*$)'
    ) as name
  ) file
$$;
comment on function etl.called(etl.feeds) is
  'What a partner calls his file: its name in the URL, where that is one, and of what archive; else the feed''s.';

create or replace function etl.unescaped(part text)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  return (
    select convert_from(
      string_agg(
        case when m[1] is null then convert_to(m[2], 'UTF8') else decode(m[1], 'hex') end, '' order by place
      ),
      'UTF8'
    )
    from regexp_matches(part, '%([0-9A-Fa-f]{2})|([^%]+|%)', 'g') with ordinality t(m, place)
  );
exception when character_not_in_repertoire then
  return part;
end
$$;
comment on function etl.unescaped(text) is
  'A part of a URL without its escapes, as %20; as it is where they are no text in UTF-8.';

create or replace function etl.moment(at timestamptz)
returns text
language sql stable
set search_path = ''
as $$
  select to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')
$$;
comment on function etl.moment(timestamptz) is 'A date and a time that everybody reads alike.';

create or replace function etl.counted(amount bigint, what text)
returns text
language sql immutable
set search_path = ''
as $$
  select amount || ' ' || what || case when amount = 1 then '' else 's' end
$$;
comment on function etl.counted(bigint, text) is 'As "1 record", "2 records".';

create or replace function etl.short(value text)
returns text
language sql immutable
set search_path = ''
as $$
  select case when length(s) > 60 then left(s, 59) || '…' else s end
  from regexp_replace(etl.visible(left(value, 200)), '\s+', ' ', 'g') s
$$;
comment on function etl.short(text) is 'At most 60 characters on one line.';

create or replace function etl.visible(value text)
returns text
language sql immutable
set search_path = ''
as $$
  -- translate() looks through all signs for each character: only where there is one.
  select case
    when value !~ '[\x01-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]' then value
    else translate(
      value,
      e'\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\r\x0e\x0f'
        || e'\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f'
        || e'\x7f\u0080\u0081\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0089\u008a\u008b\u008c\u008d\u008e\u008f'
        || e'\u0090\u0091\u0092\u0093\u0094\u0095\u0096\u0097\u0098\u0099\u009a\u009b\u009c\u009d\u009e\u009f'
        || e'\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069',
      '␁␂␃␄␅␆␇␈␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡' || repeat('�', 41)
    )
  end
$$;
comment on function etl.visible(text) is
  'The text with a sign for each character that would move a terminal, or turn the direction of a line; tab and line
feed stay.';

create or replace function etl.safe_cell(value text)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    when value ~ '^\s*[-+]?\d+([.,]\d+)*([eE][-+]?\d+)?\s*$' then value
    when value ~ '^\s*[=+@＝＋－＠-]|^[\t\r\n]' then '''' || etl.visible(value)
    else etl.visible(value)
  end
$$;
comment on function etl.safe_cell(text) is
  'A cell that no spreadsheet takes for a formula: as OWASP advises, one that begins with = + - @, a tab or a line end
gets a quote before it. A number, as -5, stays a number.';

revoke all on all functions in schema etl from public;
