-- Filters of event keys have another form: 32 bits a key in blocks of a cache line, where 24 bits let one event of every batch through to the
-- database. Those of the old form are forgotten. Whoever takes the lease next reads the keys of their tables, once, and makes one anew.

UPDATE key_tables SET filter = NULL, span_from = NULL WHERE filter IS NOT NULL;
