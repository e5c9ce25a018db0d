//! A primary and a replica that takes its place.

use workflow_postgres::testing::{Server, Stop};
use workflow_postgres::{Options, PostgresStore};

use super::hand::{raw, until};
use super::{address, started};

/// A primary and its replica, which follows it until it is cut off.
pub(crate) struct Pair {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
}

impl Pair {
    /// `None`, with a word on it, where there are no servers to be had, or none that can be
    /// stopped.
    pub(crate) async fn start() -> Option<Self> {
        let settings = ["autovacuum=off", "max_connections=50"];
        let primary = tokio::task::spawn_blocking(move || started(&settings))
            .await
            .unwrap()?;
        address(&primary)?;
        let replica = primary.replica().await.unwrap();
        Some(Self { primary, replica })
    }

    /// Whichever of the two takes writes.
    pub(crate) async fn connect(&self) -> PostgresStore {
        self.connect_as(&PostgresStore::options()).await
    }

    pub(crate) async fn connect_as(&self, options: &Options) -> PostgresStore {
        let ports =
            [&self.primary, &self.replica].map(|server| server.address().unwrap().1.to_string());
        let url = format!(
            "host=127.0.0.1,127.0.0.1 port={} user=wf dbname=postgres target_session_attrs=read-write",
            ports.join(",")
        );
        options.connect(&url).await.unwrap()
    }

    /// Waits until the replica has all commits, and then stops the replication.
    pub(crate) async fn part(&self) {
        let sql = "SELECT pg_current_wal_flush_lsn()::text";
        let here: String = raw(&self.primary.url_of("postgres"))
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0);
        let replica = raw(&self.replica.url_of("postgres")).await;
        let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{here}'::pg_lsn");
        until(&replica, &caught_up).await;
        replica
            .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
            .await
            .unwrap();
        replica
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
        until(
            &replica,
            "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)",
        )
        .await;
    }

    /// The primary stops for good, and the replica replaces it.
    pub(crate) async fn fail_over(&self) {
        self.primary.stop(Stop::Immediate).await.unwrap();
        self.replica.execute("SELECT pg_promote()").await.unwrap();
    }
}
