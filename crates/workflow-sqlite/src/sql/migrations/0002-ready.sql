-- A run that nobody holds is ready, or waits for the time in `due_at`.
ALTER TABLE runs ADD COLUMN ready INTEGER NOT NULL DEFAULT 0 CHECK (ready IN (0, 1));
UPDATE runs SET ready = 1
WHERE due_at IS NOT NULL AND (status <> 'paused' OR worker IS NOT NULL OR cancel_at IS NOT NULL);

-- A claim finds the runs of the workflows it wants in the order of their times, and steps over those of others.
DROP INDEX runs_due;
CREATE INDEX runs_due ON runs (workflow, ready, due_at) WHERE due_at IS NOT NULL;
-- The cancels that a worker is told of when it renews its lease.
CREATE INDEX runs_cancel ON runs (worker) WHERE worker IS NOT NULL AND cancel_at IS NOT NULL;
-- What people look for. In the long run nearly all runs have completed, and those are found without an index.
CREATE INDEX runs_status ON runs (status) WHERE status <> 'completed';
CREATE INDEX runs_workflow ON runs (workflow);
