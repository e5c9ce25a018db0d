//! A workflow's function, its input and its output are those of its definition.

use workflow_engine::{Context, Engine, Failure, Workflow};

const ORDER: Workflow<u32, String> = Workflow::new("order");

async fn order(_: Context, _: u32) -> Result<u32, Failure> {
    Ok(17)
}

fn main() {
    let _ = Engine::builder().workflow(&ORDER, order);
}
