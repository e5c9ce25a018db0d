INSERT INTO runs (
    id, workflow, execution_id, status, epoch, created_at, due_at, ready, worker, recoveries
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7 IS NOT NULL, ?8, 0)
