//! A short-lived process (a command, a CI job, a serverless handler, cron): it does what can be
//! done now, delivers every event, says when there will be work again, and ends.
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
    // A receiver on loopback; yours is anything that takes JSON.
    let receiver = FaultServer::start().await?;
    let mut processes = 0;
    loop {
        // One process from here ...
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
        // ... to here. Whoever starts it again uses `next_wake`: a cron entry, a queue with delays,
        // a timer.
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
