-- The process table as users see it, folded from the agent streams.
CREATE TABLE processes (
  tenant        text        NOT NULL,
  pid           text        NOT NULL,
  shard         int         NOT NULL,
  version       bigint      NOT NULL,
  name          text        NOT NULL,
  state         text        NOT NULL,
  wait_reason   text        NOT NULL,
  wait_until    timestamptz,
  timer_at      timestamptz,
  priority      int         NOT NULL,
  spawn         jsonb       NOT NULL,
  usage         jsonb       NOT NULL,
  result        text        NOT NULL,
  reason        text        NOT NULL,
  code          text        NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  PRIMARY KEY (tenant, pid)
) WITH (fillfactor = 60);
CREATE INDEX processes_state ON processes (shard, state) WHERE state IN ('ready', 'running');
CREATE INDEX processes_timer ON processes (shard, timer_at) WHERE timer_at IS NOT NULL;
CREATE INDEX processes_name ON processes (tenant, name, pid);

-- Answers to requests with an Idempotency-Key, kept with the hash of what was asked.
CREATE TABLE idempotency (
  tenant       text        NOT NULL,
  route        text        NOT NULL,
  key          text        NOT NULL,
  request_hash text        NOT NULL,
  response     bytea       NOT NULL, -- the very bytes that were sent
  at           timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, route, key)
);
CREATE INDEX idempotency_at ON idempotency (at);
