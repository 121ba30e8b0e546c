-- What a feed's files are usually like: which columns they have, and how many records. A file that differs is loaded
-- all the same; etl.health() says so until the next one is as usual again, or a person accepts it.

create or replace function etl.note_columns(state etl.feed_state, target regclass, is_sample boolean)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  carried text[] := etl.carried_columns();
  known text[] := state.carried_columns || state.gone_columns;
  present text[] := etl.unplaced_columns();
begin
  state.ignored_columns := coalesce(state.ignored_columns, present);
  state.unplaced_columns := array(select p.n from unnest(present) p(n) where p.n <> all (state.ignored_columns));
  state.carried_columns := coalesce(carried, '{}');
  if is_sample and state.unplaced_columns = '{}' then
    state.carried_columns := state.carried_columns
      || array(select k.n from unnest(known) k(n) where k.n <> all (state.carried_columns || state.gone_columns));
  end if;
  state.gone_columns := array(
    select c.name
    from etl.loadable_columns(target) c
    where c.name = any (known) and c.name <> all (state.carried_columns)
    order by c.attnum
  );
  state.drifted_since := case
    when state.gone_columns || state.unplaced_columns <> '{}' then coalesce(state.drifted_since, now())
  end;
  return state;
end
$$;
comment on function etl.note_columns(etl.feed_state, regclass, boolean) is
  'The state with the columns in etl_columns: which are gone, and which are new and have no place. The first body sets
what is usual. is_sample: it need not hold every column, as a JSON file of few records; then, unless it has something
new as well, what it lacks is not gone.';

create or replace function etl.note_records(state etl.feed_state, feed etl.feeds, records bigint)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  usual bigint := state.usual_records;
  is_shrunk boolean := feed.contents = 'all' and case
    -- What was there before the loader, or before it forgot, was there.
    when usual is null then records = 0 and feed.shrink_limit < 1 and not etl.is_empty(etl.regclass_of(feed.target))
    -- Of a handful of records half is nothing.
    when records > 0 and usual < 10 then false
    else usual - records > feed.shrink_limit * usual
  end;
begin
  state.records := records;
  state.usual_records := case when is_shrunk then usual else records end;
  state.shrunk_since := case when is_shrunk then coalesce(state.shrunk_since, now()) end;
  return state;
end
$$;
comment on function etl.note_records(etl.feed_state, etl.feeds, bigint) is
  'The state with the number of records read: whether it is smaller than usual by more than the feed''s shrink_limit.
Where fewer than 10 are usual, only a body without any is. A body of changes never is: its size says nothing.';

create or replace function etl.accept_usual(feed_name text)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set ignored_columns = s.ignored_columns || s.unplaced_columns, gone_columns = '{}', unplaced_columns = '{}',
    drifted_since = null, usual_records = s.records, shrunk_since = null
  where s.feed = feed_name and (s.drifted_since is not null or s.shrunk_since is not null)
$$;
comment on function etl.accept_usual(text) is
  'Takes the feed''s last body for what is usual, in its columns and in the number of its records.';

create or replace function etl.unusual(
  feed etl.feeds, state etl.feed_state, changed timestamptz, out verdict text, out message text, out hint text
)
language plpgsql stable
set search_path = ''
as $$
declare
  last_news timestamptz := coalesce(changed, state.known_since);
  renamed jsonb;
  mapping text;
  approval text;
  drift text;
  shrinkage text;
  withheld text;
  silence text;
begin
  if not feed.enabled then
    verdict := 'undone';
    hint := format('update etl.feeds set enabled = true where name = %L;', feed.name);
    message := concat_ws(
      '. ',
      format(
        'Run %s was undone at %s, and the feed is disabled, for its file would bring the same back',
        state.undone_run, state.undone_at
      ),
      'A run that named it has loaded it again, at ' || case when changed > state.undone_at then changed end,
      format('Once that is mended: %s If it is to stay disabled: select etl.approve(%L)', hint, feed.name)
    );
    return;
  end if;
  if feed.absent <> 'keep' and state.withheld > 0 then
    withheld := format(
      'Rows of %s that it lacks and that stay: %s, for %s', feed.target, state.withheld, state.withheld_why
    );
  end if;
  if state.drifted_since is not null or state.shrunk_since is not null or withheld is not null then
    approval := format('select etl.approve(%L)', feed.name);
  end if;
  if state.drifted_since is not null then
    renamed := etl.likely_names(state.gone_columns, state.unplaced_columns);
    if renamed is not null then
      mapping := format('update etl.feeds set columns = columns || %L where name = %L', renamed, feed.name);
    end if;
    drift := concat_ws(
      '. ',
      'Its columns are other ones since ' || state.drifted_since,
      'The file lacks ' || etl.listed(state.gone_columns)
        || ': new rows get the default or null, known rows keep theirs',
      'It has ' || etl.listed(state.unplaced_columns) || ', and ' || feed.target || ' has no such column',
      'Likely renamed: ' || (
        select string_agg(format('%I is now %I', r.value, r.key), ', ' order by r.value) from jsonb_each_text(renamed) r
      ),
      'If so: ' || mapping
    );
  end if;
  if state.shrunk_since is not null then
    shrinkage := concat_ws(
      '. ',
      'Its file is too small since ' || state.shrunk_since,
      'Records: ' || state.records || ', and usually ' || coalesce(state.usual_records::text, 'more'),
      'Ask the partner whether it is whole'
    );
  end if;
  if last_news < now() - feed.fresh_within then
    silence := concat_ws(
      '. ',
      'Nothing new has come since ' || last_news || ', and something should within ' || feed.fresh_within,
      'Ask the partner whether the file is still written'
    );
  end if;
  verdict := case
    when drift is not null then 'drifted'
    when shrinkage is not null or withheld is not null then 'shrunk'
    when silence is not null then 'stale'
  end;
  message := concat_ws('. ', drift, shrinkage, withheld, 'If the file is right as it is: ' || approval, silence);
  hint := coalesce(mapping, approval) || ';';
end
$$;
comment on function etl.unusual(etl.feeds, etl.feed_state, timestamptz) is
  'What is unusual about a feed that runs well: the gravest of drifted, shrunk (rows that are withheld count as
that) and stale, a message on all of them, and the line to run where there is one; of one that is disabled, that it was
undone. verdict is null where nothing is. changed: when a run last changed something.';

create or replace function etl.likely_names(gone text[], unplaced text[])
returns jsonb
language sql immutable
set search_path = ''
as $$
  with names as (
    select n.is_gone, n.name, array(
      -- The pairs of neighbouring letters, without regard to case and punctuation.
      select distinct substr(plain.name, i, 2) from generate_series(1, greatest(length(plain.name) - 1, 1)) i
    ) as pairs
    from (
      select true as is_gone, g.name from unnest(gone[:100]) g(name)
      union all
      -- What has no name of its own cannot be mapped.
      select false, u.name from unnest(unplaced[:100]) u(name) where u.name !~ '^column [0-9]+( \(unnamed\))?$'
    ) n
    cross join lateral regexp_replace(lower(n.name), '[^[:alnum:]]', '', 'g') plain(name)
  ), compared as (
    select
      g.name as gone, u.name as unplaced,
      both_have.shared * 2.0 / (cardinality(g.pairs) + cardinality(u.pairs)) as likeness
    from names g
    join names u on g.is_gone and not u.is_gone
    cross join lateral (
      select count(*) as shared from unnest(g.pairs) p(pair) where p.pair = any (u.pairs)
    ) both_have
  ), ranked as (
    select
      c.*,
      row_number() over (partition by c.gone order by c.likeness desc, c.unplaced) as of_gone,
      row_number() over (partition by c.unplaced order by c.likeness desc, c.gone) as of_unplaced
    from compared c
  )
  select jsonb_object_agg(r.unplaced, r.gone)
  from ranked r
  where r.of_gone = 1 and r.of_unplaced = 1
    and (r.likeness >= 0.3 or (cardinality(likely_names.gone) = 1 and cardinality(likely_names.unplaced) = 1))
$$;
comment on function etl.likely_names(text[], text[]) is
  'New name -> column, as etl.feeds.columns has it, for the columns that are gone and most likely renamed: each other''s
likest by the pairs of letters that they share, or the only ones. Null where none is. Of more than 100 names, which are
another file, the first 100 are compared.';

create or replace function etl.listed(names text[])
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(quote_ident(left(n.name, 63)), ', ' order by n.position) filter (where n.position <= 10)
    || case when cardinality(names) > 10 then ' and ' || cardinality(names) - 10 || ' more' else '' end
  from unnest(names) with ordinality n(name, position)
$$;
comment on function etl.listed(text[]) is 'The first ten names, for a message; null where there is none.';

revoke all on all functions in schema etl from public;
