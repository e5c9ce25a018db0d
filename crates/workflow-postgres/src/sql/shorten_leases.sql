WITH early AS (SELECT name FROM {s}.workers WHERE renewed > {clock} + 1000 AND state = 0
    FOR UPDATE SKIP LOCKED)
UPDATE {s}.workers w SET until = {clock} + (w.until - w.renewed), renewed = {clock} FROM early
    WHERE w.name = early.name
