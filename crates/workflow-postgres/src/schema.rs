//! The versions of the schema, and the migrations between them.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::ConnectError;
use crate::options::Durability;

/// A migration from one version to the next. A released migration is never changed, because
/// databases keep its checksum.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "first",
        sql: include_str!("sql/migrations/0001-first.sql"),
    },
    Migration {
        version: 2,
        name: "ready",
        sql: include_str!("sql/migrations/0002-ready.sql"),
    },
];

/// The oldest server: `xid8` and `pg_current_snapshot` exist since version 13.
const OLDEST_SERVER: (u32, &str) = (130_000, "PostgreSQL 13 or later");

/// Quotes the name of a schema.
pub(crate) fn quoted(name: &str) -> Result<String, ConnectError> {
    if name.is_empty() || name.len() > 63 || name.contains('\0') || name.starts_with("pg_") {
        return Err(ConnectError::SchemaName { name: name.into() });
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Checks that the server can have a store, and that commits are as durable as requested.
pub(crate) async fn check_server(
    client: &Client,
    durability: Durability,
) -> Result<(), ConnectError> {
    let sql = "SELECT current_setting('server_version_num'), current_setting('server_version'), \
               pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
               current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), \
               current_setting('server_encoding'), current_setting('transaction_isolation'), \
               EXISTS (SELECT FROM pg_stat_activity WHERE usename = current_user AND wait_event = 'SyncRep' \
                   AND query_start < clock_timestamp() - interval '5 s')";
    let row = client.query_typed_one(sql, &[]).await?;
    let found: String = row.try_get(1)?;
    let number: String = row.try_get(0)?;
    if number
        .parse()
        .is_ok_and(|number: u32| number < OLDEST_SERVER.0)
    {
        return Err(ConnectError::ServerVersion {
            found,
            needed: OLDEST_SERVER.1,
        });
    }
    if row.try_get(2)? {
        return Err(ConnectError::ReadOnly);
    }
    // Each abandoned connection leaves one more of these processes, so their number would grow.
    if row.try_get(8)? {
        return Err(ConnectError::Standby);
    }
    let encoding: String = row.try_get(6)?;
    if encoding != "UTF8" {
        return Err(ConnectError::Encoding { found: encoding });
    }
    let isolation: String = row.try_get(7)?;
    if isolation != "read committed" {
        return Err(ConnectError::Isolation { found: isolation });
    }
    if durability == Durability::PowerLoss {
        for (index, setting) in [
            (3, "fsync"),
            (4, "full_page_writes"),
            (5, "synchronous_commit"),
        ] {
            let found: String = row.try_get(index)?;
            if found == "off" {
                return Err(ConnectError::Setting { setting, found });
            }
        }
    }
    Ok(())
}

/// Migrates the schema to the latest version, in one transaction. Two processes that connect at
/// once migrate it once.
pub(crate) async fn migrate(client: &mut Client, name: &str) -> Result<(), ConnectError> {
    let schema = quoted(name)?;
    if check(client, name).await? == latest() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    // A process that freezes during a migration must not block the others.
    transaction
        .batch_execute("SET LOCAL idle_in_transaction_session_timeout = '10s'")
        .await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('workflow-postgres ' || $1, 0))";
    transaction
        .query_typed(lock, &[(&name, Type::TEXT)])
        .await?;
    // Another process may have migrated while this one waited.
    let begun = check(transaction.client(), name).await?;
    // A user without the right to create schemas can use one that exists.
    let there = transaction
        .query_typed_one(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
            &[(&name, Type::TEXT)],
        )
        .await?;
    if !there.try_get::<_, bool>(0)? {
        transaction
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await?;
    }
    if begun == 0 {
        let history = "CREATE TABLE {schema}.migrations (
            version    bigint PRIMARY KEY,
            name       text NOT NULL,
            checksum   text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        )";
        transaction
            .batch_execute(&history.replace("{schema}", &schema))
            .await?;
    }
    for Migration {
        version,
        name,
        sql: text,
    } in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > begun)
    {
        // The name is inserted last, because it may have braces of its own; the bodies of functions
        // are literals.
        let literal = schema.replace('\'', "''");
        let sql: Vec<_> = text
            .split("{schema}")
            .map(|part| part.replace("{q}", &literal))
            .collect();
        transaction.batch_execute(&sql.join(&schema)).await?;
        let insert = format!(
            "INSERT INTO {schema}.migrations (version, name, checksum) VALUES ($1, $2, $3)"
        );
        let sum = checksum(text);
        transaction
            .query_typed(
                &insert,
                &[
                    (version, Type::INT8),
                    (name, Type::TEXT),
                    (&sum, Type::TEXT),
                ],
            )
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Returns the version of the schema; 0 if the schema does not exist or is empty.
async fn check(client: &Client, name: &str) -> Result<i64, ConnectError> {
    let schema = quoted(name)?;
    let tables = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')";
    let tables = client.query_typed(tables, &[(&name, Type::TEXT)]).await?;
    if tables.is_empty() {
        return Ok(0);
    }
    let has = |name: &str| {
        tables
            .iter()
            .any(|row| row.try_get::<_, &str>(0).is_ok_and(|table| table == name))
    };
    if !["migrations", "runs", "history", "outbox"]
        .into_iter()
        .all(has)
    {
        return Err(ConnectError::NotOurs {
            schema: name.into(),
        });
    }
    let sql = format!("SELECT version, checksum FROM {schema}.migrations ORDER BY version");
    let mut found = 0;
    for row in client.query_typed(&sql, &[]).await? {
        found = row.try_get(0)?;
        let recorded: &str = row.try_get(1)?;
        let known = MIGRATIONS
            .iter()
            .find(|migration| migration.version == found);
        if known.is_some_and(|migration| checksum(migration.sql) != recorded) {
            return Err(ConnectError::Changed { version: found });
        }
    }
    if found > latest() {
        return Err(ConnectError::Newer {
            found,
            known: latest(),
        });
    }
    Ok(found)
}

fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// Returns a checksum (FNV-1a). It detects mistakes, and not attacks, because an attacker could
/// write the checksum too.
fn checksum(sql: &str) -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", sql.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Keeps positions increasing in a database that was restored from a dump into another cluster,
/// where transaction ids start lower.
pub(crate) async fn move_base(client: &Client, schema: &str) -> Result<(), ConnectError> {
    // Every position of this cluster is below that of the next transaction.
    let sql = format!(
        "WITH o AS (SELECT base, greatest(last_position, counted_to, counted_next - 1, \
             (SELECT position + last_seq - seq FROM {schema}.history ORDER BY position DESC LIMIT 1), \
             (SELECT max(position) FROM {schema}.cursors)) AS top, \
             pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20 AS next \
         FROM {schema}.outbox) \
         SELECT base, top + 1 - next FROM o WHERE base + next <= top"
    );
    let Some(row) = client.query_typed_opt(&sql, &[]).await? else {
        return Ok(());
    };
    let (before, after): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    tracing::warn!(
        "the database was restored into another cluster; positions continue after the existing ones"
    );
    let update = format!("UPDATE {schema}.outbox SET base = $2 WHERE base = $1");
    client
        .query_typed(&update, &[(&before, Type::INT8), (&after, Type::INT8)])
        .await?;
    Ok(())
}
