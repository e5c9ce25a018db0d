WITH over AS (SELECT name FROM {s}.workers WHERE until <= {now} AND name <> $2 AND state = 0
    FOR UPDATE SKIP LOCKED)
UPDATE {s}.workers w SET state = 1 FROM over WHERE w.name = over.name
