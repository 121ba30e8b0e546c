-- Functions that are gone, or take more than they did: the next migration makes them anew.
drop function if exists etl.drop_unique(regclass, oid);
drop function if exists etl.in_brackets(text[]);
drop function if exists etl.is_record_fault(regclass, text, text, text);
drop function if exists etl.validate_referenced(regclass);
drop function if exists etl.validate_relations(regclass);
drop function if exists etl.validate_rows(regclass);

-- What a load remembers of an answer.
comment on column etl.feed_state.etag is
  'Validator of the latest answer with that body, sent as If-None-Match. Behind a redirect with a mark, a hash of the
URL that said it: it is sent to no other.';
comment on column etl.feed_state.last_modified is
  'Validator of that answer, sent as If-Modified-Since, with the same mark.';
