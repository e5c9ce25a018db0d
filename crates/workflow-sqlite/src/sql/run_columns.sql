key, id, workflow, execution_id, status, created_at, ended_at, due_at, worker, recoveries,
cancel_reason, cancel_at_once, cancel_at, epoch,
coalesce((SELECT max(last_seq) FROM history WHERE run = runs.key), 0)
