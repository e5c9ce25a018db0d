SELECT {run} FROM {s}.runs r WHERE key > $1 AND ($2::text[] IS NULL OR status = ANY($2))
AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR worker = $4)
AND ($5::text IS NULL OR starts_with(id, $5)) ORDER BY key LIMIT $6
