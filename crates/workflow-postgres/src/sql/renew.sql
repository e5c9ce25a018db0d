INSERT INTO {s}.workers AS w (name, until, session, renewed)
SELECT $1::text, $2::bigint, $3::bigint, {clock} WHERE {briefly}
ON CONFLICT (name) DO UPDATE SET until = $2, session = $3, renewed = excluded.renewed WHERE w.state = 0 RETURNING 1
