INSERT INTO history (
    position, run, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
