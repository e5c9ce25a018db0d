//! A fallback after a failure: the final failure of a step is recorded, so a replay takes the same
//! branch.
//!
//! CI: run

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use workflow_engine::{Context, Engine, Failure, MemoryStore, Outcome, Workflow};

const NOTIFY: Workflow<String, String> = Workflow::new("notify");

/// State of the mail server, which recovers right after its first failure.
static MAIL_IS_UP: AtomicBool = AtomicBool::new(false);

async fn notify(ctx: Context, whom: String) -> Result<String, Failure> {
    let mail = || async {
        let is_up = MAIL_IS_UP.swap(true, Ordering::Relaxed);
        if is_up {
            Ok(())
        } else {
            Err(Failure::new("the mail server is down"))
        }
    };
    let way = match ctx.step("mail", mail).await {
        Ok(()) => "mail",
        Err(error) => {
            println!("{error}; so by text message");
            ctx.step("text message", || async { Ok::<_, Failure>(()) })
                .await?;
            "text message"
        }
    };
    // The run suspends here, and is replayed later. The mail server is up by then, but the replay
    // still takes the recorded branch.
    ctx.sleep(Duration::from_millis(1_100)).await;
    Ok(format!("{whom} was told by {way}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&NOTIFY, notify)
        .build()?;
    let worker = tokio::spawn({
        let engine = engine.clone();
        async move { engine.work().await }
    });
    let handle = engine.start(&NOTIFY, "ada", "Ada".to_owned()).await?;
    assert_eq!(
        handle.result().await?,
        Outcome::Completed("Ada was told by text message".to_owned())
    );
    assert!(engine.shutdown(Duration::from_secs(5)).await.is_complete());
    worker.await?;
    Ok(())
}
