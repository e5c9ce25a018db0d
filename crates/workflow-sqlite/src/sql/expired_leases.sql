-- Whether a worker other than ?2 has a lease that has expired at ?1, or that ends later than ?3,
-- which is no time: its worker, if it lives, renews it or is fenced.
SELECT 1 FROM workers WHERE name <> ?2 AND (until <= ?1 OR until > ?3) LIMIT 1
