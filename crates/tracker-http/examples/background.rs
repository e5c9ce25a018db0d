//! A long-lived program: a task of the tracker sends events while the program runs, and the end of
//! the program waits for it.
//!
//! CI: build

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracker_core::{Config, Observer, Reason};
use tracker_http::{HttpTracker, JsonEvent};

const USAGE: &str = "\
usage: cargo run --example background -- <URL>

Emits an event every 100 ms for 3 s and sends them to <URL>, for instance http://127.0.0.1:8080/v1/events.
With TRACKER_TOKEN in the environment, requests carry Authorization: Bearer <token>.

exit code: 0 everything was delivered, 1 not everything was, 2 wrong arguments";

/// Prints each event that the server rejects, at the moment of the rejection.
struct Complaints;

impl Observer<JsonEvent> for Complaints {
    fn rejected(&self, event: JsonEvent, reason: &Reason) {
        let event: Value = event.decode().unwrap_or_default();
        println!("rejected: {}: {reason}", event["eventId"]);
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(url) = env::args().nth(1) else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };

    let config = Config::builder()
        .linger(Duration::from_millis(500))
        .build()?;
    let mut builder = HttpTracker::builder(url)
        .config(config)
        .observer(Arc::new(Complaints));
    if let Ok(token) = env::var("TRACKER_TOKEN") {
        builder = builder.token(token);
    }
    let tracker = builder.background()?;
    let run = std::process::id();
    for tick in 0..30 {
        // An emit never waits for the network; if the buffer is full, the event comes back.
        if let Err(refused) =
            tracker.emit(json!({"eventId": format!("{run}-{tick}"), "type": "example.tick"}))
        {
            println!("{refused}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        if tick % 10 == 9 {
            println!("so far: {}", tracker.books());
        }
    }

    let report = tracker.shutdown(Duration::from_secs(10)).await;
    println!("{report}");
    println!("{} events were handed back", report.returned.len());
    match report.ok() {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(undelivered) => {
            println!("{undelivered}");
            Ok(ExitCode::FAILURE)
        }
    }
}
