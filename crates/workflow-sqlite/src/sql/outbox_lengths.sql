-- The lengths of the records of outbox.sql, without an upper end. The texts are not read.
SELECT position, last_seq - seq + 1, octet_length(events) FROM history
WHERE position >= coalesce((
        SELECT position FROM history WHERE position <= ?1 ORDER BY position DESC LIMIT 1
    ), 0)
    AND (position > ?1 OR position + last_seq - seq > ?1)
ORDER BY position
