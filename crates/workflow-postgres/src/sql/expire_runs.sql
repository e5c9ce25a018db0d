WITH gone AS (SELECT name, until, state FROM {s}.workers WHERE state > 0 FOR UPDATE SKIP LOCKED),
held AS MATERIALIZED (
    SELECT h.key, gone.name FROM gone CROSS JOIN LATERAL (
        SELECT key FROM {s}.runs WHERE worker = gone.name AND due_at IS NULL OFFSET 0) h),
free AS MATERIALIZED (
    SELECT key FROM {s}.runs WHERE key = ANY(ARRAY(SELECT key FROM held)) AND due_at IS NULL
    ORDER BY key FOR UPDATE SKIP LOCKED),
freed AS (
    UPDATE {s}.runs r SET due_at = gone.until, ready = true, worker = CASE WHEN gone.state = 1 THEN r.worker END
    FROM gone WHERE r.key = ANY(ARRAY(SELECT key FROM free)) AND r.worker = gone.name AND r.due_at IS NULL
    RETURNING gone.name)
DELETE FROM {s}.workers w USING gone WHERE w.name = gone.name
    AND (SELECT count(*) FROM held WHERE held.name = gone.name)
        = (SELECT count(*) FROM freed WHERE freed.name = gone.name)
