-- It takes the table that an error names, too.
drop function if exists etl.is_record_fault(regclass, text, text, text);
