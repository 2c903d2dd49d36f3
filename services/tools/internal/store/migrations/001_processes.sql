-- What the tools service knows of each process: where it works, what it may use, whether it is over.
-- version is that of the agent stream's event the row was last changed by: an older one changes nothing.
CREATE TABLE processes (
  tenant    text    NOT NULL,
  pid       text    NOT NULL,
  workspace text    NOT NULL,
  tools     jsonb   NOT NULL,
  ended     text    NOT NULL DEFAULT '', -- why it is over; '' while it lives
  version   bigint  NOT NULL,
  PRIMARY KEY (tenant, pid)
);
