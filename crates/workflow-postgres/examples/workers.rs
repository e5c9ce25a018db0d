//! Two processes share the work of one database; one of them is killed, and the other goes on where
//! it was.
//!
//! `cargo run --example workers` starts a PostgreSQL of its own for it, or takes that of
//! `WF_TEST_PG_URL`.
//!
//! CI: postgres

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tracker_core::testing::MemoryTransport;
use workflow_engine::{Context, Engine, Failure, Outcome, Workflow};
use workflow_postgres::PostgresStore;
use workflow_postgres::testing::Server;

const ORDER: Workflow<u32, String> = Workflow::new("order");
const ORDERS: u32 = 24;

async fn order(ctx: Context, number: u32) -> Result<String, Failure> {
    let worker = std::env::args().nth(1).unwrap_or_default();
    let work = |what: &'static str| {
        let worker = worker.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(120)).await;
            println!("  worker {worker}: {what} order {number}");
            Ok::<_, Failure>(worker)
        }
    };
    let charged = ctx.step("charge", || work("charged")).await?;
    let packed = ctx.step("pack", || work("packed")).await?;
    ctx.sleep(Duration::from_millis(100)).await;
    let shipped = ctx.step("ship", || work("shipped")).await?;
    Ok(format!("{charged}{packed}{shipped}"))
}

async fn engine(url: &str) -> Result<Engine, Box<dyn std::error::Error>> {
    let store = PostgresStore::connect(url).await?;
    // A short lease, so that the other one takes over soon. Thirty seconds are the default.
    let builder = Engine::builder()
        .store(Arc::new(store))
        .workflow(&ORDER, order)
        .lease(Duration::from_secs(2));
    // Few at a time, so that there is something to share.
    Ok(builder
        .max_concurrent_runs(4)
        .poll_interval(Duration::from_millis(200))
        .build()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [_name, url] = &arguments[..] {
        // A worker is nothing but this; run as many as you like, on as many machines as you like.
        engine(url).await?.work().await;
        return Ok(());
    }
    let server = Server::start().await?;
    let url = server.database().await?;
    let client = engine(&url).await?;
    let handles =
        join_all((0..ORDERS).map(|n| client.start(&ORDER, format!("order-{n}"), n))).await;
    println!("{ORDERS} orders are waiting; two workers start");
    let (mut a, mut b) = (worker("A", &url)?, worker("B", &url)?);
    tokio::time::sleep(Duration::from_millis(900)).await;
    a.kill()?;
    a.wait()?;
    println!("worker A is killed in the middle of its orders");
    let mut done = BTreeMap::<String, u32>::new();
    for handle in handles {
        match handle?.result().await? {
            Outcome::Completed(by) => *done.entry(by).or_default() += 1,
            other => return Err(format!("{other:?}").into()),
        }
    }
    b.kill()?;
    b.wait()?;
    println!("every order is complete; its three steps were done by:");
    done.iter()
        .for_each(|(by, orders)| println!("  {by}: {orders}"));

    // Every event is in the database until a sink has it, for every writer.
    let sink = Arc::new(MemoryTransport::new());
    let store = PostgresStore::connect(&url).await?;
    let report = Engine::builder()
        .store(Arc::new(store))
        .sink("audit", sink)
        .build()?
        .flush()
        .await;
    println!("{report}");
    if !report.is_complete() {
        return Err("not everything was delivered".into());
    }
    Ok(())
}

fn worker(name: &str, url: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args([name, url])
        .stdin(Stdio::null())
        .spawn()
}
