-- The second version: runs that are ready whatever the clock says, claims that pass by what is locked, and an outbox that
-- is counted once. {schema} stands for the name of the schema.
--
-- Programs of the first version that are connected go on: what they call is replaced by what takes the same and returns
-- the same, and what they write is right, if a run that waits is held by them in between.

-- Whether the run can be claimed at any time, once nobody holds it; otherwise it waits for `due_at`. It is true while
-- somebody holds the run, so that a step changes no column that is indexed.
ALTER TABLE {schema}.runs ADD COLUMN ready boolean NOT NULL DEFAULT true;
UPDATE {schema}.runs SET ready = false
    WHERE due_at IS NOT NULL AND status = 'paused' AND worker IS NULL AND cancel_at IS NULL;
CREATE INDEX runs_queue ON {schema}.runs (workflow, ready, due_at, key) WHERE due_at IS NOT NULL;
DROP INDEX {schema}.runs_due;

-- When the lease was renewed, by the clock of the database where that counts. A time to come shows that the clock was set
-- back, and then the lease lasts for its length from now on, instead of until a time that is far.
ALTER TABLE {schema}.workers ADD COLUMN renewed bigint;

-- `counted` are the events that a snapshot has seen: all that stand before `counted_next`, but for those of the
-- transactions that ran then, whose places begin at `counted_open`. `counted_to` is the end of what was settled then.
ALTER TABLE {schema}.outbox ADD COLUMN counted_next bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_open bigint[] NOT NULL DEFAULT ARRAY[]::bigint[];
UPDATE {schema}.outbox SET counted_next = counted_to + 1;

-- What a purge that found nothing has looked at: with as much settled, only what has ended since can be removed.
ALTER TABLE {schema}.outbox ADD COLUMN idle_settled bigint, ADD COLUMN idle_before bigint[];
-- A purge walks through each status by itself: what is kept for ever stands in nobody's way.
CREATE INDEX runs_over ON {schema}.runs (status, ended_at, key) WHERE ended_at IS NOT NULL;
DROP INDEX {schema}.runs_ended;

-- How many events a record has; a damaged one has no number that would keep all others from being counted.
CREATE FUNCTION {schema}.size_of(seq bigint, last_seq bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS '
    SELECT CASE WHEN $1 > 0 AND $2 >= $1 THEN least($2 - $1, 1048575) + 1 ELSE 1 END';

-- As before, and a database whose transactions began anew is also known by what was counted.
CREATE OR REPLACE FUNCTION {schema}.first_position() RETURNS bigint
LANGUAGE plpgsql SET jit = off AS '
DECLARE
    first bigint; settled bigint; next bigint; top bigint; counted bigint;
BEGIN
    SELECT o.base + (pg_current_xact_id()::text::bigint << 20),
        greatest(o.counted_to, o.last_position, (SELECT max(c.position) FROM {q}.cursors c)),
        o.base + (pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20),
        (SELECT h.position FROM {q}.history h ORDER BY h.position DESC LIMIT 1), o.counted_next
    INTO first, settled, next, top, counted FROM {q}.outbox o;
    IF first <= settled OR top >= next OR counted > next THEN
        RAISE EXCEPTION ''positions have gone back: the database was restored'' USING ERRCODE = ''WF001'';
    END IF;
    RETURN first;
END';

-- As before, and a run that is paused until some time is not ready.
CREATE OR REPLACE FUNCTION {schema}.commit_runs(
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
            ready = i.due_at IS NULL,
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

-- Claims runs that are due: the first of each queue that nobody has locked, whatever is locked before them. It looks at
-- them page by page, each larger than the last, so that it reads as much as it returns and is locked, and at one page of
-- each workflow. Where somebody has locked the whole table it fails, as a commit does.
CREATE FUNCTION {schema}.claim_runs(now bigint, claimer text, workflows text[], most bigint, connection bigint)
RETURNS TABLE (key bigint, id text, workflow text, execution_id text, status text, last_seq bigint, created_at bigint,
    ended_at bigint, due_at bigint, worker text, recoveries bigint, cancel_reason text, cancel_at_once boolean,
    cancel_at bigint, epoch bigint, died boolean, was_due bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '500ms' AS '
#variable_conflict use_column
DECLARE
    page bigint[]; size bigint := least(greatest($4, 64), 4096); taken bigint := 0; got bigint;
    last_due bigint := (-9223372036854775808)::bigint; last_key bigint := (-9223372036854775808)::bigint;
BEGIN
    PERFORM FROM {q}.workers w WHERE w.name = $2 AND w.session = $5 AND w.state = 0 FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WHILE taken < $4 LOOP
        SELECT array_agg(p.key), (array_agg(p.due_at))[count(*)], (array_agg(p.key))[count(*)]
        INTO page, last_due, last_key FROM (
            SELECT c.key, c.due_at FROM unnest($3) AS w(name) CROSS JOIN LATERAL (
                (SELECT r.key, r.due_at FROM {q}.runs r WHERE r.workflow = w.name AND r.ready
                    AND r.due_at IS NOT NULL AND (r.due_at, r.key) > (last_due, last_key)
                    ORDER BY r.due_at, r.key LIMIT size)
                UNION ALL
                (SELECT r.key, r.due_at FROM {q}.runs r WHERE r.workflow = w.name AND NOT r.ready
                    AND r.due_at <= $1 AND (r.due_at, r.key) > (last_due, last_key)
                    ORDER BY r.due_at, r.key LIMIT size)) c
            ORDER BY c.due_at, c.key LIMIT size) p;
        EXIT WHEN page IS NULL;
        RETURN QUERY WITH chosen AS MATERIALIZED (
            SELECT r.key, r.due_at AS was_due, r.worker IS NOT NULL AS died FROM {q}.runs r
            WHERE r.key = ANY(page) AND r.due_at IS NOT NULL AND (r.ready OR r.due_at <= $1)
            ORDER BY r.due_at, r.key LIMIT $4 - taken FOR UPDATE SKIP LOCKED)
        UPDATE {q}.runs r SET worker = $2, due_at = NULL, ready = true, 
            -- A number that is damaged stays one, and keeps no other run from being claimed.
            epoch = CASE WHEN r.epoch < 9223372036854775807 THEN r.epoch + 1 ELSE -1 END,
            recoveries = least(r.recoveries, 4294967296) + chosen.died::int
        FROM chosen WHERE r.key = chosen.key
        RETURNING r.key, r.id, r.workflow, r.execution_id, r.status, r.last_seq, r.created_at, r.ended_at, r.due_at,
            r.worker, r.recoveries, r.cancel_reason, r.cancel_at_once, r.cancel_at, r.epoch, chosen.died, chosen.was_due;
        GET DIAGNOSTICS got = ROW_COUNT;
        taken := taken + got;
        EXIT WHEN cardinality(page) < size;
        size := least(size * 2, 4096);
    END LOOP;
END';

-- Returns the workflows that have runs which are ready or wait for a time, when the first of each can be claimed, and
-- whether that is now.
CREATE FUNCTION {schema}.due_workflows(now bigint) RETURNS TABLE (name text, next bigint, is_due boolean)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off SET lock_timeout = '500ms' AS '
BEGIN
    RETURN QUERY WITH RECURSIVE w AS (
        (SELECT r.workflow FROM {q}.runs r WHERE r.due_at IS NOT NULL ORDER BY r.workflow LIMIT 1)
        UNION ALL
        SELECT n.workflow FROM w CROSS JOIN LATERAL (
            SELECT r.workflow FROM {q}.runs r WHERE r.due_at IS NOT NULL AND r.workflow > w.workflow
            ORDER BY r.workflow LIMIT 1) n)
    SELECT w.workflow, least(ready.since, waiting.until), ready.since IS NOT NULL OR coalesce(waiting.until <= $1, false)
    FROM w
    LEFT JOIN LATERAL (
        SELECT least(r.due_at, $1) AS since FROM {q}.runs r WHERE r.workflow = w.workflow AND r.ready
            AND r.due_at IS NOT NULL ORDER BY r.due_at, r.key LIMIT 1) ready ON true
    LEFT JOIN LATERAL (
        SELECT r.due_at AS until FROM {q}.runs r WHERE r.workflow = w.workflow AND NOT r.ready
            AND r.due_at IS NOT NULL ORDER BY r.due_at, r.key LIMIT 1) waiting ON true;
END';

-- Counts the events that are seen now and were not counted: those behind what was seen then, and those of the
-- transactions that ran then. However long a transaction stays open, what stands behind it is counted once.
CREATE FUNCTION {schema}.uncounted() RETURNS TABLE (events bigint, fresh bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS '
BEGIN
    RETURN QUERY SELECT coalesce(sum({q}.size_of(n.seq, n.last_seq)), 0)::bigint, count(*) FROM {q}.outbox o, LATERAL (
        SELECT h.seq, h.last_seq FROM {q}.history h WHERE h.position >= o.counted_next
        UNION ALL
        SELECT h.seq, h.last_seq FROM unnest(o.counted_open) AS t(first), {q}.history h
            WHERE h.position >= t.first AND h.position < t.first + 1048576) n;
END';

CREATE OR REPLACE FUNCTION {schema}.count_events() RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS '
BEGIN
    PERFORM FROM {q}.outbox FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE {q}.outbox o SET counted = o.counted + seen.events, counted_to = greatest(o.counted_to, seen.gate - 1),
        counted_next = seen.next, counted_open = seen.open
    FROM (SELECT u.events, b.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) AS gate,
            b.base + (pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20) AS next,
            ARRAY(SELECT b.base + (x::text::bigint << 20) FROM pg_snapshot_xip(pg_current_snapshot()) x) AS open
        FROM {q}.outbox b, {q}.uncounted() u) seen
    WHERE seen.next >= o.counted_next;
END';

CREATE OR REPLACE FUNCTION {schema}.outbox_end()
RETURNS TABLE (accepted bigint, last bigint, readable bigint, fresh bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off AS '
BEGIN
    RETURN QUERY
    SELECT o.counted + u.events, greatest(o.last_position, (
            SELECT l.position + {q}.size_of(l.seq, l.last_seq) - 1 FROM {q}.history l ORDER BY l.position DESC LIMIT 1)),
        o.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) - 1, u.fresh
    FROM {q}.outbox o, {q}.uncounted() u;
END';

-- Reads the outbox up to the gate: behind that it reads nothing, however much stands there. The row that `after` stands in
-- is the last that begins at or before it. So many rows at most, and so many bytes, where each event counts one more than
-- it has, as a row of several has one more than they; but for the row that may be known already, the first one behind it,
-- and a part of the last.
CREATE FUNCTION {schema}.outbox_page(after bigint, most bigint, bytes bigint) RETURNS TABLE (place bigint, texts text)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET jit = off AS '
DECLARE
    gate bigint; first bigint;
BEGIN
    SELECT base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20) INTO gate FROM {q}.outbox;
    SELECT h.position INTO first FROM {q}.history h WHERE h.position <= $1 ORDER BY h.position DESC LIMIT 1;
    RETURN QUERY SELECT p.position, p.events FROM (
        SELECT n.position, n.events, n.several, sum(CASE WHEN n.position > $1 THEN octet_length(n.events) - 1 END)
            OVER (ORDER BY n.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM (
            SELECT h.position, h.events, h.last_seq > h.seq AS several FROM {q}.history h
            WHERE h.position >= coalesce(first, 0) AND h.position < gate ORDER BY h.position LIMIT $2) n) p
    WHERE p.before IS NULL
        OR CASE WHEN p.several THEN p.before < $3 ELSE p.before + octet_length(p.events) - 1 <= $3 END
    ORDER BY p.position;
END';

-- As before, in pages: it passes by what is locked, and stops once it has enough events. Where it finds nothing it notes
-- what it has looked at.
CREATE OR REPLACE FUNCTION {schema}.purge_runs(completed bigint, failed bigint, cancelled bigint, most bigint)
RETURNS TABLE (runs bigint, events bigint)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off SET lock_timeout = '5s' AS '
#variable_conflict use_column
DECLARE
    settled bigint; looked bigint[]; victims bigint[] := ARRAY[]::bigint[]; room bigint := 100000;
    page bigint[]; ripe bigint[]; locked bigint[]; size bigint := least(greatest($4, 64), 4096);
    last_end bigint := (-9223372036854775808)::bigint; last_key bigint := (-9223372036854775808)::bigint;
    nothing boolean := $4 > 0; gone bigint; top bigint; used bigint;
BEGIN
    IF current_setting(''transaction_isolation'') <> ''read committed'' THEN
        RAISE EXCEPTION ''a purge has to be read committed'' USING ERRCODE = ''WF002'';
    END IF;
    PERFORM FROM {q}.outbox FOR UPDATE;
    PERFORM {q}.count_events();
    SELECT least(o.counted_to, (SELECT min(c.position) FROM {q}.cursors c)),
        CASE WHEN o.idle_settled = least(o.counted_to, (SELECT min(c.position) FROM {q}.cursors c)) THEN o.idle_before END
    INTO settled, looked FROM {q}.outbox o;
    WHILE cardinality(victims) < $4 AND room > 0 LOOP
        SELECT array_agg(p.key), (array_agg(p.ended_at))[count(*)], (array_agg(p.key))[count(*)]
        INTO page, last_end, last_key FROM (
            SELECT c.key, c.ended_at
            FROM unnest(ARRAY[''completed'', ''failed'', ''cancelled''], ARRAY[$1, $2, $3], looked)
                AS s(status, before, looked)
            CROSS JOIN LATERAL (
                SELECT r.key, r.ended_at FROM {q}.runs r WHERE r.status = s.status AND r.ended_at < s.before
                    AND r.ended_at >= coalesce(s.looked, -9223372036854775808)
                    AND (r.ended_at, r.key) > (last_end, last_key)
                ORDER BY r.ended_at, r.key LIMIT size) c
            ORDER BY c.ended_at, c.key LIMIT size) p;
        EXIT WHEN page IS NULL;
        -- Up to the first that goes beyond the room, and at least one.
        SELECT array_agg(b.key ORDER BY b.ended_at, b.key), max(b.upto) INTO ripe, used FROM (
            SELECT a.key, a.ended_at, a.upto, lag(a.upto, 1, 0::numeric) OVER (ORDER BY a.ended_at, a.key) AS before FROM (
                SELECT r.key, r.ended_at,
                    sum(greatest(least(r.last_seq, 1048576), 1)) OVER (ORDER BY r.ended_at, r.key) AS upto
                FROM {q}.runs r WHERE r.key = ANY(page) AND r.ended_at IS NOT NULL
                    AND (SELECT h.position + {q}.size_of(h.seq, h.last_seq) - 1 FROM {q}.history h WHERE h.run = r.key
                        ORDER BY h.seq DESC LIMIT 1) <= settled) a) b
        WHERE b.before < room;
        SELECT array_agg(v.key) INTO locked FROM (
            SELECT r.key FROM {q}.runs r WHERE r.key = ANY(ripe)
            ORDER BY r.ended_at, r.key LIMIT $4 - cardinality(victims) FOR UPDATE SKIP LOCKED) v;
        nothing := nothing AND ripe IS NULL;
        victims := victims || coalesce(locked, ARRAY[]::bigint[]);
        room := room - coalesce(used, 0);
        EXIT WHEN cardinality(page) < size;
        size := least(size * 2, 4096);
    END LOOP;
    WITH deleted AS (
        DELETE FROM {q}.history h WHERE h.run = ANY(victims)
        RETURNING {q}.size_of(h.seq, h.last_seq) AS n, h.position + {q}.size_of(h.seq, h.last_seq) - 1 AS last)
    SELECT coalesce(sum(n), 0)::bigint, max(last) INTO gone, top FROM deleted;
    DELETE FROM {q}.runs r WHERE r.key = ANY(victims);
    UPDATE {q}.outbox o SET purged = o.purged + gone, last_position = greatest(o.last_position, top),
        idle_settled = CASE WHEN nothing THEN settled END,
        idle_before = CASE WHEN nothing THEN ARRAY[greatest($1, looked[1]), greatest($2, looked[2]),
            greatest($3, looked[3])] END;
    RETURN QUERY SELECT cardinality(victims)::bigint, gone;
END';
