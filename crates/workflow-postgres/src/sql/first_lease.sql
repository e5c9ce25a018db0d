SELECT min(w.until) FROM {s}.workers w CROSS JOIN LATERAL (
    SELECT FROM {s}.runs WHERE worker = w.name AND due_at IS NULL
        AND ($3::text[] IS NULL OR workflow = ANY($3)) LIMIT 1) held WHERE w.name <> $2 AND w.until > {now}
