-- What a partner's file may look like: all of it is said in etl.feeds, and all of it optional.
alter table etl.feeds
  add column if not exists headers jsonb not null default '{}'
    constraint feeds_headers_check check (
      jsonb_typeof(headers) = 'object' and not jsonb_path_exists(headers, '$.* ? (@.type() != "string")')
    ),
  add column if not exists records text constraint feeds_records_check check (records ~ '^(/.*)?$'),
  add column if not exists next text constraint feeds_next_check check (next ~ '^(link|/.*)$'),
  add column if not exists skip int not null default 0 constraint feeds_skip_check check (skip between 0 and 10000),
  add column if not exists header text[] constraint feeds_header_check check (cardinality(header) > 0),
  add column if not exists quote text not null default '"'
    constraint feeds_quote_check check (quote ~ '^[!-~]$'),
  add column if not exists escape text constraint feeds_escape_check check (escape ~ '^[!-~]$'),
  add column if not exists nulls text[] not null default '{}'
    constraint feeds_nulls_check check (array_position(nulls, null) is null),
  add column if not exists date_order text
    constraint feeds_date_order_check check (date_order in ('dmy', 'mdy', 'ymd')),
  add column if not exists decimal_comma boolean not null default false,
  add column if not exists contents text not null default 'all'
    constraint feeds_contents_check check (contents in ('all', 'changes')),
  add column if not exists absent text not null default 'keep'
    constraint feeds_absent_check
      check (absent in ('keep', 'delete', 'mark') and (absent = 'keep' or contents = 'all')),
  add column if not exists absent_limit numeric not null default 0.1
    constraint feeds_absent_limit_check check (absent_limit between 0 and 1),
  add column if not exists fresh_within interval
    constraint feeds_fresh_within_check check (fresh_within > interval '0'),
  add column if not exists shrink_limit numeric not null default 0.5
    constraint feeds_shrink_limit_check check (shrink_limit between 0 and 1);
alter table etl.feeds drop constraint if exists feeds_delimiter_check;
alter table etl.feeds add constraint feeds_delimiter_check
  check (delimiter ~ '^[\x01-\x09\x0b\x0c\x0e-\x7f]$' and delimiter <> quote and delimiter <> coalesce(escape, quote));

comment on column etl.feeds.url is
  'http or https, without credentials. May hold {secret:NAME}, and {day}, {day-1} or {day-1:YYYYMMDD} for a date in the
feed''s time zone, as to_char() writes it. #member names the file in a zip archive.';
comment on column etl.feeds.headers is
  'Request headers, name -> value: {"authorization": "Bearer {secret:ACME_TOKEN}"}. A secret is taken from the vault by
its name, or from the loader''s environment as ETL_SECRET_ACME_TOKEN.';
comment on column etl.feeds.records is
  'JSON Pointer (RFC 6901) of the array of records in a JSON document, as /data/trips; of an object: one record. Null:
the document is the array.';
comment on column etl.feeds.next is
  'Where the URL of the next page is: link (the header Link, RFC 8288) or a JSON Pointer. Null: there is one page.';
comment on column etl.feeds.skip is 'Lines of a CSV file before its header line.';
comment on column etl.feeds.header is
  'The names of the columns of a CSV file that has no header line. Null: its first line.';
comment on column etl.feeds.delimiter is
  'Of a CSV feed, one byte; null: comma, semicolon, tab or pipe, by the header line.';
comment on column etl.feeds.quote is 'What encloses a CSV field, one byte.';
comment on column etl.feeds.escape is
  'What stands before a quote within a quoted CSV field, as \; null: the quote itself.';
comment on column etl.feeds.nulls is
  'Words that mean null, as N/A: in columns of every type, those of text too. An empty cell needs no word.';
comment on column etl.feeds.date_order is
  'How 03/04/2024 is meant: dmy, mdy or ymd. Null: such a date is rejected, for it has two meanings.';
comment on column etl.feeds.decimal_comma is 'Whether numbers are written 1.234,50.';
comment on column etl.feeds.contents is
  'all: the file is the whole truth; changes: it holds what is new since the last one, and a reject waits until its
record can be loaded.';
comment on column etl.feeds.absent is
  'What becomes of a row that a file of all no longer holds: keep, delete, or mark, which sets the table''s column
absent_since.';
comment on column etl.feeds.absent_limit is
  'Share of the table''s rows, 0 to 1. A file that would take away more takes away nothing until
etl.approve() is called.';
comment on column etl.feeds.fresh_within is 'Health says stale after so long without anything new; null: never.';
comment on column etl.feeds.shrink_limit is
  'Share of the records, 0 to 1. Health says shrunk where a file has fewer by more than it.';

-- What the ledger keeps of a report, too.
alter table etl.runs add column if not exists ignored_columns text[] not null default '{}';
comment on column etl.runs.ignored_columns is 'Source columns that the target table does not have.';

-- The customer's partners are in New York.
update etl.feeds
set date_order = 'mdy'
where date_order is null
  and (name, target) in (('drivers', 'public.drivers'), ('trips', 'public.trips'), ('charges', 'public.charges'));

-- The columns that a feed can fill are of a kind. The function is made anew by a later migration.
drop function if exists etl.loadable_columns(regclass);
