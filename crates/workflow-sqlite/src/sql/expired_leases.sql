-- Whether the lease of a worker other than ?2 has expired at ?1. An end after ?3, the latest time,
-- is damage and counts as expired; if the worker lives, it renews the lease or is fenced.
SELECT 1 FROM workers WHERE name <> ?2 AND (until <= ?1 OR until > ?3) LIMIT 1
