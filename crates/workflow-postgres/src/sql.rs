//! The statements, for one schema.
//!
//! Each write is one statement, and so one transaction that needs nothing more from this process once it was sent: a
//! worker that is frozen or cut off in the middle leaves no lock behind.

use crate::options::Time;

/// How many bits of a position count the events of one transaction; the others are the transaction's id.
pub(crate) const PLACE_BITS: u32 = 20;

/// Where the events of this transaction stand: `place.first` is the position of its first one.
///
/// Transaction ids are in no order of commits, so a reader stops before the oldest transaction that runs: see
/// [`GATE`].
const PLACE: &str = "place AS (SELECT base + (pg_current_xact_id()::text::bigint << 20) AS first FROM {s}.outbox)";

/// The position of the first event that a transaction which has not ended may still write, or has written. Everything
/// before it is as it will be for ever: those transactions have ended, and what they wrote is seen by this snapshot.
const GATE: &str = "(o.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20))";

/// The worker's lease, if it has one and this connection is the one that may write in its name. The lock keeps it so until
/// the statement is done.
const ME: &str = "me AS (SELECT name FROM {s}.workers WHERE name = ANY({names}) AND session = {session} AND state = 0 \
                  FOR SHARE)";

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// The statements of a store.
        #[derive(Debug)]
        pub(crate) struct Sql {
            $($(#[$doc])* pub(crate) $name: String,)*
        }

        impl Sql {
            /// Makes the statements for a schema, whose name is quoted.
            pub(crate) fn new(schema: &str, time: Time) -> Self {
                // Whatever a worker thinks the time is, nothing is due, and no lease over, before the database thinks so.
                let now = match time {
                    Time::Database => "least($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
                    Time::Engine => "$1::bigint",
                };
                let made = |sql: String| {
                    let sql = sql.replace("{place}", PLACE).replace("{gate}", GATE).replace("{run}", crate::row::RUN)
                        .replace("{record}", crate::row::RECORD).replace("{now}", now);
                    // The name comes last, for it may have braces of its own.
                    let literal = schema.replace('\'', "''");
                    sql.split("{s}").map(|part| part.replace("{q}", &literal)).collect::<Vec<_>>().join(schema)
                };
                Self { $($name: made($sql.to_owned()),)* }
            }
        }
    };
}

statements! {
    /// Creates runs: those whose id is free.
    create = format!(
        "WITH input AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], \
             $7::bigint[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], \
             $15::bigint[]) AS i(id, workflow, execution_id, status, worker, at, last_seq, events, kind, name, \
             occurrence, attempt, due_at, payload, place)), {}, \
         fresh AS ( \
             INSERT INTO {{s}}.runs (id, workflow, execution_id, status, last_seq, epoch, recoveries, created_at, due_at, \
                 worker) \
             SELECT id, workflow, execution_id, status, last_seq, CASE WHEN status = 'running' THEN 1 ELSE 0 END, 0, at, \
                 CASE WHEN worker IN (SELECT name FROM me) THEN NULL ELSE at END, worker \
             FROM input ORDER BY place ON CONFLICT (id) DO NOTHING RETURNING id, key, epoch), \
         {{place}}, \
         appended AS ( \
             INSERT INTO {{s}}.history ({{record}}, run, epoch) \
             SELECT place.first + i.place, 1, i.last_seq, i.at, i.events, i.kind, i.name, i.occurrence, i.attempt, \
                 i.due_at, i.payload, fresh.key, fresh.epoch \
             FROM input i JOIN fresh USING (id), place) \
         SELECT id, key, epoch FROM fresh",
        ME.replace("{names}", "$5").replace("{session}", "$16")
    );
    /// Appends to histories, under claims that stand. The worker is part of the claim: after a failover an epoch may be
    /// given again that another worker had from the server that is gone.
    commit = "WITH input AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], \
             $6::text[], $7::boolean[], $8::boolean[], $9::bigint[], $10::bigint[]) \
             AS i(key, epoch, first_seq, last_seq, status, befores, ends, progress, ended_at, due_at)), \
         moved AS ( \
             UPDATE {s}.runs r SET last_seq = i.last_seq, status = i.status, ended_at = i.ended_at, due_at = i.due_at, \
                 recoveries = CASE WHEN i.progress THEN 0 ELSE r.recoveries END, \
                 worker = CASE WHEN i.ends THEN NULL ELSE r.worker END \
             FROM input i \
             WHERE r.key = i.key AND r.epoch = i.epoch AND r.worker = ANY($23) AND r.due_at IS NULL \
                 AND r.last_seq = i.first_seq - 1 AND r.status = ANY(string_to_array(i.befores, ' ')) \
                 AND NOT (i.ends AND i.status <> 'cancelled' AND r.cancel_at IS NOT NULL) \
             RETURNING r.key, r.epoch, r.cancel_reason, r.cancel_at_once, r.cancel_at), \
         {place}, \
         appended AS ( \
             INSERT INTO {s}.history ({record}, run, epoch) \
             SELECT place.first + h.place, h.seq, h.last_seq, h.at, h.events, h.kind, h.name, h.occurrence, h.attempt, \
                 h.due_at, h.payload, h.run, moved.epoch \
             FROM unnest($11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], \
                 $17::text[], $18::text[], $19::bigint[], $20::bigint[], $21::bigint[], $22::text[]) \
                 AS h(place, run, seq, last_seq, at, events, kind, name, occurrence, attempt, due_at, payload) \
             JOIN moved ON moved.key = h.run, place) \
         SELECT key, cancel_reason, cancel_at_once, cancel_at FROM moved";

    /// Marks the workers whose leases have run out: from then on nothing is added to what they hold.
    mark_dead = "UPDATE {s}.workers SET state = 1 WHERE until <= {now} AND name <> $2 AND state = 0";
    /// Makes due what marked workers hold, and forgets them.
    sweep = "WITH gone AS (DELETE FROM {s}.workers WHERE state > 0 RETURNING name, until, state) \
         UPDATE {s}.runs r SET due_at = gone.until, worker = CASE WHEN gone.state = 1 THEN r.worker END \
         FROM gone WHERE r.worker = gone.name AND r.due_at IS NULL";
    /// Returns the workflows that have runs which are due, now or later, with the first due time of each.
    workflows = "WITH RECURSIVE w AS ( \
             (SELECT workflow, due_at FROM {s}.runs WHERE due_at IS NOT NULL ORDER BY workflow, due_at LIMIT 1) \
             UNION ALL \
             SELECT n.workflow, n.due_at FROM w CROSS JOIN LATERAL ( \
                 SELECT workflow, due_at FROM {s}.runs WHERE due_at IS NOT NULL AND workflow > w.workflow \
                 ORDER BY workflow, due_at LIMIT 1) n) \
         SELECT workflow, due_at, due_at <= {now} FROM w";
    /// Claims runs that are due.
    claim = format!(
        "WITH {}, \
         candidates AS ( \
             SELECT c.key FROM unnest($3::text[]) AS w(name) CROSS JOIN LATERAL ( \
                 SELECT key, due_at FROM {{s}}.runs WHERE workflow = w.name AND due_at <= {{now}} \
                 ORDER BY due_at, key LIMIT $4 * 4) c \
             ORDER BY c.due_at, c.key LIMIT $4 * 4), \
         chosen AS ( \
             SELECT key, due_at AS was_due, worker IS NOT NULL AS died FROM {{s}}.runs \
             WHERE key IN (SELECT key FROM candidates) AND due_at <= {{now}} \
             ORDER BY due_at, key LIMIT $4 FOR UPDATE SKIP LOCKED) \
         UPDATE {{s}}.runs r SET worker = me.name, due_at = NULL, epoch = r.epoch + 1, \
             recoveries = r.recoveries + chosen.died::int \
         FROM chosen, me WHERE r.key = chosen.key \
         RETURNING {{run}}, chosen.died, chosen.was_due",
        ME.replace("{names}", "ARRAY[$2::text]").replace("{session}", "$5")
    );
    /// Claims one run, if it is due, or the worker's own.
    claim_one = format!(
        "WITH {}, \
         chosen AS ( \
             SELECT key, due_at AS was_due, worker IS NOT NULL AND due_at IS NOT NULL AS died FROM {{s}}.runs \
             WHERE id = $3 AND (due_at <= {{now}} OR due_at IS NULL AND worker = $2) \
                 AND ($4::text[] IS NULL OR workflow = ANY($4)) FOR UPDATE) \
         UPDATE {{s}}.runs r SET worker = me.name, due_at = NULL, epoch = r.epoch + 1, \
             recoveries = r.recoveries + chosen.died::int \
         FROM chosen, me WHERE r.key = chosen.key \
         RETURNING {{run}}, chosen.died, coalesce(chosen.was_due, 0)",
        ME.replace("{names}", "ARRAY[$2::text]").replace("{session}", "$5")
    );
    /// Returns when the first lease is over of another worker that holds a run of the workflows asked for.
    first_lease = "SELECT min(until) FROM {s}.workers w WHERE name <> $1 AND EXISTS ( \
             SELECT 1 FROM {s}.runs WHERE worker = w.name AND due_at IS NULL \
                 AND ($2::text[] IS NULL OR workflow = ANY($2)))";
    lease = "SELECT until FROM {s}.workers WHERE name = $1";
    /// Ends a claim.
    release = "UPDATE {s}.runs SET worker = NULL, due_at = $3 \
         WHERE key = $1 AND epoch = $2 AND worker = ANY($4) AND due_at IS NULL";

    renew = "INSERT INTO {s}.workers AS w (name, until, session) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET until = $2, session = $3 WHERE w.state = 0 RETURNING 1";
    cancels = "SELECT key, cancel_reason, cancel_at_once, cancel_at FROM {s}.runs \
         WHERE worker = $1 AND due_at IS NULL AND cancel_at IS NOT NULL";
    retire = "UPDATE {s}.workers SET state = 2, until = $2 WHERE name = $1";
    /// Lets the connection that was opened last write in the name of its workers, and no other: what an earlier one may
    /// still be doing ends before this, or changes nothing.
    take_over = "UPDATE {s}.workers SET session = $2 WHERE name = ANY($1)";

    cancel = "UPDATE {s}.runs r SET cancel_at = coalesce(r.cancel_at, $2), \
             cancel_reason = CASE WHEN r.cancel_at IS NULL THEN $3 ELSE r.cancel_reason END, \
             cancel_at_once = coalesce(r.cancel_at_once, false) OR $4, due_at = least(r.due_at, \
                 CASE WHEN r.due_at IS NOT NULL OR r.worker IS NULL THEN $2 END) \
         WHERE id = $1 AND ended_at IS NULL RETURNING {run}";

    run = "SELECT {run} FROM {s}.runs r WHERE id = $1";
    runs_by_id = "SELECT {run} FROM {s}.runs r WHERE id = ANY($1)";
    runs_by_key = "SELECT {run} FROM {s}.runs r WHERE key = ANY($1)";
    records = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq";
    first_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq LIMIT 1";
    last_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq DESC LIMIT 1";
    list = "SELECT {run} FROM {s}.runs r WHERE key > $1 AND ($2::text[] IS NULL OR status = ANY($2)) \
         AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR worker = $4) \
         AND ($5::text IS NULL OR starts_with(id, $5)) ORDER BY key LIMIT $6";

    /// Reads the outbox up to the gate. The row that `$1` stands in is the last that begins at or before it.
    outbox = "SELECT h.position, h.events FROM {s}.outbox o, {s}.history h \
         WHERE h.position >= coalesce((SELECT position FROM {s}.history WHERE position <= $1 ORDER BY position DESC LIMIT 1), 0) \
             AND h.position < {gate} \
         ORDER BY h.position LIMIT $2";
    outbox_end = "SELECT o.counted + coalesce((SELECT sum(last_seq - seq + 1) FROM {s}.history WHERE position > o.counted_to), 0)::bigint, \
             greatest(o.last_position, (SELECT position + last_seq - seq FROM {s}.history ORDER BY position DESC LIMIT 1)), \
             {gate} - 1, (SELECT count(*) FROM {s}.history WHERE position > o.counted_to) \
         FROM {s}.outbox o";
    /// Counts the events that stand before the gate, so that they need not be counted again.
    count = "UPDATE {s}.outbox o SET counted_to = {gate} - 1, counted = o.counted + coalesce( \
             (SELECT sum(last_seq - seq + 1) FROM {s}.history WHERE position > o.counted_to AND position < {gate}), 0)::bigint \
         WHERE o.counted_to < {gate} - 1";

    cursor = "SELECT position, delivered, rejected, missed FROM {s}.cursors WHERE sink = $1";
    /// Opens a cursor; a purge waits for it, and it for a purge, so that it misses what is counted as missed.
    open_cursor = "INSERT INTO {s}.cursors (sink, position, delivered, rejected, missed) \
         SELECT $1, 0, 0, 0, purged FROM {s}.outbox FOR SHARE ON CONFLICT (sink) DO NOTHING";
    claim_sink = "UPDATE {s}.cursors c SET holder = $2, epoch = nextval('{q}.sink_epochs'), \
             server = pg_postmaster_start_time() \
         WHERE sink = $3 AND (holder IS NULL OR holder = $2 OR NOT EXISTS ( \
             SELECT FROM {s}.workers w WHERE w.name = c.holder AND w.state = 0 AND w.until > {now})) RETURNING epoch";
    release_sink = "UPDATE {s}.cursors SET holder = NULL WHERE sink = $1 AND epoch = $2 AND holder = ANY($3)";
    /// Moves a cursor; the answer says whether the claim stands. It ends with the server that gave it: after a failover
    /// what a relay has delivered last may never have been, and its place be taken by something else.
    set_cursor = "WITH held AS (SELECT sink FROM {s}.cursors WHERE sink = $1 AND epoch = $2 AND holder = ANY($6) \
             AND server = pg_postmaster_start_time() FOR UPDATE), \
         moved AS (UPDATE {s}.cursors c SET position = $3, delivered = $4, rejected = $5 FROM held \
             WHERE c.sink = held.sink AND c.position < $3) \
         SELECT sink FROM held";
    drop_cursor = "DELETE FROM {s}.cursors WHERE sink = $1 RETURNING 1";

    lock_outbox = "SELECT one FROM {s}.outbox FOR UPDATE";
    purge = "WITH settled AS (SELECT least(o.counted_to, (SELECT min(position) FROM {s}.cursors)) AS position FROM {s}.outbox o), \
         gone AS ( \
             SELECT r.key FROM {s}.runs r, settled WHERE r.ended_at IS NOT NULL AND ( \
                 r.status = 'completed' AND r.ended_at < $1 OR r.status = 'failed' AND r.ended_at < $2 \
                 OR r.status = 'cancelled' AND r.ended_at < $3) \
                 AND (SELECT h.position + h.last_seq - h.seq FROM {s}.history h WHERE h.run = r.key ORDER BY h.seq DESC LIMIT 1) \
                     <= settled.position \
             ORDER BY r.ended_at, r.key LIMIT $4), \
         records AS (DELETE FROM {s}.history h USING gone WHERE h.run = gone.key \
             RETURNING h.last_seq - h.seq + 1 AS events, h.position + h.last_seq - h.seq AS last), \
         runs AS (DELETE FROM {s}.runs r USING gone WHERE r.key = gone.key RETURNING 1), \
         purged AS (SELECT (SELECT count(*) FROM runs) AS runs, coalesce(sum(events), 0)::bigint AS events, max(last) AS last FROM records) \
         UPDATE {s}.outbox o SET purged = o.purged + purged.events, last_position = greatest(o.last_position, purged.last) \
         FROM purged RETURNING purged.runs, purged.events";
    now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
}
