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
                let fill = |sql: &str| {
                    let sql = sql.replace("{gate}", GATE).replace("{briefly}", BRIEFLY).replace("{run}", crate::row::RUN)
                        .replace("{record}", crate::row::RECORD).replace("{now}", now)
                        .replace("{clock}", clock);
                    // The name comes last, for it may have braces of its own.
                    let literal = schema.replace('\'', "''");
                    sql.split("{s}").map(|part| part.replace("{q}", &literal)).collect::<Vec<_>>().join(schema)
                };
                Self { $($name: fill($sql),)* }
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
    shorten_leases = include_str!("sql/shorten_leases.sql");
    /// Marks the workers whose leases have run out: from then on nothing is added to what they
    /// hold. Here and below what somebody has locked is left for the next time, for others wait for
    /// what is not.
    expire_leases = include_str!("sql/expire_leases.sql");
    /// Makes due what marked workers hold, and forgets those that hold nothing more.
    expire_runs = include_str!("sql/expire_runs.sql");
    /// Returns the workflows that have runs which are due, now or later, and when the first of each
    /// can be claimed.
    workflows = "SELECT * FROM {s}.due_workflows({now})";
    /// Claims runs that are due.
    claim = "SELECT * FROM {s}.claim_runs({now}, $2, $3, $4, $5)";
    /// Claims one run, if it is due, or the worker's own, and nobody has locked it.
    claim_one = include_str!("sql/claim_one.sql");
    /// Returns when the first lease will be over of another worker that holds a run of the
    /// workflows asked for.
    first_lease = include_str!("sql/first_lease.sql");
    lease = "SELECT until FROM {s}.workers WHERE name = $1";
    /// Finds the runs that nobody has locked.
    unlocked = "SELECT {s}.unlocked_runs($1)";
    /// Ends a claim.
    release = "UPDATE {s}.runs SET worker = NULL, due_at = $3, ready = $5 \
         WHERE key = $1 AND epoch = $2 AND worker = ANY($4) AND due_at IS NULL AND {briefly}";

    renew = include_str!("sql/renew.sql");
    cancels = "SELECT key, cancel_reason, cancel_at_once, cancel_at FROM {s}.runs \
         WHERE worker = $1 AND due_at IS NULL AND cancel_at IS NOT NULL";
    retire = "UPDATE {s}.workers SET state = 2, until = $2 WHERE name = $1 AND {briefly}";
    /// Lets the connection that was opened last write in the name of its workers, and no other:
    /// what an earlier one may still be doing ends before this, or changes nothing.
    take_over = "UPDATE {s}.workers SET session = $2 WHERE name = ANY($1) AND {briefly}";

    cancel = include_str!("sql/cancel.sql");

    run = "SELECT {run}, r.ready FROM {s}.runs r WHERE id = $1";
    runs_by_id = "SELECT {run} FROM {s}.runs r WHERE id = ANY($1)";
    runs_by_key = "SELECT {run} FROM {s}.runs r WHERE key = ANY($1)";
    records = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq";
    first_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq LIMIT 1";
    last_record = "SELECT {record} FROM {s}.history WHERE run = $1 ORDER BY seq DESC LIMIT 1";
    held = "SELECT id FROM {s}.runs WHERE worker = $1 AND due_at IS NULL ORDER BY key";
    list = include_str!("sql/list.sql");

    /// Reads a page of the outbox, up to the gate.
    outbox = "SELECT * FROM {s}.outbox_page($1, $2, $3)";
    outbox_end = "SELECT * FROM {s}.outbox_end()";
    count = "SELECT {s}.count_events()";

    cursor = "SELECT position, delivered, rejected, missed FROM {s}.cursors WHERE sink = $1";
    cursors = "SELECT position, delivered, rejected, missed, sink FROM {s}.cursors";
    /// Opens a cursor; a purge waits for it, and it for a purge, so that it misses what is counted
    /// as missed.
    open_cursor = include_str!("sql/open_cursor.sql");
    claim_sink = include_str!("sql/claim_sink.sql");
    release_sink = "UPDATE {s}.cursors SET holder = NULL WHERE sink = $1 AND epoch = $2 AND holder = ANY($3) AND {briefly}";
    /// Moves a cursor; the answer says whether the claim stands. It ends with the connection and
    /// the server that gave it: after a failover, or a crash with `synchronous_commit=off`, what a
    /// relay has delivered last may never have been, and its place be taken by something else.
    set_cursor = include_str!("sql/set_cursor.sql");
    drop_cursor = "DELETE FROM {s}.cursors WHERE sink = $1 AND {briefly} RETURNING 1";

    purge = "SELECT * FROM {s}.purge_runs($1, $2, $3, $4)";
    now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
}
