//! A step borrows from its workflow, so it cannot be taken to another task.

use workflow_engine::{Context, Failure};

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    let step = ctx.step("charge", || async { Ok::<_, Failure>(()) });
    tokio::spawn(step);
    Ok(())
}

fn main() {
    let _ = order;
}
