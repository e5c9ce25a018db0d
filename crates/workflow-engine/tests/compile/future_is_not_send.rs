//! A workflow's future must be `Send`: a worker may be on any thread.

use std::rc::Rc;

use workflow_engine::{Context, Engine, Failure, Workflow};

const ORDER: Workflow<(), ()> = Workflow::new("order");

async fn order(ctx: Context, (): ()) -> Result<(), Failure> {
    let receipt = Rc::new(17);
    ctx.step("charge", || async { Ok::<_, Failure>(()) }).await?;
    drop(receipt);
    Ok(())
}

fn main() {
    let _ = Engine::builder().workflow(&ORDER, order);
}
