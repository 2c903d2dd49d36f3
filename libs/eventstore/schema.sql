-- The event store: one schema, one position sequence. Facts are public to every service's role, and each
-- role appends to the streams of its own family only, through append().

CREATE TABLE IF NOT EXISTS eventstore.meta (
  key   text PRIMARY KEY,
  value text NOT NULL
);

-- Which database role owns which family; append() checks it.
CREATE TABLE IF NOT EXISTS eventstore.writers (
  role   text PRIMARY KEY,
  family text NOT NULL
);

CREATE TABLE IF NOT EXISTS eventstore.streams (
  tenant  text   NOT NULL,
  stream  text   NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (tenant, stream)
) WITH (fillfactor = 70);

CREATE SEQUENCE IF NOT EXISTS eventstore.position;

CREATE TABLE IF NOT EXISTS eventstore.events (
  pos            bigint      NOT NULL PRIMARY KEY DEFAULT nextval('eventstore.position'),
  tenant         text        NOT NULL,
  stream         text        NOT NULL,
  version        bigint      NOT NULL,
  event_id       uuid        NOT NULL,
  kind           text        NOT NULL,
  schema_version int         NOT NULL,
  time           timestamptz NOT NULL,
  correlation    text        NOT NULL,
  causation      text        NOT NULL,
  traceparent    text        NOT NULL,
  data           bytea       NOT NULL,
  UNIQUE (tenant, stream, version)
);

-- An outbox row points to an event that is not yet on Kafka. The events stay; the rows go.
CREATE TABLE IF NOT EXISTS eventstore.outbox (
  family text   NOT NULL,
  shard  int    NOT NULL,
  pos    bigint NOT NULL,
  PRIMARY KEY (family, shard, pos)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- must() ends a pipelined transaction when a condition does not hold.
CREATE OR REPLACE FUNCTION eventstore.must(ok boolean, what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT coalesce(ok, false) THEN
    RAISE EXCEPTION '%', what USING ERRCODE = 'AO002';
  END IF;
END $$;

-- caller_family() is the family the calling role may write. A role taken on by SET ROLE counts before
-- the one that logged in; inside SECURITY DEFINER current_user would be the owner.
CREATE OR REPLACE FUNCTION eventstore.caller_family() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
  SELECT family FROM eventstore.writers
  WHERE role = coalesce(nullif(current_setting('role'), 'none'), session_user)
$$;

-- append() adds events to streams, each with its expected version: n = exactly n, 0 = must not exist,
-- -1 = any. Streams must come in (tenant, stream) order, so that two batches cannot lock each other
-- out. All stream rows are locked BEFORE a position is drawn: inside a stream the order of positions is
-- then the order of versions, and the transaction has its xid before its first position, which the
-- watermark of the readers rests on.
CREATE OR REPLACE FUNCTION eventstore.append(
  s_tenant text[], s_stream text[], s_expected bigint[], s_shard int[], s_count int[],
  e_stream int[], e_offset int[], e_id text[], e_kind text[], e_schema int[], e_time timestamptz[],
  e_correlation text[], e_causation text[], e_traceparent text[], e_data bytea[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
DECLARE
  fam text := eventstore.caller_family();
  locked int;
BEGIN
  IF fam IS NULL OR EXISTS (SELECT 1 FROM unnest(s_stream) AS x WHERE NOT starts_with(x, fam || '/')) THEN
    RAISE EXCEPTION 'role % may not append to these streams', coalesce(nullif(current_setting('role'), 'none'), session_user)
      USING ERRCODE = '42501';
  END IF;

  IF 0 >= ANY (s_expected) THEN
    INSERT INTO streams AS st (tenant, stream, version)
    SELECT s.tenant, s.stream, 0
    FROM unnest(s_tenant, s_stream, s_expected) WITH ORDINALITY AS s (tenant, stream, expected, ord)
    WHERE s.expected <= 0
    ORDER BY s.ord
    ON CONFLICT DO NOTHING;
  END IF;

  WITH s AS (
    SELECT * FROM unnest(s_tenant, s_stream, s_expected, s_shard, s_count)
      WITH ORDINALITY AS s (tenant, stream, expected, shard, n, ord)
  ), up AS (
    UPDATE streams AS st SET version = st.version + s.n
    FROM s
    WHERE st.tenant = s.tenant AND st.stream = s.stream
      AND (s.expected = -1 OR st.version = s.expected)
    RETURNING s.ord, s.tenant, s.stream, s.shard, st.version - s.n AS base
  ), ins AS (
    INSERT INTO events (tenant, stream, version, event_id, kind, schema_version, time,
                        correlation, causation, traceparent, data)
    SELECT up.tenant, up.stream, up.base + e.off, e.id::uuid, e.kind, e.schema, e.time,
           e.correlation, e.causation, e.traceparent, e.data
    FROM unnest(e_stream, e_offset, e_id, e_kind, e_schema, e_time, e_correlation, e_causation,
                e_traceparent, e_data)
      WITH ORDINALITY AS e (stream_no, off, id, kind, schema, time, correlation, causation,
                            traceparent, data, ord)
    JOIN up ON up.ord = e.stream_no
    ORDER BY e.ord
    RETURNING pos, tenant, stream
  ), box AS (
    INSERT INTO outbox (family, shard, pos)
    SELECT fam, up.shard, ins.pos FROM ins JOIN up USING (tenant, stream)
  )
  SELECT count(*) INTO locked FROM up;

  IF locked <> cardinality(s_stream) THEN
    RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'AO001';
  END IF;
END $$;

-- published() removes outbox rows of the caller's family after the broker has acknowledged them.
CREATE OR REPLACE FUNCTION eventstore.published(positions bigint[], shards int[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
DECLARE
  fam text := eventstore.caller_family();
BEGIN
  DELETE FROM outbox o USING unnest(positions, shards) AS p (pos, shard)
  WHERE o.family = fam AND o.shard = p.shard AND o.pos = p.pos;
END $$;
