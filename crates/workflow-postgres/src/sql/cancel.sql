UPDATE {s}.runs r SET cancel_at = coalesce(r.cancel_at, $2),
    cancel_reason = CASE WHEN r.cancel_at IS NULL THEN $3 ELSE r.cancel_reason END,
    cancel_at_once = coalesce(r.cancel_at_once, false) OR $4, ready = true, due_at = least(r.due_at,
        CASE WHEN r.due_at IS NOT NULL OR r.worker IS NULL THEN $2 END)
WHERE id = $1 AND ended_at IS NULL AND {briefly} RETURNING {run}
