-- Makes the runs ready that the workers of expired_leases.sql hold, and returns their keys. The
-- names of the workers stay on the runs, and mark that a worker died with them. ?4 is the earliest
-- time.
UPDATE runs SET
    ready = 1,
    due_at = (
        SELECT CASE WHEN until BETWEEN ?4 AND ?1 THEN until ELSE ?1 END
        FROM workers WHERE name = runs.worker
    )
WHERE due_at IS NULL
    AND worker IN (SELECT name FROM workers WHERE name <> ?2 AND (until <= ?1 OR until > ?3))
RETURNING key
