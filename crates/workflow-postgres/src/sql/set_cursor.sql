WITH held AS (SELECT sink FROM {s}.cursors WHERE sink = $1 AND epoch = $2 AND holder = ANY($6)
    AND session = $7 AND server = pg_postmaster_start_time() AND {briefly}
    AND $3 < (SELECT {gate} FROM {s}.outbox o) FOR UPDATE),
moved AS (UPDATE {s}.cursors c SET position = $3, delivered = $4, rejected = $5 FROM held
    WHERE c.sink = held.sink AND c.position < $3)
SELECT sink FROM held
