//! One run for each order: three steps call a real HTTP shop, and every event is delivered over a
//! real socket. Runs are kept on SQLite, so the program can be killed at any moment; started again,
//! it continues.
//!
//! CI: run
//!
//! `cargo run --release --example quickstart -- [orders.jsonl] [--endpoint URL] [--data DIR]
//! [--store sqlite|memory]`
//!
//! Runs and undelivered events are kept in `.wf/quickstart`, or in the folder that `--data` names;
//! `--store memory` keeps them only in memory. Without `--endpoint`, the program starts its own
//! receiver, which answers 503 for the first half second and loses one acknowledgement. With
//! `--endpoint`, `TRACKER_TOKEN` is sent as the bearer token if it is set. The exit code is 0 if
//! every accepted event was delivered and the receiver counted the same; otherwise it is 1, and 2
//! for wrong usage.

mod arguments;
mod orders;
mod progress;
mod shop;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arguments::{Arguments, Storage};
use futures::{StreamExt, stream};
use orders::Order;
use progress::Progress;
use shop::{Shop, ShopClient};
use tracker_http::testing::{Answer, FaultServer};
use workflow_engine::{
    Context, Engine, Failure, HttpTransport, MemoryStore, Outcome, RunFilter, Store, Workflow,
};
use workflow_sqlite::SqliteStore;

const ORDER: Workflow<Order, String> = Workflow::new("order");

/// Maximum number of orders that are processed at the same time.
const MAX_CONCURRENT_ORDERS: usize = 32;

async fn order(ctx: Context, shop: ShopClient, order: Order) -> Result<String, Failure> {
    let reservation = ctx.step("reserve", || shop.call("reserve", &order)).await?;
    let receipt = ctx.step("charge", || shop.call("charge", &order)).await?;
    let tracking = ctx.step("ship", || shop.call("ship", &order)).await?;
    Ok(format!("{reservation} {receipt} {tracking}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\nusage: {}", Arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match quickstart(arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn quickstart(arguments: Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let orders = orders::read(arguments.orders.as_deref())?;
    let shop = Shop::open().await?;
    let receiver = if arguments.endpoint.is_none() {
        Some(faulty_receiver().await?)
    } else {
        None
    };
    let endpoint = arguments
        .endpoint
        .or(receiver.as_ref().map(|receiver| receiver.url()))
        .unwrap_or_default();
    println!(
        "{} orders, three steps each at {}; events go to {endpoint}",
        orders.valid.len(),
        shop.address()
    );
    if receiver.is_some() {
        println!(
            "that receiver answers 503 for the first half second and loses one acknowledgement"
        );
    }

    let store: Arc<dyn Store> = match &arguments.storage {
        Storage::Folder(folder) => Arc::new(SqliteStore::open(folder.join("runs.db"))?),
        Storage::Memory => Arc::new(MemoryStore::new()),
    };
    let mut transport = HttpTransport::builder(endpoint);
    if let Ok(token) = std::env::var("TRACKER_TOKEN") {
        transport = transport.token(token);
    }
    let client = shop.client();
    let engine = Engine::builder()
        .store(store)
        .workflow(&ORDER, move |ctx, input| order(ctx, client.clone(), input))
        .sink("receiver", Arc::new(transport.build()?))
        .build()?;
    let before = recovered(&engine, &arguments.storage).await?;
    let worker = tokio::spawn({
        let engine = engine.clone();
        async move { engine.work().await }
    });

    let started = Instant::now();
    let progress = Progress::new(orders.valid.len());
    // The run of a finished order returns its outcome; the run of an unfinished one continues.
    let runs = stream::iter(orders.valid).map(|order| engine.run(&ORDER, order.id.clone(), order));
    let mut totals = Totals::default();
    let mut outcomes = runs.buffer_unordered(MAX_CONCURRENT_ORDERS);
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        let outcome = tokio::select! {
            outcome = outcomes.next() => outcome,
            _ = &mut interrupted => {
                println!("interrupted: start it again to continue");
                break;
            }
        };
        let Some(outcome) = outcome else { break };
        progress.advance();
        match outcome {
            Ok(Outcome::Completed(_)) => totals.completed += 1,
            Ok(_) => totals.failed += 1,
            Err(error) => {
                totals.refused += 1;
                eprintln!("{error}");
            }
        }
    }
    drop(outcomes);
    progress.finish();
    let report = engine.shutdown(Duration::from_secs(30)).await;
    worker.await?;

    println!();
    println!("  runs       {:>7}", totals.completed + totals.failed);
    println!("  completed  {:>7}", totals.completed);
    println!("  failed     {:>7}", totals.failed);
    println!("  before     {:>7}", before.finished);
    println!("  steps now  {:>7}", shop.calls());
    if totals.refused + orders.malformed > 0 {
        println!("  not run    {:>7}", totals.refused + orders.malformed);
    }
    println!("  seconds    {:>7.2}", started.elapsed().as_secs_f64());
    println!();
    let Some(sink) = report.sink("receiver") else {
        return Ok(false);
    };
    println!("{}", sink.books);
    if let Some(stop) = &sink.stop {
        println!("delivery ended early: {stop}");
    }
    let agrees = receiver.is_none_or(|receiver| {
        let received = receiver.received();
        let distinct = receiver.distinct();
        println!(
            "the receiver counted {distinct} events, after {} duplicates were dropped",
            received - distinct
        );
        distinct as u64 == sink.books.accepted - before.settled
    });
    if let Storage::Folder(folder) = &arguments.storage {
        println!(
            "kept in {}: start it again, and nothing is done twice",
            folder.display()
        );
    }
    Ok(report.is_complete() && sink.books.is_balanced() && agrees)
}

/// Counts of the work of earlier processes.
struct Before {
    /// Number of runs that had ended.
    finished: usize,
    /// Number of events that had been delivered or rejected.
    settled: u64,
}

/// Prints what earlier processes have left, and returns the counts.
async fn recovered(
    engine: &Engine,
    storage: &Storage,
) -> Result<Before, Box<dyn std::error::Error>> {
    let all = engine
        .list(&RunFilter {
            limit: usize::MAX >> 1,
            ..RunFilter::default()
        })
        .await?;
    let finished = all.iter().filter(|run| run.status.is_terminal()).count();
    let report = engine.report().await;
    let books = report
        .sink("receiver")
        .map(|sink| sink.books)
        .unwrap_or_default();
    match storage {
        Storage::Memory => println!("kept in memory: a kill loses everything"),
        Storage::Folder(folder) if all.is_empty() => {
            println!("kept in {}: nothing to recover", folder.display())
        }
        Storage::Folder(folder) => println!(
            "kept in {}: recovered {} runs under way, {finished} finished, {} events not delivered yet",
            folder.display(),
            all.len() - finished,
            books.pending(),
        ),
    }
    Ok(Before {
        finished,
        settled: books.accepted - books.pending(),
    })
}

/// Starts a receiver that fails like a real one: it is late, and loses one acknowledgement.
async fn faulty_receiver() -> std::io::Result<Arc<FaultServer>> {
    let receiver = Arc::new(FaultServer::start().await?);
    receiver.always(Answer::Status(503));
    tokio::spawn({
        let receiver = receiver.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            receiver.then(Answer::LoseAnswer);
            receiver.always(Answer::Accept);
        }
    });
    Ok(receiver)
}

#[derive(Default)]
struct Totals {
    completed: usize,
    failed: usize,
    refused: usize,
}
