-- Deletes the leases of expired_leases.sql.
DELETE FROM workers WHERE name <> ?2 AND (until <= ?1 OR until > ?3)
