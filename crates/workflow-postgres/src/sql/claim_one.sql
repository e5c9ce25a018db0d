WITH me AS (SELECT name FROM {s}.workers WHERE name = ANY(ARRAY[$2::text]) AND session = $5 AND state = 0 AND {briefly} FOR SHARE),
chosen AS (
    SELECT key, due_at AS was_due, worker IS NOT NULL AND due_at IS NOT NULL AS died FROM {s}.runs
    WHERE id = $3 AND CASE WHEN due_at IS NULL THEN worker = $2 ELSE ready OR due_at <= {now} END
        AND ($4::text[] IS NULL OR workflow = ANY($4)) FOR UPDATE SKIP LOCKED)
UPDATE {s}.runs r SET worker = me.name, due_at = NULL, ready = true, epoch = r.epoch + 1,
    recoveries = r.recoveries + chosen.died::int
FROM chosen, me WHERE r.key = chosen.key
RETURNING {run}, chosen.died, coalesce(chosen.was_due, 0)
