INSERT INTO {s}.cursors (sink, position, delivered, rejected, missed)
SELECT $1, 0, 0, 0, purged FROM {s}.outbox WHERE {briefly} FOR SHARE ON CONFLICT (sink) DO NOTHING
