-- The first version. {schema} stands for the name of the schema.

CREATE SEQUENCE {schema}.run_keys;

-- A key has a count, and 24 random bits below it: a server that lost its last transactions in a failover counts the same
-- again, and a claim of a run that is gone must be no claim of a stranger.
CREATE TABLE {schema}.runs (
    key            bigint  PRIMARY KEY
        DEFAULT (nextval('{q}.run_keys') << 24) | floor(random() * 16777216)::bigint,
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
-- What people look for. In the long run nearly all runs have completed, and those are found without an index.
CREATE INDEX runs_status ON {schema}.runs (status, key) WHERE status <> 'completed';

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

-- One row per sink. The holder's claim ends with the connection, `session`, that asked for it, and with the server that
-- gave it: `server` is when that was started.
CREATE TABLE {schema}.cursors (
    sink      text    COLLATE "C" PRIMARY KEY,
    position  bigint  NOT NULL,
    delivered bigint  NOT NULL,
    rejected  bigint  NOT NULL,
    missed    bigint  NOT NULL,
    holder    text    COLLATE "C",
    epoch     bigint  NOT NULL DEFAULT 0,
    session   bigint,
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

-- Functions: a server keeps their plans from one call to the next, on any connection of a proxy, and their settings hold
-- nowhere else. Planned anew each time, the two writes of the hot path would take twice as long; and a plan that is made
-- by statistics reads the whole of `history` where they are missing. So these find rows by their keys only, and join what
-- they are given by hashing.

-- Where the events of this transaction stand. What a sink has had, or was counted, lies behind that of any transaction
-- which still writes, and what can be seen behind that of any which has not begun; where it does not, this is the database
-- of another cluster, whose transactions began anew.
CREATE FUNCTION {schema}.first_position() RETURNS bigint
LANGUAGE plpgsql SET jit = off AS '
DECLARE
    first bigint; settled bigint; next bigint; top bigint;
BEGIN
    SELECT o.base + (pg_current_xact_id()::text::bigint << 20),
        greatest(o.counted_to, o.last_position, (SELECT max(c.position) FROM {q}.cursors c)),
        o.base + (pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20),
        (SELECT h.position FROM {q}.history h ORDER BY h.position DESC LIMIT 1)
    INTO first, settled, next, top FROM {q}.outbox o;
    IF first <= settled OR top >= next THEN
        RAISE EXCEPTION ''positions have gone back: the database was restored'' USING ERRCODE = ''WF001'';
    END IF;
    RETURN first;
END';

-- Creates runs, those whose id is free, with their first records. A worker that has a lease, and whose connection this is,
-- holds its new runs; the lock keeps the lease so until the transaction ends.
CREATE FUNCTION {schema}.create_runs(
    ids text[], workflows text[], executions text[], statuses text[], workers text[], session bigint,
    ats bigint[], last_seqs bigint[], events text[], kinds text[], names text[], occurrences bigint[], attempts bigint[],
    due_ats bigint[], payloads text[], places bigint[]
) RETURNS TABLE (run_id text, run_key bigint, run_epoch bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off SET jit = off
SET lock_timeout = '500ms' AS '
#variable_conflict use_column
DECLARE
    leased text[]; first bigint := {q}.first_position(); new_ids text[]; new_keys bigint[]; new_epochs bigint[];
BEGIN
    SELECT array_agg(name) INTO leased FROM (
        SELECT name FROM {q}.workers WHERE name = ANY($5) AND session = $6 AND state = 0 FOR SHARE) w;
    WITH fresh AS (
        INSERT INTO {q}.runs (id, workflow, execution_id, status, last_seq, epoch, recoveries, created_at, due_at, worker)
        SELECT id, workflow, execution_id, status, last_seq, CASE WHEN status = ''running'' THEN 1 ELSE 0 END, 0, at,
            CASE WHEN worker = ANY(leased) THEN NULL ELSE at END, worker
        FROM unnest($1, $2, $3, $4, $5, $7, $8) AS i(id, workflow, execution_id, status, worker, at, last_seq)
        ON CONFLICT (id) DO NOTHING RETURNING id, key, epoch)
    SELECT array_agg(id), array_agg(key), array_agg(epoch) INTO new_ids, new_keys, new_epochs FROM fresh;
    INSERT INTO {q}.history (position, run, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload,
        epoch)
    SELECT first + i.place, f.key, 1, i.last_seq, i.at, i.events, i.kind, i.name, i.occurrence, i.attempt, i.due_at,
        i.payload, f.epoch
    FROM unnest($1, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        AS i(id, at, last_seq, events, kind, name, occurrence, attempt, due_at, payload, place)
    JOIN unnest(new_ids, new_keys, new_epochs) AS f(id, key, epoch) ON f.id = i.id;
    RETURN QUERY SELECT id, key, epoch FROM unnest(new_ids, new_keys, new_epochs) AS f(id, key, epoch);
END';

-- Appends to histories, under claims that stand. The worker is part of the claim: after a failover an epoch may be given
-- again that another worker had from the server that is gone.
CREATE FUNCTION {schema}.commit_runs(
    keys bigint[], epochs bigint[], first_seqs bigint[], last_seqs bigint[], statuses text[], befores text[],
    ends boolean[], progress boolean[], ended_ats bigint[], due_ats bigint[], workers text[], runs bigint[],
    run_epochs bigint[], seqs bigint[],
    ats bigint[], record_last_seqs bigint[], events text[], kinds text[], names text[], occurrences bigint[],
    attempts bigint[], record_due_ats bigint[], payloads text[], places bigint[]
) RETURNS TABLE (run_key bigint, reason text, at_once boolean, asked_at bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_nestloop = off SET jit = off
SET lock_timeout = '500ms' AS '
#variable_conflict use_column
DECLARE
    first bigint := {q}.first_position(); moved bigint[]; reasons text[]; at_onces boolean[]; asked bigint[];
BEGIN
    WITH moved AS (
        UPDATE {q}.runs r SET last_seq = i.last_seq, status = i.status, ended_at = i.ended_at, due_at = i.due_at,
            recoveries = CASE WHEN i.progress THEN 0 ELSE r.recoveries END,
            worker = CASE WHEN i.ends THEN NULL ELSE r.worker END
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            AS i(key, epoch, first_seq, last_seq, status, befores, ends, progress, ended_at, due_at)
        WHERE r.key = ANY($1) AND r.key = i.key AND r.epoch = i.epoch AND array_position($11, r.worker) IS NOT NULL
            AND r.due_at IS NULL AND r.last_seq = i.first_seq - 1
            AND r.status = ANY(string_to_array(i.befores, '' ''))
            AND NOT (i.ends AND i.status <> ''cancelled'' AND r.cancel_at IS NOT NULL)
        RETURNING r.key, r.cancel_reason, r.cancel_at_once, r.cancel_at)
    SELECT array_agg(key), array_agg(cancel_reason), array_agg(cancel_at_once), array_agg(cancel_at)
    INTO moved, reasons, at_onces, asked FROM moved;
    INSERT INTO {q}.history (position, run, epoch, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at,
        payload)
    SELECT first + place, run, epoch, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload
    FROM unnest($12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
        AS h(run, epoch, seq, at, last_seq, events, kind, name, occurrence, attempt, due_at, payload, place)
    WHERE run = ANY(moved);
    RETURN QUERY SELECT * FROM unnest(moved, reasons, at_onces, asked);
END';

-- Finds the runs that nobody has locked; where somebody has locked the whole table it fails, as a commit does.
CREATE FUNCTION {schema}.unlocked_runs(keys bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '500ms' AS '
BEGIN
    RETURN QUERY SELECT r.key FROM {q}.runs r WHERE r.key = ANY($1) ORDER BY r.key FOR UPDATE SKIP LOCKED;
END';

-- Counts the events that stand before the gate, so that they need not be counted again; unless somebody is at it, or
-- purges.
CREATE FUNCTION {schema}.count_events() RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS '
BEGIN
    PERFORM FROM {q}.outbox FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE {q}.outbox o SET counted_to = gate.position - 1, counted = o.counted + (
        SELECT coalesce(sum(last_seq - seq + 1), 0)::bigint FROM {q}.history h
        WHERE h.position > o.counted_to AND h.position < gate.position)
    FROM (SELECT base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) AS position FROM {q}.outbox) gate
    WHERE o.counted_to < gate.position - 1;
END';

-- How many events were accepted, where the last one stands, up to where they can be read, and how many rows were counted
-- anew for that.
CREATE FUNCTION {schema}.outbox_end() RETURNS TABLE (accepted bigint, last bigint, readable bigint, fresh bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS '
BEGIN
    RETURN QUERY
    SELECT o.counted + h.events, greatest(o.last_position, (
            SELECT l.position + l.last_seq - l.seq FROM {q}.history l ORDER BY l.position DESC LIMIT 1)),
        o.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) - 1, h.rows
    FROM {q}.outbox o, LATERAL (
        SELECT coalesce(sum(n.last_seq - n.seq + 1), 0)::bigint AS events, count(*) AS rows
        FROM {q}.history n WHERE n.position > o.counted_to) h;
END';

-- Removes runs that ended before the times given and whose events every sink has settled, but for those that somebody
-- has locked. Whoever opens a cursor waits until it has ended, or it for them, and each of its statements sees what was
-- committed before.
CREATE FUNCTION {schema}.purge_runs(completed bigint, failed bigint, cancelled bigint, most bigint)
RETURNS TABLE (runs bigint, events bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashjoin = off
SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s' AS '
#variable_conflict use_column
DECLARE
    settled bigint; victims bigint[]; gone bigint; top bigint;
BEGIN
    IF current_setting(''transaction_isolation'') <> ''read committed'' THEN
        RAISE EXCEPTION ''a purge has to be read committed'';
    END IF;
    PERFORM FROM {q}.outbox FOR UPDATE;
    PERFORM {q}.count_events();
    SELECT least(o.counted_to, (SELECT min(c.position) FROM {q}.cursors c)) INTO settled FROM {q}.outbox o;
    SELECT array_agg(v.key) INTO victims FROM (
        SELECT r.key FROM {q}.runs r
        WHERE r.ended_at < greatest($1, $2, $3)
            AND r.ended_at < CASE r.status WHEN ''completed'' THEN $1 WHEN ''failed'' THEN $2 ELSE $3 END
            AND (SELECT h.position + h.last_seq - h.seq FROM {q}.history h WHERE h.run = r.key
                ORDER BY h.seq DESC LIMIT 1) <= settled
        ORDER BY r.ended_at, r.key LIMIT $4 FOR UPDATE SKIP LOCKED) v;
    WITH deleted AS (
        DELETE FROM {q}.history h WHERE h.run = ANY(victims)
        RETURNING h.last_seq - h.seq + 1 AS n, h.position + h.last_seq - h.seq AS last)
    SELECT coalesce(sum(n), 0)::bigint, max(last) INTO gone, top FROM deleted;
    DELETE FROM {q}.runs r WHERE r.key = ANY(victims);
    UPDATE {q}.outbox o SET purged = o.purged + gone, last_position = greatest(o.last_position, top);
    RETURN QUERY SELECT coalesce(cardinality(victims), 0)::bigint, gone;
END';
