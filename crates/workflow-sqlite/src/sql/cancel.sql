UPDATE runs SET
    cancel_reason = ?2,
    cancel_at_once = ?3,
    cancel_at = ?4,
    due_at = ?5,
    ready = ?5 IS NOT NULL
WHERE key = ?1
