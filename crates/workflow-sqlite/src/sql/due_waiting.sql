-- The runs of the workflow ?1 that wait for a time up to ?2, after the place (?3, ?4) in the index,
-- in order, at most ?5.
SELECT due_at, key FROM runs INDEXED BY runs_due
WHERE due_at IS NOT NULL AND workflow = ?1 AND ready = 0 AND due_at <= ?2
    AND (due_at, key) > (?3, ?4)
ORDER BY due_at, key LIMIT ?5
