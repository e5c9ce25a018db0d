//! Delivery over loopback: the time of one event, and the throughput of many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::runtime::Runtime;
use tracker_core::{BufferedTracker, Config};
use tracker_http::{HttpTracker, HttpTransport, TokioClock};

use crate::harness::{compare, contender};
use crate::server;

/// As large as a lifecycle event of the engine, about 270 bytes.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_id: &'static str,
    timestamp: &'static str,
    source: &'static str,
    r#type: &'static str,
    workflow_id: &'static str,
    workflow_name: &'static str,
    seq: u64,
    step_name: &'static str,
    attempt: u32,
    duration_ms: u64,
    cached: bool,
}

#[derive(Serialize)]
struct Envelope<'a> {
    events: &'a [Event],
}

const EVENTS: usize = 200_000;
const FLUSHES: usize = 2_000;
const ROUNDS: usize = 11;

fn event(id: usize) -> Event {
    Event {
        event_id: "0199f2c4-7b1e-7c3a-9d52-3f1a5be0c7d1",
        timestamp: "2026-03-01T12:00:00.123Z",
        source: "workflow",
        r#type: "step.completed",
        workflow_id: "order-0017",
        workflow_name: "order",
        seq: id as u64,
        step_name: "charge",
        attempt: 1,
        duration_ms: 12,
        cached: false,
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn config() -> Config {
    Config::builder()
        .capacity_events(2 * EVENTS)
        .capacity_bytes(1 << 30)
        .build()
        .unwrap()
}

/// A client that an author writes by hand, without buffer, retry or books.
struct ByHand {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

impl ByHand {
    fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            uri: url.parse().unwrap(),
        }
    }

    async fn send(&self, events: &[Event]) {
        let body = serde_json::to_vec(&Envelope { events }).unwrap();
        let request = Request::post(self.uri.clone()).header("content-type", "application/json");
        let response = self
            .client
            .request(request.body(Full::from(body)).unwrap())
            .await
            .unwrap();
        assert!(response.status().is_success());
        response.into_body().collect().await.unwrap();
    }
}

pub fn flush_of_one() {
    let runtime = runtime();
    let url = server::start();
    let tracker = HttpTracker::builder(url.as_str()).scoped().unwrap();
    let by_hand = ByHand::new(&url);
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let contenders = vec![
        contender("hyper by hand, p50", || {
            runtime.block_on(async {
                let mut times = Vec::with_capacity(FLUSHES);
                for id in 0..FLUSHES {
                    let started = Instant::now();
                    by_hand.send(&[event(id)]).await;
                    times.push(started.elapsed());
                }
                median(times)
            })
        }),
        contender("HttpTracker, emit and flush, p50", || {
            runtime.block_on(async {
                let mut times = Vec::with_capacity(FLUSHES);
                for id in 0..FLUSHES {
                    let started = Instant::now();
                    tracker.emit(event(id)).unwrap();
                    tracker.flush().await.ok().unwrap();
                    times.push(started.elapsed());
                }
                median(times)
            })
        }),
    ];
    compare(ROUNDS, contenders, |time| time.as_nanos() as f64 / 1000.0);
}

pub fn throughput() {
    let runtime = runtime();
    let url = server::start();
    let by_hand = ByHand::new(&url);
    let tracker = HttpTracker::builder(url.as_str())
        .config(config())
        .scoped()
        .unwrap();
    let transport = Arc::new(HttpTransport::builder(url.as_str()).build().unwrap());
    let clock = runtime.block_on(async { Arc::new(TokioClock::new()) });
    let buffered = BufferedTracker::new(config(), transport, clock, 7);
    let events: Vec<Event> = (0..EVENTS).map(event).collect();
    let contenders = vec![
        contender("hyper and serde_json by hand", || {
            let started = Instant::now();
            runtime.block_on(async {
                let mut batch = Vec::with_capacity(512);
                for event in &events {
                    batch.push(event.clone());
                    if batch.len() == 512 {
                        by_hand.send(&batch).await;
                        batch.clear();
                    }
                }
                by_hand.send(&batch).await;
            });
            started.elapsed()
        }),
        contender("HttpTracker (encodes on emit)", || {
            let started = Instant::now();
            events
                .iter()
                .for_each(|event| tracker.emit(event.clone()).unwrap());
            runtime.block_on(tracker.flush()).ok().unwrap();
            started.elapsed()
        }),
        contender("BufferedTracker, HttpTransport (on flush)", || {
            let started = Instant::now();
            events
                .iter()
                .for_each(|event| buffered.emit(event.clone()).unwrap());
            runtime.block_on(buffered.flush()).ok().unwrap();
            started.elapsed()
        }),
    ];
    compare(ROUNDS, contenders, |time| {
        EVENTS as f64 / time.as_secs_f64()
    });
}
