//! Versions of the schema, and the migrations between them.

use rusqlite::Connection;

use crate::error::FileError;

/// Application id of a file of this crate: "wflw" in ASCII.
pub(crate) const APPLICATION_ID: i64 = 0x7766_6c77;

/// Step from one version to the next.
///
/// A released migration never changes, because the files contain its checksum.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

/// All migrations, in order.
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

/// Table of the migrations that were applied to a file.
const MIGRATIONS_TABLE: &str = include_str!("sql/migrations_table.sql");

/// Refuses a file of another program, and one of a version that this program does not know.
pub(crate) fn check(connection: &Connection) -> Result<(), FileError> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(FileError::NotOurs);
    }
    let found = version(connection)?;
    let known = latest();
    if found > known {
        return Err(FileError::Newer { found, known });
    }
    Ok(())
}

/// Migrates a file to the latest version. Each migration is one transaction.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), FileError> {
    let initial = version(connection)?;
    if initial > 0 {
        for migration in MIGRATIONS
            .iter()
            .filter(|migration| migration.version <= initial)
        {
            let sql = "SELECT checksum FROM migrations WHERE version = ?1";
            let recorded: String =
                connection.query_row(sql, [migration.version], |row| row.get(0))?;
            if recorded != checksum(migration.sql) {
                return Err(FileError::Changed {
                    version: migration.version,
                });
            }
        }
    }
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > initial)
    {
        let Migration { version, name, sql } = migration;
        let transaction = connection.transaction()?;
        transaction.execute_batch(MIGRATIONS_TABLE)?;
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO migrations (version, name, checksum, applied_at) \
             VALUES (?1, ?2, ?3, unixepoch() * 1000)",
            (version, name, checksum(sql)),
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn latest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

/// Returns the FNV-1a hash of a migration.
///
/// The checksum finds mistakes. It does not protect against an attacker, who could replace it too.
fn checksum(sql: &str) -> String {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", sql.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_each_other_and_released_ones_do_not_change() {
        assert!(
            MIGRATIONS
                .iter()
                .zip(1..)
                .all(|(migration, version)| migration.version == version)
        );
        // Add a checksum with each release; never change one.
        let released = ["b7d2831823d6b864", "ac7516ebe67e6d6d"];
        let sums: Vec<_> = MIGRATIONS
            .iter()
            .map(|migration| checksum(migration.sql))
            .collect();
        assert_eq!(sums, released);
    }
}
