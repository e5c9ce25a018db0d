-- The first time after ?2 for which a run of the workflow ?1 waits.
SELECT due_at FROM runs INDEXED BY runs_due
WHERE due_at IS NOT NULL AND workflow = ?1 AND ready = 0 AND due_at > ?2
ORDER BY due_at LIMIT 1
