-- What every service keeps beside its own tables: how far it has read each stream, and what it could
-- not handle.
CREATE TABLE positions (
  tenant  text   NOT NULL,
  stream  text   NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (tenant, stream)
) WITH (fillfactor = 60);

CREATE TABLE parked (
  tenant  text        NOT NULL,
  stream  text        NOT NULL,
  version bigint      NOT NULL,
  kind    text        NOT NULL,
  reason  text        NOT NULL,
  at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, stream, version)
);

-- Leases of effects that run now: who runs which attempt, and until when he must say so again.
CREATE TABLE effects (
  tenant      text        NOT NULL,
  subject     text        NOT NULL,
  call_id     text        NOT NULL,
  attempt     int         NOT NULL,
  class       text        NOT NULL,
  shard       int         NOT NULL,
  owner       text        NOT NULL,
  lease_until timestamptz NOT NULL,
  traceparent text        NOT NULL DEFAULT '',
  PRIMARY KEY (tenant, call_id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX effects_lease ON effects (shard, lease_until);
