//! A timeout for each attempt: an attempt that takes too long is dropped, and the next one has the
//! full time.
//!
//! CI: run

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use workflow_engine::{Context, Engine, Failure, MemoryStore, Outcome, Retry, Workflow};

const FETCH: Workflow<(), String> = Workflow::new("fetch");

async fn fetch(ctx: Context, (): ()) -> Result<String, Failure> {
    let attempts = AtomicU32::new(0);
    let hangs_once = || async {
        if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
        Ok::<_, Failure>("the answer".to_owned())
    };
    let step = ctx
        .step("fetch", hangs_once)
        .timeout(Duration::from_millis(100));
    Ok(step
        .retry(Retry::constant(Duration::from_millis(50)))
        .await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&FETCH, fetch)
        .build()?;
    assert_eq!(
        engine.run(&FETCH, "one", ()).await?,
        Outcome::Completed("the answer".to_owned())
    );
    let history = engine.history("one").await?;
    for event in &history {
        println!("{:>2}  {}", event.seq, event.kind.type_name());
    }
    assert!(
        history
            .iter()
            .any(|event| event.kind.type_name() == "timeout.exceeded")
    );
    Ok(())
}
