//! A step's result must be serde: it is recorded.

use workflow_engine::{Context, Failure};

struct Receipt;

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    ctx.step("charge", || async { Ok::<_, Failure>(Receipt) }).await?;
    Ok(())
}

fn main() {
    let _ = order;
}
