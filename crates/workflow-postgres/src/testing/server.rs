//! A PostgreSQL server that a test starts from the machine's binaries, and that ends with it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

/// The variable with the connection string of a server that is used instead of one of our own.
const URL: &str = "WF_TEST_PG_URL";
/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Runs the server until its own input ends, which it does when the process that started it ends,
/// however it does. Then the folder is removed, unless the server is to be started again.
const SUPERVISE: &str = r#""$@" & pid=$!
cat > /dev/null
kill -INT $pid
wait $pid
[ -e again ] || rm -rf "$PWD"
"#;

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
    own: Option<Own>,
    url: String,
}

/// A server that this process has started.
struct Own {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    supervisor: Mutex<Option<Child>>,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Transactions under way are rolled back and connections closed.
    Fast,
    /// As if it had crashed: the next start recovers.
    Immediate,
}

/// A server that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// PostgreSQL is not installed.
    #[error("PostgreSQL is not installed: apt-get install postgresql, or set WF_TEST_PG_URL")]
    NotInstalled,
    /// A program of PostgreSQL failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        output: String,
    },
    /// It does not answer in time.
    #[error("the server does not answer: {0}")]
    Silent(String),
    /// It was not started by this process.
    #[error("the server was there before: it is not stopped")]
    NotOurs,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server refused.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
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
        let own = Own::new(settings.iter().map(|&setting| setting.to_owned()).collect())?;
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
        let own = Own::new(primary.settings.clone())?;
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

    async fn of(own: Own) -> Result<Self, ServerError> {
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
                Err(error) if begun.elapsed() > PATIENCE => {
                    let log = std::fs::read_to_string(own.folder.join("log")).unwrap_or_default();
                    return Err(ServerError::Silent(format!("{error}\n{log}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Own {
    /// Finds the programs, a folder, a port, and a user.
    fn new(settings: Vec<String>) -> Result<Self, ServerError> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let binaries = binaries().ok_or(ServerError::NotInstalled)?;
        let name = format!(
            "wf-postgres-{}-{}",
            std::process::id(),
            LAST.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let user = other_user()?;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        Ok(Self {
            binaries,
            folder,
            port,
            user,
            settings,
            supervisor: Mutex::new(None),
        })
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// Makes the folder of the data.
    async fn create(&self) -> Result<(), ServerError> {
        let data = self.data();
        self.run(
            "initdb",
            [
                "-D",
                &data,
                "-U",
                "wf",
                "--no-sync",
                "--locale=C",
                "--encoding=UTF8",
                "--auth=trust",
            ],
        )
        .await?;
        // Its owner needs no password, which would cost a moment of hashing per connection; any
        // other user does.
        let access = "local all all trust\nhost all,replication wf 127.0.0.1/32 trust\n\
                      host all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.folder.join("data/pg_hba.conf"), access)?;
        Ok(())
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    async fn run<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), ServerError> {
        let mut command = self.command(self.binaries.join(program));
        command.args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .map_err(io::Error::other)??;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(ServerError::Program {
            program: program.into(),
            output: String::from_utf8_lossy(&said).into_owned(),
        })
    }
}

/// A server that has nobody to serve stops at once.
impl Drop for Own {
    fn drop(&mut self) {
        let supervisor = self
            .supervisor
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        supervisor.into_iter().for_each(end);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Ends a server: its supervisor stops it when its input ends.
fn end(mut supervisor: Child) {
    drop(supervisor.stdin.take());
    let _ = supervisor.wait();
}

/// Returns where the programs of PostgreSQL are: on the path, or where distributions put them.
fn binaries() -> Option<PathBuf> {
    let has =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(has) {
        // A link on the path may lead to the folder with the others.
        let real = folder.join("postgres").canonicalize().ok()?;
        return Some(real.parent()?.to_owned());
    }
    let versions = |folder: &str, inner: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join(inner)).collect()
    };
    let mut found: Vec<_> = [
        ("/usr/lib/postgresql", "bin"),
        ("/usr/local/lib/postgresql", "bin"),
        ("/opt", "bin"),
    ]
    .into_iter()
    .flat_map(|(folder, inner)| versions(folder, inner))
    .filter(has)
    .collect();
    found.sort_by_key(|folder| version(folder));
    found.pop()
}

fn version(folder: &Path) -> u32 {
    let name = folder
        .parent()
        .and_then(Path::file_name)
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    name.parse().unwrap_or(0)
}

/// Returns whom to run the server as, if this process is root.
fn other_user() -> io::Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let mut fields = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?
            .split(':')
            .skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    found.map(Some).ok_or_else(|| {
        io::Error::other("PostgreSQL refuses to run as root, and there is no other user")
    })
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
