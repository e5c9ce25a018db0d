//! Steps and recovery: a process dies in the middle of a run, and the next one continues after the
//! last record.
//!
//! CI: run

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workflow_engine::{Context, Engine, Failure, Outcome, Workflow};
use workflow_sqlite::SqliteStore;

const ORDER: Workflow<u32, String> = Workflow::new("order");

/// Executions of the step `charge`, in all processes together.
static CHARGED: AtomicU32 = AtomicU32::new(0);
/// Executions of the step `ship`, in all processes together.
static SHIPPED: AtomicU32 = AtomicU32::new(0);

async fn order(ctx: Context, cents: u32) -> Result<String, Failure> {
    let charge = || async {
        CHARGED.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Failure>(format!("charged {cents} cents"))
    };
    let receipt = ctx.step("charge", charge).await?;
    let ship = || async {
        if SHIPPED.fetch_add(1, Ordering::Relaxed) == 0 {
            // The first process waits here until it dies.
            std::future::pending::<()>().await;
        }
        Ok::<_, Failure>("shipped")
    };
    ctx.step("ship", || async { ship().await.map(str::to_owned) })
        .await?;
    Ok(receipt)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("runs.db");

    // The first process charges the card, and dies while it ships.
    let store = SqliteStore::open(&path)?;
    let closed = store.closed();
    let engine = Engine::builder()
        .store(Arc::new(store))
        .workflow(&ORDER, order)
        .build()?;
    let died = tokio::time::timeout(
        Duration::from_millis(300),
        engine.run(&ORDER, "order-17", 4_200),
    )
    .await;
    assert!(died.is_err());
    drop(engine);
    closed.await;

    // In the second process, `run` with the same id continues the run. A worker (`Engine::work`)
    // would continue it without this call.
    let store = SqliteStore::open(&path)?;
    let engine = Engine::builder()
        .store(Arc::new(store))
        .workflow(&ORDER, order)
        .build()?;
    let outcome = engine.run(&ORDER, "order-17", 4_200).await?;
    assert_eq!(outcome, Outcome::Completed("charged 4200 cents".to_owned()));
    for event in engine.history("order-17").await? {
        println!("{:>2}  {}", event.seq, event.kind.type_name());
    }
    println!(
        "charged {} time, shipped {} times",
        CHARGED.load(Ordering::Relaxed),
        SHIPPED.load(Ordering::Relaxed)
    );
    assert_eq!(
        (
            CHARGED.load(Ordering::Relaxed),
            SHIPPED.load(Ordering::Relaxed)
        ),
        (1, 2)
    );
    Ok(())
}
