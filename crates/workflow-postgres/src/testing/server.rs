//! A PostgreSQL server that a test starts from the machine's binaries, and that ends with it.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::testing::error::ServerError;
use crate::testing::process::{START_TIMEOUT, SUPERVISE, ServerProcess, end};

/// The variable with the connection string of a server that is used instead of one of our own.
const URL: &str = "WF_TEST_PG_URL";

/// A PostgreSQL server for tests.
///
/// It listens on loopback and on a private socket, keeps its data in a folder of its own, and is
/// stopped, and the folder removed, when it is dropped; should the process be killed, the server
/// stops as well. Where this process is root, which PostgreSQL refuses to run as, the server runs
/// as the user `postgres` or `nobody`.
///
/// With the variable `WF_TEST_PG_URL` it is that server instead, which is neither started nor
/// stopped.
///
/// # Examples
///
/// ```no_run
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use workflow_postgres::PostgresStore;
/// use workflow_postgres::testing::Server;
///
/// let server = Server::start().await?;
/// let store = PostgresStore::connect(&server.database().await?).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    /// `None` for one that was there.
    own: Option<ServerProcess>,
    url: String,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Transactions under way are rolled back and connections closed.
    Fast,
    /// As if it had crashed: the next start recovers.
    Immediate,
}

impl Server {
    /// Starts a server, or takes that of `WF_TEST_PG_URL`.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotInstalled`] where there is neither; any other if it does not start.
    pub async fn start() -> Result<Self, ServerError> {
        Self::start_with(&[]).await
    }

    /// Starts a server with settings, each like `max_connections=20`.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub async fn start_with(settings: &[&str]) -> Result<Self, ServerError> {
        if let Ok(url) = std::env::var(URL) {
            return Ok(Self { own: None, url });
        }
        let own = ServerProcess::new(settings.iter().map(|&setting| setting.to_owned()).collect())?;
        own.create().await?;
        Self::of(own).await
    }

    /// Starts a replica of this server, which follows it and takes no writes.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotOurs`] for a server that was there; any other if it does not start.
    pub async fn replica(&self) -> Result<Self, ServerError> {
        let primary = self.own.as_ref().ok_or(ServerError::NotOurs)?;
        // It must not have less room for connections.
        let own = ServerProcess::new(primary.settings.clone())?;
        own.run(
            "pg_basebackup",
            [
                "-D",
                &own.data(),
                "-d",
                &self.url,
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
            ],
        )
        .await?;
        Self::of(own).await
    }

    async fn of(own: ServerProcess) -> Result<Self, ServerError> {
        let server = Self {
            url: format!("host=127.0.0.1 port={} user=wf", own.port),
            own: Some(own),
        };
        server.resume().await?;
        Ok(server)
    }

    /// Creates a database and returns its connection string.
    ///
    /// # Errors
    ///
    /// [`ServerError::Postgres`].
    pub async fn database(&self) -> Result<String, ServerError> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let last = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("wf_{}_{last}", std::process::id());
        self.execute(&format!("CREATE DATABASE {name}")).await?;
        Ok(self.url_of(&name))
    }

    /// Returns the connection string of a database on this server.
    pub fn url_of(&self, database: &str) -> String {
        match self.url.split_once("://") {
            None => format!("{} dbname={database}", self.url),
            Some((scheme, rest)) => {
                let (place, query) = rest
                    .split_once('?')
                    .map_or((rest, None), |(place, query)| (place, Some(query)));
                let host = place.split_once('/').map_or(place, |(host, _)| host);
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                format!("{scheme}://{host}/{database}{query}")
            }
        }
    }

    /// Executes statements in the database `postgres`, as its owner.
    ///
    /// # Errors
    ///
    /// [`ServerError::Postgres`].
    pub async fn execute(&self, sql: &str) -> Result<(), ServerError> {
        let (client, connection) = tokio_postgres::connect(&self.url_of("postgres"), NoTls).await?;
        let connection = tokio::spawn(connection);
        let done = client.batch_execute(sql).await;
        drop(client);
        let _ = connection.await;
        Ok(done?)
    }

    /// Returns the host and the port of a server that was started here.
    pub fn address(&self) -> Option<(&'static str, u16)> {
        self.own.as_ref().map(|own| ("127.0.0.1", own.port))
    }

    /// Returns the folder of a server that was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.as_path())
    }

    /// Stops the server.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotOurs`] for one that was there.
    pub async fn stop(&self, how: Stop) -> Result<(), ServerError> {
        let own = self.own.as_ref().ok_or(ServerError::NotOurs)?;
        let mode = if how == Stop::Fast {
            "fast"
        } else {
            "immediate"
        };
        std::fs::write(own.folder.join("again"), "")?;
        own.run("pg_ctl", ["stop", "-w", "-m", mode, "-D", &own.data()])
            .await?;
        let supervisor = own
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        supervisor.into_iter().for_each(end);
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotOurs`] for one that was there; any other if it does not start.
    pub async fn resume(&self) -> Result<(), ServerError> {
        let own = self.own.as_ref().ok_or(ServerError::NotOurs)?;
        let mut command = own.command("sh");
        command
            .args(["-c", SUPERVISE, "sh"])
            .arg(own.binaries.join("postgres"))
            .args(["-D", &own.data()]);
        let socket = own.folder.display();
        command.args([
            "-c",
            &format!("port={}", own.port),
            "-c",
            &format!("unix_socket_directories={socket}"),
        ]);
        for setting in &own.settings {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::create(own.folder.join("log"))?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        *own.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(command.spawn()?);
        let again = own.folder.join("again");
        if again.exists() {
            std::fs::remove_file(again)?;
        }
        let begun = Instant::now();
        loop {
            match self.execute("SELECT 1").await {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > START_TIMEOUT => {
                    let log = std::fs::read_to_string(own.folder.join("log")).unwrap_or_default();
                    return Err(ServerError::Silent(format!("{error}\n{log}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
