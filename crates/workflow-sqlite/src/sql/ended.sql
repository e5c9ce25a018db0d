-- The runs that ended before ?1 (completed), ?2 (failed) or ?3 (cancelled), after the place
-- (?4, ?5) in the index, the earliest end first. The caller appends a limit.
SELECT ended_at, key FROM runs INDEXED BY runs_ended
WHERE ended_at IS NOT NULL AND status = 'completed' AND ended_at < ?1
    AND (ended_at, key) > (?4, ?5)
UNION ALL
SELECT ended_at, key FROM runs INDEXED BY runs_ended
WHERE ended_at IS NOT NULL AND status = 'failed' AND ended_at < ?2
    AND (ended_at, key) > (?4, ?5)
UNION ALL
SELECT ended_at, key FROM runs INDEXED BY runs_ended
WHERE ended_at IS NOT NULL AND status = 'cancelled' AND ended_at < ?3
    AND (ended_at, key) > (?4, ?5)
ORDER BY 1, 2
