//! Parallel steps: two with `join`, many with `try_join_all`, and the first of two with `select`.
//! All of them are recorded.
//!
//! CI: run

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join, select, try_join_all};
use workflow_engine::{Context, Engine, Failure, Outcome, Workflow};
use workflow_sqlite::SqliteStore;

const TRIP: Workflow<Vec<String>, u64> = Workflow::new("trip");

async fn quote(name: &str, millis: u64) -> Result<u64, Failure> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(name.len() as u64 * 100)
}

async fn trip(ctx: Context, cities: Vec<String>) -> Result<u64, Failure> {
    // A step is a future: it does nothing until it is awaited, and it may borrow from the workflow.
    let (flight, hotel) = join(
        ctx.step("flight", || quote("flight", 60)),
        ctx.step("hotel", || quote("hotel", 40)),
    )
    .await;

    // Steps of the same name are numbered in the order of the calls: `museum` #1, #2, #3.
    let museums = cities
        .iter()
        .map(|city| ctx.step("museum", move || quote(city, 20)));
    let museums: u64 = try_join_all(museums).await?.iter().sum();

    // A deadline for a step: `select` drops the slower future. A replay takes the same branch.
    let car = match select(
        ctx.step("car", || quote("car", 30)),
        ctx.sleep(Duration::from_millis(500)),
    )
    .await
    {
        Either::Left((car, _)) => car?,
        Either::Right(_) => 0,
    };
    Ok(flight? + hotel? + museums + car)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("runs.db"))?;
    let engine = Engine::builder()
        .store(Arc::new(store))
        .workflow(&TRIP, trip)
        .build()?;
    let cities = ["Rome", "Oslo", "Lima"].map(String::from).to_vec();
    assert_eq!(
        engine.run(&TRIP, "summer", cities).await?,
        Outcome::Completed(600 + 500 + 1_200 + 300)
    );
    println!(
        "{}",
        engine
            .handle(&TRIP, "summer")
            .completed_steps()
            .await?
            .join(" ")
    );
    Ok(())
}
