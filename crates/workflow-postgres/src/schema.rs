//! The versions of the schema, and the way from one to the next.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::ConnectError;
use crate::options::Durability;

/// What leads from one version to the next. One that was released is never changed: its checksum is
/// in the databases.
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

/// `xid8` and `pg_current_snapshot` came with version 13.
const OLDEST_SERVER: (u32, &str) = (130_000, "PostgreSQL 13 or later");

/// Quotes the name of a schema.
pub(crate) fn quoted(name: &str) -> Result<String, ConnectError> {
    if name.is_empty() || name.len() > 63 || name.contains('\0') || name.starts_with("pg_") {
        return Err(ConnectError::SchemaName { name: name.into() });
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Checks that the server can be a store's, and that commits will be as durable as is requested for.
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
    // Each connection that is given up leaves one more of these; they would become too many.
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

/// Brings the schema to the latest version, each time in one transaction; two who connect at once
/// do it once.
pub(crate) async fn migrate(client: &mut Client, name: &str) -> Result<(), ConnectError> {
    let schema = quoted(name)?;
    if check(client, name).await? == latest() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    // A process that is frozen in the middle must not keep the others out.
    transaction
        .batch_execute("SET LOCAL idle_in_transaction_session_timeout = '10s'")
        .await?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('workflow-postgres ' || $1, 0))";
    transaction
        .query_typed(lock, &[(&name, Type::TEXT)])
        .await?;
    // Another one may have done it while this one waited.
    let begun = check(transaction.client(), name).await?;
    // Who may not create a schema may still have one that somebody has created.
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
        // The name comes last, for it may have braces of its own; the bodies of functions are
        // literals.
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

/// Returns the version of the schema, 0 if it is not there or empty.
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
        let is_own = MIGRATIONS
            .iter()
            .find(|migration| migration.version == found);
        if is_own.is_some_and(|migration| checksum(migration.sql) != recorded) {
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

/// FNV-1a: it is to find mistakes, not enemies, who could write the checksum as well.
fn checksum(sql: &str) -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", sql.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Sees to it that positions go on increasing also where transaction ids do not: in a database that
/// was restored from a dump into another cluster.
pub(crate) async fn move_base(client: &Client, schema: &str) -> Result<(), ConnectError> {
    // Every position that this cluster has given stands below that of the next transaction.
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
        "the database was restored into another cluster: positions go on behind those there are"
    );
    let update = format!("UPDATE {schema}.outbox SET base = $2 WHERE base = $1");
    client
        .query_typed(&update, &[(&before, Type::INT8), (&after, Type::INT8)])
        .await?;
    Ok(())
}
