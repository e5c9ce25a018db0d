//! A step's body must be `Send`, like the workflow that awaits it.

use std::rc::Rc;

use workflow_engine::{Context, Failure};

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    let receipt = Rc::new(17);
    ctx.step("charge", || async { Ok::<_, Failure>(*receipt) }).await?;
    Ok(())
}

fn main() {
    let _ = order;
}
