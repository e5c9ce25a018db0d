//! One workflow run per order, three steps each against a real HTTP shop, every event delivered over a real socket.
//!
//! CI: run
//!
//! `cargo run --release --example quickstart -- [orders.jsonl] [--endpoint URL]`
//!
//! Without `--endpoint` it starts a receiver of its own that answers 503 for the first half second and loses one
//! acknowledgement. With it, `TRACKER_TOKEN` is sent as the bearer token, if it is set.
//! The exit code is 1 unless every accepted event is delivered and the receiver's count agrees; 2 for wrong usage.

mod orders;
mod progress;
mod shop;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use orders::Order;
use progress::Progress;
use shop::{Shop, ShopClient};
use tracker_http::testing::{Answer, FaultServer};
use workflow_engine::{Context, Engine, Failure, HttpTransport, MemoryStore, Outcome, Workflow};

const ORDER: Workflow<Order, String> = Workflow::new("order");

/// How many orders are worked on at once.
const AT_ONCE: usize = 32;

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
            eprintln!("{message}\nusage: quickstart [orders.jsonl] [--endpoint URL]");
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
    let receiver = if arguments.endpoint.is_none() { Some(faulty_receiver().await?) } else { None };
    let endpoint = arguments.endpoint.or(receiver.as_ref().map(|receiver| receiver.url())).unwrap_or_default();
    println!("{} orders, three steps each at {}; events go to {endpoint}", orders.valid.len(), shop.address());
    if receiver.is_some() {
        println!("that receiver answers 503 for the first half second and loses one acknowledgement");
    }

    let mut transport = HttpTransport::builder(endpoint);
    if let Ok(token) = std::env::var("TRACKER_TOKEN") {
        transport = transport.token(token);
    }
    let client = shop.client();
    let engine = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .workflow(&ORDER, move |ctx, input| order(ctx, client.clone(), input))
        .sink("receiver", Arc::new(transport.build()?))
        .build()?;
    let delivery = tokio::spawn({
        let engine = engine.clone();
        async move { engine.deliver().await }
    });

    let started = Instant::now();
    let progress = Progress::new(orders.valid.len());
    let runs = stream::iter(orders.valid).map(|order| engine.run(&ORDER, order.id.clone(), order));
    let mut totals = Totals::default();
    let mut outcomes = runs.buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
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
    progress.finish();
    let report = engine.shutdown(Duration::from_secs(30)).await;
    delivery.await?;

    println!();
    println!("  runs       {:>7}", totals.completed + totals.failed);
    println!("  completed  {:>7}", totals.completed);
    println!("  failed     {:>7}", totals.failed);
    println!("  steps      {:>7}", shop.calls());
    if totals.refused + orders.malformed > 0 {
        println!("  not run    {:>7}", totals.refused + orders.malformed);
    }
    println!("  seconds    {:>7.2}", started.elapsed().as_secs_f64());
    println!();
    let Some(sink) = report.sink("receiver") else { return Ok(false) };
    println!("{}", sink.books);
    if let Some(stop) = &sink.stop {
        println!("delivery ended early: {stop}");
    }
    let agrees = receiver.is_none_or(|receiver| {
        let (received, distinct) = (receiver.received(), receiver.distinct());
        println!("the receiver counted {distinct} events, after {} duplicates were dropped", received - distinct);
        distinct as u64 == sink.books.accepted
    });
    Ok(report.is_complete() && sink.books.is_balanced() && agrees)
}

/// A receiver that fails like real ones: it comes up late, and an answer of its gets lost.
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

struct Arguments {
    orders: Option<String>,
    endpoint: Option<String>,
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self { orders: None, endpoint: None };
        while let Some(argument) = arguments.next() {
            if argument == "--endpoint" {
                read.endpoint = Some(arguments.next().ok_or("--endpoint needs a URL")?);
            } else if argument.starts_with('-') || read.orders.is_some() {
                return Err(format!("unexpected argument {argument}"));
            } else {
                read.orders = Some(argument);
            }
        }
        Ok(read)
    }
}
