//! The statements, for one schema.
//!
//! Each write is one statement, and so one transaction that needs nothing more from this process
//! once it was sent: a worker that is frozen or cut off in the middle leaves no lock behind.

use crate::options::Time;

/// How many bits of a position count the events of one transaction; the others are the
/// transaction's id. The functions of the schema know it too.
pub(crate) const PLACE_BITS: u32 = 20;

/// The position of the first event that a transaction which has not ended may still write, or has
/// written. Everything before it is as it will be for ever: those transactions have ended, and what
/// they wrote is seen by this snapshot.
const GATE: &str = "(o.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20))";

/// The worker's lease, if it has one and this connection is the one that may write in its name. The
/// lock keeps it so until the statement is done.
const ME: &str = "me AS (SELECT name FROM {s}.workers WHERE name = ANY({names}) AND session = {session} AND state = 0 \
                  AND {briefly} FOR SHARE)";

/// True, and from then on this transaction waits half a second at most for anybody's lock: a row is
/// locked only once it is known to fit the condition that this is a part of. No setting is left on
/// the connection.
const BRIEFLY: &str = "(SELECT set_config('lock_timeout', '500ms', true)) IS NOT NULL";

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
                // Whatever a worker thinks the time is, nothing is due, and no lease over, before
                // the database thinks so.
                let now = match time {
                    Time::Database => "least($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
                    Time::Engine => "$1::bigint",
                };
                // By what clock a lease was renewed, if it may be set back.
                let clock = match time {
                    Time::Database => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                    Time::Engine => "NULL::bigint",
                };
                let made = |sql: String| {
                    let sql = sql.replace("{gate}", GATE).replace("{briefly}", BRIEFLY).replace("{run}", crate::row::RUN)
                        .replace("{record}", crate::row::RECORD).replace("{now}", now)
                        .replace("{clock}", clock);
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
    /// Creates runs: those whose id is free. The function is in the schema, for servers keep plans
    /// of functions only.
    create = "SELECT * FROM {s}.create_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    /// Appends to histories, under claims that stand.
    commit = "SELECT * FROM {s}.commit_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             $18, $19, $20, $21, $22, $23, $24)";

    /// Shortens the leases of workers that were renewed in a time to come: the clock was set back
    /// since.
    set_back = "WITH early AS (SELECT name FROM {s}.workers WHERE renewed > {clock} + 1000 AND state = 0 \
             FOR UPDATE SKIP LOCKED) \
         UPDATE {s}.workers w SET until = {clock} + (w.until - w.renewed), renewed = {clock} FROM early \
             WHERE w.name = early.name";
    /// Marks the workers whose leases have run out: from then on nothing is added to what they
    /// hold. Here and below what somebody has locked is left for the next time, for others wait for
    /// what is not.
    mark_dead = "WITH over AS (SELECT name FROM {s}.workers WHERE until <= {now} AND name <> $2 AND state = 0 \
             FOR UPDATE SKIP LOCKED) \
         UPDATE {s}.workers w SET state = 1 FROM over WHERE w.name = over.name";
    /// Makes due what marked workers hold, and forgets those that hold nothing more.
    sweep = "WITH gone AS (SELECT name, until, state FROM {s}.workers WHERE state > 0 FOR UPDATE SKIP LOCKED), \
         held AS MATERIALIZED ( \
             SELECT h.key, gone.name FROM gone CROSS JOIN LATERAL ( \
                 SELECT key FROM {s}.runs WHERE worker = gone.name AND due_at IS NULL OFFSET 0) h), \
         free AS MATERIALIZED ( \
             SELECT key FROM {s}.runs WHERE key = ANY(ARRAY(SELECT key FROM held)) AND due_at IS NULL \
             ORDER BY key FOR UPDATE SKIP LOCKED), \
         freed AS ( \
             UPDATE {s}.runs r SET due_at = gone.until, ready = true, worker = CASE WHEN gone.state = 1 THEN r.worker END \
             FROM gone WHERE r.key = ANY(ARRAY(SELECT key FROM free)) AND r.worker = gone.name AND r.due_at IS NULL \
             RETURNING gone.name) \
         DELETE FROM {s}.workers w USING gone WHERE w.name = gone.name \
             AND (SELECT count(*) FROM held WHERE held.name = gone.name) \
                 = (SELECT count(*) FROM freed WHERE freed.name = gone.name)";
    /// Returns the workflows that have runs which are due, now or later, and when the first of each
    /// can be claimed.
    workflows = "SELECT * FROM {s}.due_workflows({now})";
    /// Claims runs that are due.
    claim = "SELECT * FROM {s}.claim_runs({now}, $2, $3, $4, $5)";
    /// Claims one run, if it is due, or the worker's own, and nobody has locked it.
    claim_one = format!(
        "WITH {}, \
         chosen AS ( \
             SELECT key, due_at AS was_due, worker IS NOT NULL AND due_at IS NOT NULL AS died FROM {{s}}.runs \
             WHERE id = $3 AND CASE WHEN due_at IS NULL THEN worker = $2 ELSE ready OR due_at <= {{now}} END \
                 AND ($4::text[] IS NULL OR workflow = ANY($4)) FOR UPDATE SKIP LOCKED) \
         UPDATE {{s}}.runs r SET worker = me.name, due_at = NULL, ready = true, epoch = r.epoch + 1, \
             recoveries = r.recoveries + chosen.died::int \
         FROM chosen, me WHERE r.key = chosen.key \
         RETURNING {{run}}, chosen.died, coalesce(chosen.was_due, 0)",
        ME.replace("{names}", "ARRAY[$2::text]").replace("{session}", "$5")
    );
    /// Returns when the first lease will be over of another worker that holds a run of the
    /// workflows asked for.
    first_lease = "SELECT min(w.until) FROM {s}.workers w CROSS JOIN LATERAL ( \
             SELECT FROM {s}.runs WHERE worker = w.name AND due_at IS NULL \
                 AND ($3::text[] IS NULL OR workflow = ANY($3)) LIMIT 1) held WHERE w.name <> $2 AND w.until > {now}";
    lease = "SELECT until FROM {s}.workers WHERE name = $1";
    /// Finds the runs that nobody has locked.
    unlocked = "SELECT {s}.unlocked_runs($1)";
    /// Ends a claim.
    release = "UPDATE {s}.runs SET worker = NULL, due_at = $3, ready = $5 \
         WHERE key = $1 AND epoch = $2 AND worker = ANY($4) AND due_at IS NULL AND {briefly}";

    renew = "INSERT INTO {s}.workers AS w (name, until, session, renewed) \
         SELECT $1::text, $2::bigint, $3::bigint, {clock} WHERE {briefly} \
         ON CONFLICT (name) DO UPDATE SET until = $2, session = $3, renewed = excluded.renewed WHERE w.state = 0 RETURNING 1";
    cancels = "SELECT key, cancel_reason, cancel_at_once, cancel_at FROM {s}.runs \
         WHERE worker = $1 AND due_at IS NULL AND cancel_at IS NOT NULL";
    retire = "UPDATE {s}.workers SET state = 2, until = $2 WHERE name = $1 AND {briefly}";
    /// Lets the connection that was opened last write in the name of its workers, and no other:
    /// what an earlier one may still be doing ends before this, or changes nothing.
    take_over = "UPDATE {s}.workers SET session = $2 WHERE name = ANY($1) AND {briefly}";

    cancel = "UPDATE {s}.runs r SET cancel_at = coalesce(r.cancel_at, $2), \
             cancel_reason = CASE WHEN r.cancel_at IS NULL THEN $3 ELSE r.cancel_reason END, \
             cancel_at_once = coalesce(r.cancel_at_once, false) OR $4, ready = true, due_at = least(r.due_at, \
                 CASE WHEN r.due_at IS NOT NULL OR r.worker IS NULL THEN $2 END) \
         WHERE id = $1 AND ended_at IS NULL AND {briefly} RETURNING {run}";

    run = "SELECT {run}, r.ready FROM {s}.runs r WHERE id = $1";
    runs_by_id = "SELECT {run} FROM {s}.runs r WHERE id = ANY($1)";
    runs_by_key = "SELECT {run} FROM {s}.runs r WHERE key = ANY($1)";
    records = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq";
    first_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq LIMIT 1";
    last_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq DESC LIMIT 1";
    held = "SELECT id FROM {s}.runs WHERE worker = $1 AND due_at IS NULL ORDER BY key";
    list = "SELECT {run} FROM {s}.runs r WHERE key > $1 AND ($2::text[] IS NULL OR status = ANY($2)) \
         AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR worker = $4) \
         AND ($5::text IS NULL OR starts_with(id, $5)) ORDER BY key LIMIT $6";

    /// Reads a page of the outbox, up to the gate.
    outbox = "SELECT * FROM {s}.outbox_page($1, $2, $3)";
    outbox_end = "SELECT * FROM {s}.outbox_end()";
    count = "SELECT {s}.count_events()";

    cursor = "SELECT position, delivered, rejected, missed FROM {s}.cursors WHERE sink = $1";
    cursors = "SELECT position, delivered, rejected, missed, sink FROM {s}.cursors";
    /// Opens a cursor; a purge waits for it, and it for a purge, so that it misses what is counted
    /// as missed.
    open_cursor = "INSERT INTO {s}.cursors (sink, position, delivered, rejected, missed) \
         SELECT $1, 0, 0, 0, purged FROM {s}.outbox WHERE {briefly} FOR SHARE ON CONFLICT (sink) DO NOTHING";
    claim_sink = "UPDATE {s}.cursors c SET holder = $2, epoch = nextval('{q}.sink_epochs'), \
             session = $4, server = pg_postmaster_start_time() \
         WHERE sink = $3 AND {briefly} AND (holder IS NULL OR holder = $2 OR NOT EXISTS ( \
             SELECT FROM {s}.workers w WHERE w.name = c.holder AND w.state = 0 AND w.until > {now})) RETURNING epoch";
    release_sink = "UPDATE {s}.cursors SET holder = NULL WHERE sink = $1 AND epoch = $2 AND holder = ANY($3) AND {briefly}";
    /// Moves a cursor; the answer says whether the claim stands. It ends with the connection and
    /// the server that gave it: after a failover, or a crash with `synchronous_commit=off`, what a
    /// relay has delivered last may never have been, and its place be taken by something else.
    set_cursor = "WITH held AS (SELECT sink FROM {s}.cursors WHERE sink = $1 AND epoch = $2 AND holder = ANY($6) \
             AND session = $7 AND server = pg_postmaster_start_time() AND {briefly} \
             AND $3 < (SELECT {gate} FROM {s}.outbox o) FOR UPDATE), \
         moved AS (UPDATE {s}.cursors c SET position = $3, delivered = $4, rejected = $5 FROM held \
             WHERE c.sink = held.sink AND c.position < $3) \
         SELECT sink FROM held";
    drop_cursor = "DELETE FROM {s}.cursors WHERE sink = $1 AND {briefly} RETURNING 1";

    purge = "SELECT * FROM {s}.purge_runs($1, $2, $3, $4)";
    now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
}
