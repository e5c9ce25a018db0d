-- The runs of the workflow ?1 that are ready, after the place (?3, ?4) in the index, in order, at
-- most ?5. The parameters are those of due_waiting.sql; ?2 is not used.
SELECT due_at, key FROM runs INDEXED BY runs_due
WHERE due_at IS NOT NULL AND workflow = ?1 AND ready = 1 AND ?2 IS NOT NULL
    AND (due_at, key) > (?3, ?4)
ORDER BY due_at, key LIMIT ?5
