-- The position of the last event, even if it is purged.
SELECT max(position, coalesce((
    SELECT position + last_seq - seq FROM history ORDER BY position DESC LIMIT 1
), 0))
FROM outbox
