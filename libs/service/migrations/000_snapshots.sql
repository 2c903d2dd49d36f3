-- The state of long streams as the service has folded them: a cache, written after the commit, of which
-- nothing is missed when it is gone. codec is the version of the state's bytes; a row with another one
-- than the program's is ignored.
CREATE TABLE snapshots (
  tenant  text   NOT NULL,
  stream  text   NOT NULL,
  version bigint NOT NULL,
  codec   int    NOT NULL,
  state   bytea  NOT NULL,
  PRIMARY KEY (tenant, stream)
) WITH (fillfactor = 70);
