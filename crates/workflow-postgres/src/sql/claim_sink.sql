UPDATE {s}.cursors c SET holder = $2, epoch = nextval('{q}.sink_epochs'),
    session = $4, server = pg_postmaster_start_time()
WHERE sink = $3 AND {briefly} AND (holder IS NULL OR holder = $2 OR NOT EXISTS (
    SELECT FROM {s}.workers w WHERE w.name = c.holder AND w.state = 0 AND w.until > {now})) RETURNING epoch
