//! Retry and backoff: attempts, delays, a time budget, and errors that are not retried.
//!
//! CI: run

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use workflow_engine::{
    Context, DurableError, Engine, MemoryStore, Outcome, Retry, StepFailure, Workflow,
};

/// Error of the gateway. The error is recorded, and a replay returns it with this type.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum GatewayError {
    #[error("the gateway is busy")]
    Busy,
    #[error("the card was declined")]
    Declined,
}

impl DurableError for GatewayError {}

const CHARGE: Workflow<u32, u32, String> = Workflow::new("charge");

async fn charge(ctx: Context, cents: u32) -> Result<u32, String> {
    let attempts = AtomicU32::new(0);
    let gateway = || async {
        match attempts.fetch_add(1, Ordering::Relaxed) {
            _ if cents > 100_000 => Err(GatewayError::Declined),
            0 | 1 => Err(GatewayError::Busy),
            _ => Ok(cents),
        }
    };
    let policy = Retry::exponential(Duration::from_millis(20), 2.0, Duration::from_secs(5))
        .and_then(|policy| policy.attempts(6))
        .map_err(|error| error.to_string())?
        .within(Duration::from_secs(60));
    ctx.step("charge", gateway)
        .retry(policy)
        // Another attempt would be declined too.
        .retry_if(|failure| !matches!(failure, StepFailure::Returned(GatewayError::Declined)))
        .await
        .map_err(|error| format!("after {} attempts: {}", error.attempt, error.cause))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&CHARGE, charge)
        .build()?;
    assert_eq!(
        engine.run(&CHARGE, "small", 4_200).await?,
        Outcome::Completed(4_200)
    );
    for event in engine.history("small").await? {
        println!(
            "{:>2}  {}  {}",
            event.seq,
            event.timestamp,
            event.kind.type_name()
        );
    }
    let Outcome::Failed(failure) = engine.run(&CHARGE, "large", 4_200_000).await? else {
        panic!("it fails")
    };
    assert_eq!(
        failure.error.as_deref(),
        Some("after 1 attempts: the card was declined")
    );
    println!("{failure}");
    Ok(())
}
