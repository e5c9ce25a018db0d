//! The statements of a store, for one schema.
//!
//! Each write is one statement, and so one transaction. Once it was sent it needs nothing more of
//! this process, so a worker that is frozen or disconnected leaves no lock behind.

use crate::options::Time;

/// The number of bits of a position that count the events of one transaction. The other bits are
/// the transaction's id. The functions of the schema have the same number.
pub(crate) const PLACE_BITS: u32 = 20;

/// The first position that a transaction under way may still write. The events before it never
/// change, because their transactions have ended and this snapshot sees them.
const GATE: &str = "(o.base + (pg_snapshot_xmin(pg_current_snapshot())::text::bigint << 20))";

/// A condition that is true and limits every further wait for a lock in this transaction to half a
/// second. A row is locked only after it fits the condition that has this. No setting stays on the
/// connection.
const BRIEFLY: &str = "(SELECT set_config('lock_timeout', '500ms', true)) IS NOT NULL";

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// The statements of a store.
        #[derive(Debug)]
        pub(crate) struct Sql {
            $($(#[$doc])* pub(crate) $name: String,)*
        }

        impl Sql {
            /// Makes the statements for a schema with a quoted name.
            pub(crate) fn new(schema: &str, time: Time) -> Self {
                // Nothing is due, and no lease expires, before the time of the database, even if
                // the clock of a worker is ahead.
                let now = match time {
                    Time::Database => "least($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
                    Time::Engine => "$1::bigint",
                };
                // The clock by which a lease was renewed, if that clock can be set back.
                let clock = match time {
                    Time::Database => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                    Time::Engine => "NULL::bigint",
                };
                let fill = |sql: &str| {
                    let sql = sql.replace("{gate}", GATE).replace("{briefly}", BRIEFLY).replace("{run}", crate::row::RUN)
                        .replace("{record}", crate::row::RECORD).replace("{now}", now)
                        .replace("{clock}", clock);
                    // The name is inserted last, because it may have braces of its own.
                    let literal = schema.replace('\'', "''");
                    sql.split("{s}").map(|part| part.replace("{q}", &literal)).collect::<Vec<_>>().join(schema)
                };
                Self { $($name: fill($sql),)* }
            }
        }
    };
}

statements! {
    /// Creates the runs whose ids are free. This is a function of the schema, because servers keep
    /// only the plans of functions.
    create = "SELECT * FROM {s}.create_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    /// Appends to histories, under valid claims.
    commit = "SELECT * FROM {s}.commit_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             $18, $19, $20, $21, $22, $23, $24)";

    /// Shortens leases that were renewed at a time in the future, because the clock was set back
    /// since.
    shorten_leases = include_str!("sql/shorten_leases.sql");
    /// Marks the workers whose leases have expired: from then on they get no further runs. This and
    /// the following statements skip locked rows and leave them for the next call.
    expire_leases = include_str!("sql/expire_leases.sql");
    /// Makes the runs of marked workers due, and removes the workers that hold no run any more.
    expire_runs = include_str!("sql/expire_runs.sql");
    /// Returns the workflows that have runs which are due, now or later, and the time at which the
    /// first run of each can be claimed.
    workflows = "SELECT * FROM {s}.due_workflows({now})";
    /// Claims runs that are due.
    claim = "SELECT * FROM {s}.claim_runs({now}, $2, $3, $4, $5)";
    /// Claims one run, if it is not locked and is due or held by the worker.
    claim_one = include_str!("sql/claim_one.sql");
    /// Returns the earliest expiry of a lease of another worker that holds a run of the requested
    /// workflows.
    first_lease = include_str!("sql/first_lease.sql");
    lease = "SELECT until FROM {s}.workers WHERE name = $1";
    /// Finds the runs that are not locked.
    unlocked = "SELECT {s}.unlocked_runs($1)";
    /// Ends a claim.
    release = "UPDATE {s}.runs SET worker = NULL, due_at = $3, ready = $5 \
         WHERE key = $1 AND epoch = $2 AND worker = ANY($4) AND due_at IS NULL AND {briefly}";

    renew = include_str!("sql/renew.sql");
    cancels = "SELECT key, cancel_reason, cancel_at_once, cancel_at FROM {s}.runs \
         WHERE worker = $1 AND due_at IS NULL AND cancel_at IS NOT NULL";
    retire = "UPDATE {s}.workers SET state = 2, until = $2 WHERE name = $1 AND {briefly}";
    /// Lets only the last connection write in the names of its workers. A write of an earlier
    /// connection ends before this, or changes nothing.
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

    /// Reads a page of the outbox, up to the first position that can still be written.
    outbox = "SELECT * FROM {s}.outbox_page($1, $2, $3)";
    outbox_end = "SELECT * FROM {s}.outbox_end()";
    count = "SELECT {s}.count_events()";

    cursor = "SELECT position, delivered, rejected, missed FROM {s}.cursors WHERE sink = $1";
    cursors = "SELECT position, delivered, rejected, missed, sink FROM {s}.cursors";
    /// Opens a cursor. It waits for a purge, and a purge waits for it, so that the number of missed
    /// events is exact.
    open_cursor = include_str!("sql/open_cursor.sql");
    claim_sink = include_str!("sql/claim_sink.sql");
    release_sink = "UPDATE {s}.cursors SET holder = NULL WHERE sink = $1 AND epoch = $2 AND holder = ANY($3) AND {briefly}";
    /// Moves a cursor, and returns whether the claim is valid. The claim ends with the connection
    /// and the server on which it was made. After a failover, or a crash with
    /// `synchronous_commit=off`, the last events that a relay has delivered may be lost, and other
    /// events may have their positions.
    set_cursor = include_str!("sql/set_cursor.sql");
    drop_cursor = "DELETE FROM {s}.cursors WHERE sink = $1 AND {briefly} RETURNING 1";

    purge = "SELECT * FROM {s}.purge_runs($1, $2, $3, $4)";
    now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
}
