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

-- The cold part of the events: streams of finished agents, moved here by `agentos archive`. As a child by
-- inheritance it is part of every SELECT FROM events, in the same snapshot, while INSERT INTO events goes to
-- the hot part alone: archiving costs the writers nothing. The store's uniqueness does not rest on the
-- constraints, which hold within one part: versions are compared and set in streams, positions are drawn.
CREATE TABLE IF NOT EXISTS eventstore.events_archive (
  PRIMARY KEY (pos),
  UNIQUE (tenant, stream, version)
) INHERITS (eventstore.events);

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

-- version_at() is the version a stream had when a position had been reached: how many of its events lie at
-- or below it. Inside a stream positions grow with versions, so halving finds it in a few lookups.
CREATE OR REPLACE FUNCTION eventstore.version_at(of_tenant text, of_stream text, at bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = eventstore, pg_temp AS $$
DECLARE
  lo bigint := 0;
  hi bigint;
  mid bigint;
BEGIN
  IF at <= 0 THEN
    RETURN 0;
  END IF;
  SELECT s.version INTO hi FROM streams AS s WHERE s.tenant = of_tenant AND s.stream = of_stream;
  WHILE lo < hi LOOP
    mid := (lo + hi + 1) / 2;
    IF (SELECT e.pos FROM events AS e WHERE e.tenant = of_tenant AND e.stream = of_stream AND e.version = mid) <= at THEN
      lo := mid;
    ELSE
      hi := mid - 1;
    END IF;
  END LOOP;
  RETURN lo;
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
--
-- Every access is by primary key, so no plan is better than another: the roles' settings (see setup.go)
-- make them generic, for planned anew at each call, as Postgres would choose, planning costs three times
-- what the call does. They are set on the roles because a SET on a function is paid at each call.
CREATE OR REPLACE FUNCTION eventstore.append(
  s_tenant text[], s_stream text[], s_expected bigint[], s_shard int[], s_count int[],
  e_stream int[], e_offset int[], e_id text[], e_kind text[], e_schema int[], e_time timestamptz[],
  e_correlation text[], e_causation text[], e_traceparent text[], e_data bytea[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
DECLARE
  -- As in caller_family(), but without the call.
  me text := coalesce(nullif(current_setting('role'), 'none'), session_user);
  fam text;
  base bigint[] := s_expected; -- version of each stream before
  positions bigint[];
  p bigint;
BEGIN
  SELECT w.family INTO fam FROM writers AS w WHERE w.role = me;
  FOR i IN 1 .. cardinality(s_stream) LOOP
    IF fam IS NULL OR NOT starts_with(s_stream[i], fam || '/') THEN
      RAISE EXCEPTION 'role % may not append to these streams', me USING ERRCODE = '42501';
    END IF;
    IF s_expected[i] > 0 THEN
      UPDATE streams AS st SET version = st.version + s_count[i]
      WHERE st.tenant = s_tenant[i] AND st.stream = s_stream[i] AND st.version = s_expected[i];
    ELSIF s_expected[i] = 0 THEN
      INSERT INTO streams (tenant, stream, version) VALUES (s_tenant[i], s_stream[i], s_count[i])
      ON CONFLICT DO NOTHING;
    ELSE
      INSERT INTO streams AS st (tenant, stream, version) VALUES (s_tenant[i], s_stream[i], s_count[i])
      ON CONFLICT (tenant, stream) DO UPDATE SET version = st.version + excluded.version
      RETURNING st.version - s_count[i] INTO p;
      base[i] := p;
    END IF;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'AO001';
    END IF;
  END LOOP;

  SELECT array_agg(nextval('position')) INTO positions FROM generate_series(1, cardinality(e_stream));
  INSERT INTO events (pos, tenant, stream, version, event_id, kind, schema_version, time,
                      correlation, causation, traceparent, data)
  SELECT e.pos, s_tenant[e.no], s_stream[e.no], base[e.no] + e.off, e.id::uuid, e.kind, e.schema, e.time,
         e.correlation, e.causation, e.traceparent, e.data
  FROM unnest(positions, e_stream, e_offset, e_id, e_kind, e_schema, e_time, e_correlation, e_causation,
              e_traceparent, e_data)
    AS e (pos, no, off, id, kind, schema, time, correlation, causation, traceparent, data);
  INSERT INTO outbox (family, shard, pos)
  SELECT fam, s_shard[o.no], o.pos FROM unnest(positions, e_stream) AS o (pos, no);
END $$;

-- append_one() is append() for one event of one stream, without arrays to build and to take apart: most
-- appends are that, and it costs two thirds.
CREATE OR REPLACE FUNCTION eventstore.append_one(
  s_tenant text, s_stream text, s_expected bigint, s_shard int, e_id text, e_kind text, e_schema int,
  e_time timestamptz, e_correlation text, e_causation text, e_traceparent text, e_data bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
DECLARE
  me text := coalesce(nullif(current_setting('role'), 'none'), session_user);
  fam text;
  base bigint := s_expected;
  p bigint;
BEGIN
  SELECT w.family INTO fam FROM writers AS w WHERE w.role = me;
  IF fam IS NULL OR NOT starts_with(s_stream, fam || '/') THEN
    RAISE EXCEPTION 'role % may not append to this stream', me USING ERRCODE = '42501';
  END IF;
  IF s_expected > 0 THEN
    UPDATE streams AS st SET version = st.version + 1
    WHERE st.tenant = s_tenant AND st.stream = s_stream AND st.version = s_expected;
  ELSIF s_expected = 0 THEN
    INSERT INTO streams (tenant, stream, version) VALUES (s_tenant, s_stream, 1) ON CONFLICT DO NOTHING;
  ELSE
    INSERT INTO streams AS st (tenant, stream, version) VALUES (s_tenant, s_stream, 1)
    ON CONFLICT (tenant, stream) DO UPDATE SET version = st.version + 1
    RETURNING st.version - 1 INTO base;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'stream version conflict' USING ERRCODE = 'AO001';
  END IF;
  p := nextval('position'); -- the stream is locked now
  INSERT INTO events (pos, tenant, stream, version, event_id, kind, schema_version, time,
                      correlation, causation, traceparent, data)
  VALUES (p, s_tenant, s_stream, base + 1, e_id::uuid, e_kind, e_schema, e_time,
          e_correlation, e_causation, e_traceparent, e_data);
  INSERT INTO outbox (family, shard, pos) VALUES (fam, s_shard, p);
END $$;

-- published() removes outbox rows of the caller's family after the broker has acknowledged them.
CREATE OR REPLACE FUNCTION eventstore.published(positions bigint[], shards int[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = eventstore, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  fam text := eventstore.caller_family();
BEGIN
  DELETE FROM outbox o USING unnest(positions, shards) AS p (pos, shard)
  WHERE o.family = fam AND o.shard = p.shard AND o.pos = p.pos;
END $$;

-- The tenants' data keys, each wrapped by the master key, which is never here. A tenant has one at a
-- time; an erased one leaves its number, so that what it sealed is known to be gone. No role reads the
-- table: the services have the two functions below.
CREATE TABLE IF NOT EXISTS eventstore.data_keys (
  tenant    text        NOT NULL,
  id        int         NOT NULL, -- from 1
  wrapped   bytea,                -- null: erased
  made_at   timestamptz NOT NULL DEFAULT now(),
  erased_at timestamptz,
  PRIMARY KEY (tenant, id)
);

CREATE OR REPLACE FUNCTION eventstore.data_keys_of(of_tenant text) RETURNS TABLE (id int, wrapped bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
  SELECT k.id, k.wrapped FROM data_keys AS k WHERE k.tenant = of_tenant ORDER BY k.id
$$;

-- add_data_key() makes a tenant's next key and returns it; of two who make it at once both get the first.
CREATE OR REPLACE FUNCTION eventstore.add_data_key(of_tenant text, new_id int, new_wrapped bytea) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
BEGIN
  INSERT INTO data_keys (tenant, id, wrapped) VALUES (of_tenant, new_id, new_wrapped) ON CONFLICT DO NOTHING;
  RETURN (SELECT k.wrapped FROM data_keys AS k WHERE k.tenant = of_tenant AND k.id = new_id);
END $$;

-- master_key() is the id of the master key this store is sealed with; the first one given is kept. '' gives
-- none and asks only.
CREATE OR REPLACE FUNCTION eventstore.master_key(given text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = eventstore, pg_temp AS $$
BEGIN
  IF given <> '' THEN
    INSERT INTO meta (key, value) VALUES ('master_key', given) ON CONFLICT DO NOTHING;
  END IF;
  RETURN coalesce((SELECT value FROM meta WHERE key = 'master_key'), '');
END $$;
