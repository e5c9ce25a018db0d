//! The process of a server for tests, its folder, and the programs that it is made of.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::testing::error::ServerError;

/// How long a server may take to start or stop.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the server until its own input ends, which it does when the process that started it ends,
/// however it does. Then the folder is removed, unless the server is to be started again.
pub(super) const SUPERVISE: &str = r#""$@" & pid=$!
cat > /dev/null
kill -INT $pid
wait $pid
[ -e again ] || rm -rf "$PWD"
"#;

/// A server that this process has started.
pub(super) struct ServerProcess {
    pub(super) binaries: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    pub(super) user: Option<(u32, u32)>,
    pub(super) settings: Vec<String>,
    pub(super) supervisor: Mutex<Option<Child>>,
}

impl ServerProcess {
    /// Finds the programs, a folder, a port, and a user.
    pub(super) fn new(settings: Vec<String>) -> Result<Self, ServerError> {
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

    pub(super) fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// Makes the folder of the data.
    pub(super) async fn create(&self) -> Result<(), ServerError> {
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

    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    pub(super) async fn run<'a>(
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
impl Drop for ServerProcess {
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
pub(super) fn end(mut supervisor: Child) {
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
