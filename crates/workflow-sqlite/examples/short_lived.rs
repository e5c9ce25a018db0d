//! A short-lived process (a command, a CI job, a serverless handler, cron): it executes every due
//! run, delivers every event, says when the next run is due, and ends.
//!
//! CI: run

use std::sync::Arc;
use std::time::Duration;

use tracker_http::testing::FaultServer;
use workflow_engine::{Context, Engine, Failure, HttpTransport, Workflow};
use workflow_sqlite::SqliteStore;

const NIGHTLY: Workflow<u32, ()> = Workflow::new("nightly");

async fn nightly(ctx: Context, nights: u32) -> Result<(), Failure> {
    for night in 1..=nights {
        let report = || async {
            println!("the report of night {night}");
            Ok::<_, Failure>(())
        };
        ctx.step("report", report).await?;
        ctx.sleep(Duration::from_millis(1_200)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // A receiver on loopback. In production it is any endpoint that accepts JSON.
    let receiver = FaultServer::start().await?;
    let mut processes = 0;
    loop {
        // A process begins here.
        processes += 1;
        let store = SqliteStore::open(folder.path().join("runs.db"))?;
        let closed = store.closed();
        let sink = HttpTransport::builder(receiver.url()).build()?;
        let builder = Engine::builder()
            .store(Arc::new(store))
            .workflow(&NIGHTLY, nightly);
        let engine = builder.sink("receiver", Arc::new(sink)).build()?;
        engine.start(&NIGHTLY, "nightly", 2).await?;
        let idle = engine.run_until_idle().await?;
        assert!(idle.report.is_complete(), "{}", idle.report);
        drop(engine);
        closed.await;
        // The process ends here. A timer, a cron entry or a delayed message starts the next one at
        // `next_wake`.
        let Some(next_wake) = idle.next_wake else {
            break;
        };
        println!("the next process is due at {next_wake}");
        tokio::time::sleep(Duration::from_millis(1_300)).await;
    }
    println!(
        "{processes} processes, {} events received",
        receiver.distinct()
    );
    assert_eq!(processes, 3);
    Ok(())
}
