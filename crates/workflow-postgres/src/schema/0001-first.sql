-- The first version. {schema} stands for the name of the schema.

CREATE TABLE {schema}.runs (
    key            bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             text    COLLATE "C" NOT NULL UNIQUE,
    workflow       text    COLLATE "C" NOT NULL,
    execution_id   text    COLLATE "C",
    status         text    COLLATE "C" NOT NULL,
    last_seq       bigint  NOT NULL,
    epoch          bigint  NOT NULL,
    recoveries     bigint  NOT NULL,
    created_at     bigint  NOT NULL,
    ended_at       bigint,
    due_at         bigint,
    worker         text    COLLATE "C",
    cancel_reason  text    COLLATE "C",
    cancel_at_once boolean,
    cancel_at      bigint
    -- A step rewrites this narrow row in place: the free space is for that, and none of these columns is indexed
    -- that a step changes.
) WITH (fillfactor = 50);

CREATE INDEX runs_due ON {schema}.runs (workflow, due_at, key) WHERE due_at IS NOT NULL;
CREATE INDEX runs_held ON {schema}.runs (worker) WHERE worker IS NOT NULL;
CREATE INDEX runs_ended ON {schema}.runs (ended_at, key) WHERE ended_at IS NOT NULL;

-- The histories, and the outbox: append only. A row is one record; its events have the positions from `position` on.
CREATE TABLE {schema}.history (
    position   bigint  PRIMARY KEY,
    run        bigint  NOT NULL,
    seq        bigint  NOT NULL,
    last_seq   bigint  NOT NULL,
    at         bigint  NOT NULL,
    events     text    COLLATE "C" NOT NULL,
    kind       text    COLLATE "C",
    name       text    COLLATE "C",
    occurrence bigint,
    attempt    bigint,
    due_at     bigint,
    payload    text    COLLATE "C",
    -- The epoch of the claim under which it was written: it never falls within a run.
    epoch      bigint  NOT NULL,
    UNIQUE (run, seq)
);

-- One row per worker: its lease. `session` ends with its connection, `state` is 1 once the lease has run out and 2 once
-- it was ended in good order.
CREATE TABLE {schema}.workers (
    name     text     COLLATE "C" PRIMARY KEY,
    until    bigint   NOT NULL,
    session  bigint   NOT NULL,
    state    smallint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- One row per sink. `server` is when the server was started that gave the holder its claim.
CREATE TABLE {schema}.cursors (
    sink      text    COLLATE "C" PRIMARY KEY,
    position  bigint  NOT NULL,
    delivered bigint  NOT NULL,
    rejected  bigint  NOT NULL,
    missed    bigint  NOT NULL,
    holder    text    COLLATE "C",
    epoch     bigint  NOT NULL DEFAULT 0,
    server    timestamptz
) WITH (fillfactor = 50);

CREATE SEQUENCE {schema}.sink_epochs;

-- One row. Positions are `base` plus the transaction's id and a place in it; `counted` events stand up to `counted_to`,
-- purged ones included; `last_position` is that of the last event that was purged.
CREATE TABLE {schema}.outbox (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    base          bigint  NOT NULL DEFAULT 0,
    counted_to    bigint  NOT NULL DEFAULT 0,
    counted       bigint  NOT NULL DEFAULT 0,
    purged        bigint  NOT NULL DEFAULT 0,
    last_position bigint  NOT NULL DEFAULT 0
);
INSERT INTO {schema}.outbox DEFAULT VALUES;
