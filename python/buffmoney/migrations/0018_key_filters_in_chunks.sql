-- Filters of event keys are made of chunks of 64 KiB now, of which a core has a number that it takes at its start. Those of the old form are
-- forgotten. Whoever takes the lease next reads the keys of their tables, once, and makes one anew.

UPDATE key_tables SET filter = NULL, span_from = NULL WHERE filter IS NOT NULL;
