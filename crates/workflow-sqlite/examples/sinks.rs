//! Several sinks, each with its own cursor: a sink that is down delays neither the runs nor the
//! other sinks, and receives every event once it is back.
//!
//! CI: run

use std::sync::Arc;
use std::time::Duration;

use tracker_core::Config;
use tracker_http::testing::{Answer, FaultServer};
use workflow_engine::{Context, Engine, Failure, HttpTransport, Workflow};
use workflow_sqlite::SqliteStore;

const ORDER: Workflow<u32, u32> = Workflow::new("order");

async fn order(ctx: Context, n: u32) -> Result<u32, Failure> {
    ctx.step("charge", || async { Ok::<_, Failure>(()) })
        .await?;
    Ok(n)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let metrics = FaultServer::start().await?;
    let audit = FaultServer::start().await?;
    audit.always(Answer::Status(503));
    let engine = Engine::builder()
        .store(Arc::new(SqliteStore::open(folder.path().join("runs.db"))?))
        .workflow(&ORDER, order)
        .sink(
            "metrics",
            Arc::new(HttpTransport::builder(metrics.url()).build()?),
        )
        .sink(
            "audit",
            Arc::new(HttpTransport::builder(audit.url()).build()?),
        )
        .delivery(
            Config::builder()
                .flush_timeout(Duration::from_secs(1))
                .build()?,
        )
        .build()?;
    for n in 0..100 {
        let _ = engine.run(&ORDER, format!("order-{n}"), n).await?;
    }
    let report = engine.flush().await;
    println!("with one sink down:\n{report}");
    assert_eq!((metrics.distinct(), audit.distinct()), (400, 0));

    audit.always(Answer::Accept);
    let report = engine.flush().await;
    println!("and up again:\n{report}");
    assert!(report.is_complete());
    assert_eq!(audit.distinct(), 400);
    Ok(())
}
