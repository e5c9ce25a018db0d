-- The workflows that have runs without a holder, and whether one of those runs is due at ?1. The
-- recursion steps from name to name along the index.
WITH RECURSIVE names (name) AS (
    SELECT * FROM (
        SELECT workflow FROM runs INDEXED BY runs_due
        WHERE due_at IS NOT NULL
        ORDER BY workflow LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT workflow FROM runs INDEXED BY runs_due
        WHERE due_at IS NOT NULL AND workflow > name
        ORDER BY workflow LIMIT 1
    )
    FROM names WHERE name IS NOT NULL
)
SELECT
    name,
    EXISTS (
        SELECT 1 FROM runs INDEXED BY runs_due
        WHERE due_at IS NOT NULL AND workflow = name AND ready = 1
    ) OR EXISTS (
        SELECT 1 FROM runs INDEXED BY runs_due
        WHERE due_at IS NOT NULL AND workflow = name AND ready = 0 AND due_at <= ?1
    )
FROM names WHERE name IS NOT NULL
