//! A short-lived program: emit, then shut down and get the fate of every event. Nothing runs in the
//! background.
//!
//! CI: build

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracker_http::HttpTracker;

const USAGE: &str = "\
usage: cargo run --example scoped -- <URL>

Sends three events to <URL>, for instance http://127.0.0.1:8080/v1/events, by POST {\"events\":[...]}.
With TRACKER_TOKEN in the environment, requests carry Authorization: Bearer <token>.

exit code: 0 everything was delivered, 1 not everything was, 2 wrong arguments";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_id: String,
    r#type: &'static str,
    number: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Some(url) = env::args().nth(1) else {
        eprintln!("{USAGE}");
        return Ok(ExitCode::from(2));
    };

    let mut builder = HttpTracker::builder(url);
    if let Ok(token) = env::var("TRACKER_TOKEN") {
        builder = builder.token(token);
    }
    let tracker = builder.scoped()?;
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    for number in 0..3 {
        // The id allows the server to drop duplicates.
        tracker.emit(Event {
            event_id: format!("{run}-{number}"),
            r#type: "example.scoped",
            number,
        })?;
    }

    let report = tracker.shutdown(Duration::from_secs(10)).await;
    println!("{report}");
    println!("{} events were handed back", report.returned.len());
    for rejection in &report.rejections {
        println!("event {} was rejected: {}", rejection.seq, rejection.reason);
    }
    match report.ok() {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(undelivered) => {
            println!("{undelivered}");
            Ok(ExitCode::FAILURE)
        }
    }
}
