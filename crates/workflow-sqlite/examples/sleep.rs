//! A durable sleep: the run is suspended, none of it stays in memory, and another process wakes it
//! on time.
//!
//! CI: run

use std::sync::Arc;
use std::time::{Duration, Instant};

use workflow_engine::{Context, Engine, Failure, Outcome, Workflow};
use workflow_sqlite::SqliteStore;

const REMIND: Workflow<String, String> = Workflow::new("remind");

async fn remind(ctx: Context, whom: String) -> Result<String, Failure> {
    ctx.step("invite", || tell("inviting", &whom)).await?;
    // A sleep of a month works in the same way.
    ctx.sleep(Duration::from_millis(1_500)).await;
    ctx.step("remind", || tell("reminding", &whom)).await?;
    Ok(format!("{whom} was reminded"))
}

async fn tell(what: &str, whom: &str) -> Result<(), Failure> {
    println!("{what} {whom}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("runs.db");
    let started = Instant::now();

    let store = SqliteStore::open(&path)?;
    let closed = store.closed();
    let engine = Engine::builder()
        .store(Arc::new(store))
        .workflow(&REMIND, remind)
        .build()?;
    let outcome = engine.run(&REMIND, "ada", "Ada".to_owned()).await?;
    let Outcome::Suspended { resume_at, .. } = outcome else {
        panic!("it sleeps")
    };
    println!("the run sleeps until {resume_at}, and this process ends");
    drop(engine);
    closed.await;

    let engine = Engine::builder()
        .store(Arc::new(SqliteStore::open(&path)?))
        .workflow(&REMIND, remind)
        .build()?;
    let worker = tokio::spawn({
        let engine = engine.clone();
        async move { engine.work().await }
    });
    let outcome = engine.handle(&REMIND, "ada").result().await?;
    assert_eq!(outcome, Outcome::Completed("Ada was reminded".to_owned()));
    assert!(started.elapsed() >= Duration::from_millis(1_500));
    println!("{}", engine.shutdown(Duration::from_secs(5)).await);
    worker.await?;
    Ok(())
}
