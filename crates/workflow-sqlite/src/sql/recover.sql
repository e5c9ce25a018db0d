-- Makes every held run ready, and every run that waits only because it was released for later: its
-- process has ended, so it need not wait. A suspended run keeps its time.
BEGIN IMMEDIATE;
UPDATE runs SET due_at = 0, ready = 1
WHERE worker IS NOT NULL AND due_at IS NULL;
UPDATE runs SET ready = 1
WHERE status IN ('queued', 'running') AND due_at IS NOT NULL AND ready = 0;
DELETE FROM workers;
COMMIT;
