//! Cancel: a suspended run ends at once, an executing run ends after its current step, and no code
//! can catch the cancellation.
//!
//! CI: run

use std::sync::Arc;
use std::time::Duration;

use workflow_engine::{Cancel, Cancelled, Context, Engine, Failure, Outcome, Workflow};
use workflow_sqlite::SqliteStore;

const TRIAL: Workflow<(), ()> = Workflow::new("trial");
const IMPORT: Workflow<u32, u32> = Workflow::new("import");

async fn trial(ctx: Context, (): ()) -> Result<(), Failure> {
    ctx.sleep(Duration::from_secs(30 * 24 * 3600)).await;
    Ok(ctx.step("bill", || async { Ok::<_, Failure>(()) }).await?)
}

async fn import(ctx: Context, pages: u32) -> Result<u32, Failure> {
    for _ in 0..pages {
        let page = || async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, Failure>(())
        };
        // Code that ignores every error is cancelled as well, because a cancel is not an error.
        let _ = ctx.step("page", page).await;
    }
    Ok(pages)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("runs.db"))?;
    let builder = Engine::builder()
        .store(Arc::new(store))
        .workflow(&TRIAL, trial)
        .workflow(&IMPORT, import);
    let engine = builder.build()?;

    assert!(matches!(
        engine.run(&TRIAL, "ada", ()).await?,
        Outcome::Suspended { .. }
    ));
    assert_eq!(
        engine.cancel("ada", "she has subscribed").await?,
        Cancelled::Done
    );

    let cancel = async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        engine.cancel("big", Cancel::new("the wrong file")).await
    };
    let (outcome, cancelled) = tokio::join!(engine.run(&IMPORT, "big", 1_000), cancel);
    assert_eq!(cancelled?, Cancelled::Requested);
    assert_eq!(
        outcome?,
        Outcome::Cancelled {
            reason: Some("the wrong file".to_owned())
        }
    );
    let pages = engine.handle(&IMPORT, "big").completed_steps().await?.len();
    println!("cancelled after {pages} pages, each of them recorded");
    Ok(())
}
