-- The Merkle log: every event of every family but audit, once, as raw bytes. It is a primary record:
-- nothing here is ever updated or deleted.

CREATE TABLE leaves (
  idx      bigint NOT NULL PRIMARY KEY, -- from 0, without holes
  tenant   text   NOT NULL,
  stream   text   NOT NULL,
  version  bigint NOT NULL,
  event_id uuid   NOT NULL,
  leaf     bytea  NOT NULL,
  UNIQUE (tenant, stream, version)
);
CREATE INDEX leaves_event ON leaves (event_id);

-- All complete nodes of the tree, numbered as golang.org/x/mod/sumdb/tlog numbers stored hashes.
CREATE TABLE hashes (
  idx  bigint NOT NULL PRIMARY KEY,
  hash bytea  NOT NULL
);

CREATE TABLE heads (
  size bigint      NOT NULL PRIMARY KEY,
  root bytea       NOT NULL,
  note text        NOT NULL, -- C2SP tlog-checkpoint
  at   timestamptz NOT NULL DEFAULT now()
);

-- stored_index() is tlog.StoredHashIndex: a node is written right after the last leaf below it, and
-- before leaf m come 2m - popcount(m) hashes.
CREATE FUNCTION stored_index(level int, n bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT 2 * m - bit_count(m::bit(64)) + level FROM (SELECT ((n + 1) << level) - 1 AS m) AS x
$$;

-- append_leaves() appends what is not in the log yet, in the order given, with all nodes this completes,
-- and returns the size of the log. Writers of all shards and replicas pass one after the other: the lock
-- is held to the end of the transaction, so a reader never sees a hole. A tree of small tables would make
-- the planner scan them whole for ever after; the settings keep it on the indexes.
CREATE FUNCTION append_leaves(p_tenant text[], p_stream text[], p_version bigint[], p_id uuid[], p_leaf bytea[])
RETURNS bigint LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  before  bigint;
  after   bigint;
  level   int := 0;
  first   bigint; -- place of nodes[1] in its level
  nodes   bytea[];
  sibling bytea;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('agentos/audit/log', 0));
  SELECT coalesce(max(idx) + 1, 0) INTO before FROM leaves;

  WITH fresh AS (
    SELECT a.*, row_number() OVER (ORDER BY a.ord) - 1 AS off
    FROM unnest(p_tenant, p_stream, p_version, p_id, p_leaf)
      WITH ORDINALITY AS a (tenant, stream, version, id, leaf, ord)
    WHERE NOT EXISTS (SELECT 1 FROM leaves AS l
                      WHERE l.tenant = a.tenant AND l.stream = a.stream AND l.version = a.version)
  ), ins AS (
    INSERT INTO leaves (idx, tenant, stream, version, event_id, leaf)
    SELECT before + off, tenant, stream, version, id, leaf FROM fresh
    RETURNING idx, sha256('\x00'::bytea || leaf) AS hash
  )
  SELECT array_agg(hash ORDER BY idx) INTO nodes FROM ins;
  IF nodes IS NULL THEN
    RETURN before;
  END IF;

  after := before + cardinality(nodes);
  first := before;
  LOOP
    INSERT INTO hashes (idx, hash)
    SELECT stored_index(level, first + ord - 1), hash FROM unnest(nodes) WITH ORDINALITY AS u (hash, ord);

    EXIT WHEN after >> (level + 1) = before >> (level + 1); -- no parent became complete
    IF first % 2 = 1 THEN
      SELECT hash INTO STRICT sibling FROM hashes WHERE idx = stored_index(level, first - 1);
      nodes := array_prepend(sibling, nodes);
    END IF;
    SELECT array_agg(sha256('\x01'::bytea || l || r) ORDER BY ord) INTO nodes
    FROM (SELECT lag(hash) OVER (ORDER BY ord) AS l, hash AS r, ord
          FROM unnest(nodes) WITH ORDINALITY AS u (hash, ord)) AS pairs
    WHERE ord % 2 = 0;
    level := level + 1;
    first := before >> level;
  END LOOP;
  RETURN after;
END $$;
