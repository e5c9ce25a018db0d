-- Makes every held run ready, and every run that has not suspended.
BEGIN IMMEDIATE;
UPDATE runs SET due_at = 0, ready = 1
WHERE worker IS NOT NULL AND due_at IS NULL;
UPDATE runs SET ready = 1
WHERE status IN ('queued', 'running') AND due_at IS NOT NULL AND ready = 0;
DELETE FROM workers;
COMMIT;
