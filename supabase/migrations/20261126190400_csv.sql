-- Their signatures change: etl.stage() is told the quote, etl.check_columns() whether the feed is JSON.
drop function if exists etl.stage(text, int, text[], text);
drop function if exists etl.check_columns(etl.feeds, boolean);
