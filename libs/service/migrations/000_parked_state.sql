-- What an operator wants of a parked event: nothing yet (parked), that it is handled again (retry), or
-- that it is skipped (drop). What was skipped stays as dropped: it holds nothing up, and a rebuild skips
-- it too. The replica that owns the stream's shard looks for what is asked.
ALTER TABLE parked ADD COLUMN state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'retry', 'drop', 'dropped'));
