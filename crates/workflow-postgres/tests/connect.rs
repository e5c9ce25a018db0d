//! Connecting: what is refused says why, and what is not relied on is not needed.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::time::Duration;

use support::{address, options, runtime, server, started};
use tokio_postgres::NoTls;
use workflow_engine::store::Purge;
use workflow_engine::{RunFilter, Store, StoreError, Timestamp};
use workflow_postgres::{ConnectError, Durability, PostgresStore};

async fn refused(url: &str) -> ConnectError {
    match PostgresStore::connect(url).await {
        Ok(store) => panic!("{store:?} must be refused"),
        Err(error) => error,
    }
}

/// Executes statements in a database.
async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}

#[test]
fn what_cannot_be_reached_says_what_to_do() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let error = refused("postgres://[").await;
        assert!(matches!(error, ConnectError::Url(_)), "{error}");
        let error = refused("host=127.0.0.1 port=1 user=wf").await;
        assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
        let error = refused(&server.url_of("no_such_database")).await;
        assert!(
            matches!(error, ConnectError::NoDatabase(_)) && error.to_string().contains("createdb"),
            "{error}"
        );
        for name in ["", &"x".repeat(64), "a\0b", "pg_own"] {
            let error = options()
                .schema(name)
                .connect(&server.url_of("postgres"))
                .await
                .unwrap_err();
            assert!(matches!(error, ConnectError::SchemaName { .. }), "{error}");
        }
        let error = refused(&format!("{} sslmode=require", server.url_of("postgres"))).await;
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
    });
}

#[test]
fn a_user_needs_a_password_and_rights_and_not_more_than_those() {
    let Some(server) = server() else { return };
    let Some((host, port)) = address(server) else {
        return;
    };
    runtime().block_on(async {
        let owner = server.database().await.unwrap();
        let database = owner.split("dbname=").nth(1).unwrap();
        execute(&owner, "CREATE ROLE guest LOGIN PASSWORD 'right'").await;
        let guest = |password| {
            format!("host={host} port={port} user=guest password={password} dbname={database}")
        };
        let error = refused(&guest("wrong")).await;
        assert!(
            matches!(error, ConnectError::Login(_)) && error.to_string().contains("28P01"),
            "{error}"
        );
        let error = refused(&format!(
            "host={host} port={port} user=guest dbname={database}"
        ))
        .await;
        assert!(
            matches!(error, ConnectError::Url(_)) && error.to_string().contains("password missing"),
            "{error}"
        );
        let error = refused(&guest("right")).await;
        assert!(
            matches!(error, ConnectError::Rights(_)) && error.to_string().contains("GRANT"),
            "{error:?}"
        );

        // What the message says is enough.
        drop(PostgresStore::connect(&owner).await.unwrap());
        execute(
            &owner,
            "GRANT USAGE ON SCHEMA workflow TO guest;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA workflow TO guest;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA workflow TO guest",
        )
        .await;
        let store = PostgresStore::connect(&guest("right")).await.unwrap();
        store.renew("w", Timestamp::MAX).await.unwrap();
        assert!(
            store
                .claim_sink("s", "w", Timestamp::UNIX_EPOCH)
                .await
                .unwrap()
                .is_some()
        );

        execute(&owner, "ALTER ROLE guest CONNECTION LIMIT 0").await;
        let error = refused(&guest("right")).await;
        assert!(
            matches!(error, ConnectError::TooManyConnections(_)),
            "{error:?}"
        );
    });
}

#[test]
fn schemas_of_others_and_of_other_versions_are_refused_and_left_alone() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        execute(
            &url,
            "CREATE SCHEMA taken; CREATE TABLE taken.bookmarks (url text)",
        )
        .await;
        execute(
            &url,
            "CREATE SCHEMA others; CREATE TABLE others.migrations (id int)",
        )
        .await;
        for name in ["taken", "others"] {
            let error = options().schema(name).connect(&url).await.unwrap_err();
            assert!(matches!(error, ConnectError::NotOurs { .. }), "{error:?}");
        }

        drop(PostgresStore::connect(&url).await.unwrap());
        execute(
            &url,
            "INSERT INTO workflow.migrations (version, name, checksum) VALUES (99, 'later', '')",
        )
        .await;
        let error = refused(&url).await;
        assert!(
            matches!(error, ConnectError::Newer { found: 99, .. }),
            "{error:?}"
        );
        execute(&url, "DELETE FROM workflow.migrations WHERE version = 99").await;
        execute(&url, "UPDATE workflow.migrations SET checksum = 'other'").await;
        let error = refused(&url).await;
        assert!(
            matches!(error, ConnectError::Changed { version: 1 }),
            "{error:?}"
        );
    });
}

#[test]
fn what_takes_no_writes_or_does_not_keep_them_is_refused() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let database = url.split("dbname=").nth(1).unwrap();
        server
            .execute(&format!(
                "ALTER DATABASE {database} SET synchronous_commit = off"
            ))
            .await
            .unwrap();
        let error = refused(&url).await;
        assert!(
            matches!(
                error,
                ConnectError::Setting {
                    setting: "synchronous_commit",
                    ..
                }
            ),
            "{error:?}"
        );
        let store = options()
            .durability(Durability::ProcessCrash)
            .connect(&url)
            .await
            .unwrap();
        assert_eq!(store.durability(), Durability::ProcessCrash);
        server
            .execute(&format!(
                "ALTER DATABASE {database} SET default_transaction_isolation = serializable"
            ))
            .await
            .unwrap();
        let error = refused(&url).await;
        assert!(
            matches!(&error, ConnectError::Isolation { found } if found == "serializable"),
            "{error:?}"
        );
        server
            .execute(&format!(
                "ALTER DATABASE {database} RESET default_transaction_isolation"
            ))
            .await
            .unwrap();
        server
            .execute("CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
            .await
            .unwrap();
        let error = refused(&server.url_of("western")).await;
        assert!(
            matches!(&error, ConnectError::Encoding { found } if found == "LATIN1"),
            "{error:?}"
        );
        server.execute("DROP DATABASE western").await.unwrap();
        server
            .execute(&format!(
                "ALTER DATABASE {database} SET default_transaction_read_only = on"
            ))
            .await
            .unwrap();
        let error = refused(&url).await;
        assert!(matches!(error, ConnectError::ReadOnly), "{error:?}");
        if address(server).is_some() {
            let replica = server.replica().await.unwrap();
            let error = refused(&replica.url_of("postgres")).await;
            assert!(matches!(error, ConnectError::ReadOnly), "{error:?}");
            // Of several hosts, the one that accepts writes is used, even if that was not
            // requested.
            let ports = [&replica, server].map(|server| server.address().unwrap().1.to_string());
            let url = format!(
                "host=127.0.0.1,127.0.0.1 port={} user=wf dbname=postgres",
                ports.join(",")
            );
            let store = options().schema("either").connect(&url).await.unwrap();
            store.renew("w", Timestamp::MAX).await.unwrap();
        }
    });
}

#[test]
fn stores_that_connect_at_once_make_the_schema_once() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        // Any name will do.
        let longest = "x".repeat(63);
        for name in [
            "plain",
            "With Spaces",
            "quote\"d",
            "it's",
            "back\\slash",
            "ünïcödé",
            "{s}{q}",
            &longest,
        ] {
            let connect = || async { options().schema(name).connect(&url).await.unwrap() };
            let stores = futures::future::join_all((0..4).map(|_| connect())).await;
            for (n, store) in stores.iter().enumerate() {
                store.renew(&format!("w{n}"), Timestamp::MAX).await.unwrap();
                store
                    .claim_sink(&format!("s{n}"), "w0", Timestamp::UNIX_EPOCH)
                    .await
                    .unwrap()
                    .unwrap();
            }
        }
    });
}

#[test]
fn a_pool_that_is_exhausted_is_a_typed_error_and_recovers() {
    let Some(server) = started(&["autovacuum=off"]) else {
        return;
    };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let store = options().readers(1).wait(Duration::from_millis(300)).connect(&url).await.unwrap();
        let (locker, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        locker.batch_execute("BEGIN; LOCK TABLE workflow.cursors IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let stuck = {
            let store = store.clone();
            tokio::spawn(async move { store.open_cursor("sink").await })
        };
        let failed = loop {
            match store.list(&RunFilter::default()).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&failed, StoreError::Backend(error) if error.to_string().contains("no connection for a read")),
            "{failed:?}"
        );
        // Writes have a connection of their own.
        store.renew("w", Timestamp::MAX).await.unwrap();
        locker.batch_execute("COMMIT").await.unwrap();
        stuck.await.unwrap().unwrap();
        assert_eq!(store.list(&RunFilter::default()).await.unwrap(), []);
    });
}

#[test]
fn a_store_whose_handles_are_gone_leaves_no_connection() {
    let Some(server) = server() else { return };
    runtime().block_on(async {
        let url = server.database().await.unwrap();
        let database = url.split("dbname=").nth(1).unwrap().to_owned();
        let store = PostgresStore::connect(&url).await.unwrap();
        store.list(&RunFilter::default()).await.unwrap();
        let (client, connection) = tokio_postgres::connect(&server.url_of("postgres"), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let count = async || -> i64 {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
            client.query_one(sql, &[&database]).await.unwrap().get(0)
        };
        assert!(
            count().await >= 2,
            "one that writes, one that reads, one that listens"
        );
        drop(store);
        let gone = async {
            while count().await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone)
            .await
            .expect("the connections are closed");
    });
}

/// The runtime on which a store was connected has ended: every call of the store reports that.
#[test]
fn a_store_whose_runtime_has_ended_answers_with_errors() {
    let Some(server) = server() else { return };
    let url = runtime().block_on(server.database()).unwrap();
    let first = tokio::runtime::Runtime::new().unwrap();
    let store = first.block_on(PostgresStore::connect(&url)).unwrap();
    first.block_on(store.list(&RunFilter::default())).unwrap();
    drop(first);
    futures::executor::block_on(async {
        let read = store.list(&RunFilter::default()).await;
        assert!(matches!(read, Err(StoreError::Backend(_))), "{read:?}");
        let written = store.renew("w", Timestamp::MAX).await;
        assert!(
            matches!(written, Err(StoreError::Backend(_))),
            "{written:?}"
        );
        let purged = store.purge(Purge::default()).await;
        assert!(matches!(purged, Err(StoreError::Backend(_))), "{purged:?}");
    });
    drop(store);
}
