//! A step's error must be durable: it is recorded, and decoded to its own type.

use workflow_engine::{Context, Failure};

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    let charge = || async { Err::<(), std::io::Error>(std::io::ErrorKind::NotFound.into()) };
    let _ = ctx.step("charge", charge).await;
    Ok(())
}

fn main() {
    let _ = order;
}
