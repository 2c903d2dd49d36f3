-- Trajectories: one small head per process and one row per step, both rewritten only when touched, so that
-- n steps cost n rows. doc is the fold's own JSON; the columns beside it are for counting.
CREATE TABLE trajectories (
  tenant        text        NOT NULL,
  pid           text        NOT NULL,
  name          text        NOT NULL,
  started       timestamptz,          -- null: the beginning has not been seen
  outcome       text        NOT NULL, -- '' until the process has ended
  steps         bigint      NOT NULL,
  model_calls   bigint      NOT NULL,
  tool_calls    bigint      NOT NULL,
  input_tokens  bigint      NOT NULL,
  cached_tokens bigint      NOT NULL,
  output_tokens bigint      NOT NULL,
  cost_micro    bigint      NOT NULL,
  doc           bytea       NOT NULL,
  PRIMARY KEY (tenant, pid)
) WITH (fillfactor = 70);
CREATE INDEX trajectories_name ON trajectories (tenant, name COLLATE "C");

CREATE TABLE steps (
  tenant text   NOT NULL,
  pid    text   NOT NULL,
  step   bigint NOT NULL, -- 0 is the frame: task and result
  doc    bytea  NOT NULL,
  PRIMARY KEY (tenant, pid, step)
) WITH (fillfactor = 70);
