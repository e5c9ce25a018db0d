//! Through PgBouncer with transaction pooling: a connection is another one for each transaction, so
//! that nothing that a session keeps can be relied on.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::{address, alone, options, runtime, server, sized};
use workflow_engine::{Context, Engine, Failure, Outcome, Store, TokioClock, Workflow};
use workflow_postgres::PostgresStore;
use workflow_postgres::testing::Server;
use workflow_testing::conformance::{self, model};

/// A proxy in front of a server.
struct Proxy {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Proxy {
    /// Starts one with few connections to the server; `None`, with a word on it, where PgBouncer is
    /// not installed.
    fn start(server: &Server) -> Option<Self> {
        let (host, to) = address(server)?;
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/usr/local/bin/pgbouncer",
        ];
        let Some(program) = program
            .into_iter()
            .find(|program| std::fs::exists(program).unwrap_or(false))
        else {
            assert!(
                std::env::var_os("WF_NO_SKIPS").is_none(),
                "PgBouncer is not installed: apt-get install pgbouncer"
            );
            eprintln!("skipped: PgBouncer is not installed: apt-get install pgbouncer");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("wf-pgbouncer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "[databases]\n* = host={host} port={to} user=wf\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 500\nunix_socket_dir =\n"
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            // It refuses to run as root, too.
            chown(&folder, Some(65_534), Some(65_534)).unwrap();
            command.uid(65_534).gid(65_534);
        }
        let process = command.spawn().unwrap();
        let proxy = Self {
            process,
            folder,
            port,
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the proxy does not answer"
            );
            std::thread::yield_now();
        }
        Some(proxy)
    }

    fn url(&self) -> String {
        format!("host=127.0.0.1 port={} user=wf dbname=postgres", self.port)
    }

    async fn fresh(&self) -> Arc<dyn Store> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let schema = format!(
            "proxy {} {}",
            std::process::id(),
            LAST.fetch_add(1, Ordering::Relaxed)
        );
        Arc::new(
            options()
                .schema(schema)
                .listen(false)
                .connect(&self.url())
                .await
                .unwrap(),
        )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_store_conforms_through_a_proxy_that_pools_transactions() {
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    let Some(proxy) = Proxy::start(server) else {
        return;
    };
    runtime().block_on(async {
        conformance::all(|| proxy.fresh()).await;
        model::agrees(
            || proxy.fresh(),
            model::Sequences {
                seeds: 0..sized(10, 100),
                operations: 100,
            },
        )
        .await;
    });
}

#[test]
fn an_engine_works_through_a_proxy_where_nobody_hears_it() {
    const ORDER: Workflow<u64, u64> = Workflow::new("order");
    async fn order(ctx: Context, n: u64) -> Result<u64, Failure> {
        let charged = ctx.step("charge", || async { Ok::<_, Failure>(n) }).await?;
        ctx.sleep(Duration::from_millis(20)).await;
        Ok(ctx
            .step("mail", || async { Ok::<_, Failure>(charged + 1) })
            .await?)
    }
    let (_alone, Some(server)) = (alone(), server()) else {
        return;
    };
    let Some(proxy) = Proxy::start(server) else {
        return;
    };
    runtime().block_on(async {
        // The store listens and gets no notification, but workers find the runs by polling.
        let store = Arc::new(PostgresStore::connect(&proxy.url()).await.unwrap());
        let engine = || {
            let builder = Engine::builder()
                .store(store.clone())
                .clock(Arc::new(TokioClock::new()));
            builder
                .poll_interval(Duration::from_millis(50))
                .workflow(&ORDER, order)
                .build()
                .unwrap()
        };
        let (client, worker) = (engine(), engine());
        let working = tokio::spawn({
            let worker = worker.clone();
            async move { worker.work().await }
        });
        let run = async |n: u64| {
            let handle = client.start(&ORDER, format!("r{n}"), n).await.unwrap();
            assert_eq!(handle.result().await.unwrap(), Outcome::Completed(n + 1));
        };
        futures::future::join_all((0..100).map(run)).await;
        let _ = worker.shutdown(Duration::from_secs(5)).await;
        working.await.unwrap();
    });
}
