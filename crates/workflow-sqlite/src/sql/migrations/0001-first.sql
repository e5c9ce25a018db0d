CREATE TABLE runs (
    key            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    workflow       TEXT    NOT NULL,
    execution_id   TEXT,
    status         TEXT    NOT NULL,
    epoch          INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    due_at         INTEGER,
    worker         TEXT,
    recoveries     INTEGER NOT NULL,
    cancel_reason  TEXT,
    cancel_at_once INTEGER,
    cancel_at      INTEGER
) STRICT;
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_worker ON runs (worker) WHERE worker IS NOT NULL;
CREATE INDEX runs_ended ON runs (status, ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE history (
    position   INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    events     TEXT    NOT NULL,
    kind       TEXT,
    name       TEXT,
    occurrence INTEGER,
    attempt    INTEGER,
    due_at     INTEGER,
    payload    TEXT
) STRICT;
-- The last seq, and not the first: where a history ends is then read from the index alone.
CREATE UNIQUE INDEX history_run ON history (run, last_seq);

CREATE TABLE workers (
    name  TEXT    PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    sink      TEXT    PRIMARY KEY,
    position  INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    rejected  INTEGER NOT NULL,
    missed    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    purged   INTEGER NOT NULL
) STRICT;
INSERT INTO outbox (one, position, purged) VALUES (1, 0, 0);
