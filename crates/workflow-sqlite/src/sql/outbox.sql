-- The records that have events after the position ?1, up to the record at ?2. The first of them may
-- begin at or before ?1: it is the last record that does so, unless its last event is at ?1.
SELECT position, last_seq - seq + 1, events FROM history
WHERE position >= coalesce((
        SELECT position FROM history WHERE position <= ?1 ORDER BY position DESC LIMIT 1
    ), 0)
    AND (position > ?1 OR position + last_seq - seq > ?1)
    AND position <= ?2
ORDER BY position
