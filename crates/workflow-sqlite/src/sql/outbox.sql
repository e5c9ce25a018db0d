-- The records with events behind ?1, up to the record at ?2. The record that ?1 stands in, if it is
-- not its last event, is the last that begins at or before it.
SELECT position, last_seq - seq + 1, events FROM history
WHERE position >= coalesce((
        SELECT position FROM history WHERE position <= ?1 ORDER BY position DESC LIMIT 1
    ), 0)
    AND (position > ?1 OR position + last_seq - seq > ?1)
    AND position <= ?2
ORDER BY position
