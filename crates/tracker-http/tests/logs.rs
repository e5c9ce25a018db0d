//! A program whose `tracing` subscriber emits every log as an event: the logs about sending are
//! skipped.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};
use tracker_core::{BufferedTracker, Config, Tracker};
use tracker_http::{HttpTracker, HttpTransport, JsonEvent, TokioClock};

/// Emits every log as an event.
struct Logs {
    tracker: Arc<OnceLock<Box<dyn Tracker<JsonEvent>>>>,
    is_left_out: fn() -> bool,
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Logs {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let Some(tracker) = self.tracker.get().filter(|_| !(self.is_left_out)()) else {
            return;
        };
        let mut text = Text::default();
        event.record(&mut text);
        let log = json!({"type": "log", "target": event.metadata().target(), "text": text.0});
        tracker.emit(JsonEvent::encode(&log).unwrap()).unwrap();
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Starts a server of HTTP/1.1 and HTTP/2 on a runtime of its own, so that its logs are on a thread
/// without a subscriber.
fn start() -> (Runtime, String) {
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    servers.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                builder
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await
                    .unwrap_or_default();
            });
        }
    });
    (servers, url)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A request that was cut has an incomplete body.
    let _ = request.into_body().collect().await;
    Ok(Response::default())
}

type BuildTracker = fn(String) -> Box<dyn Tracker<JsonEvent>>;

const TRACKERS: [BuildTracker; 4] = [
    |url| Box::new(HttpTracker::builder(url).scoped().unwrap()),
    |url| Box::new(HttpTracker::builder(url).background().unwrap()),
    |url| Box::new(bare(HttpTransport::builder(url).build().unwrap())),
    |url| {
        Box::new(bare(
            HttpTransport::builder(url).http2_only().build().unwrap(),
        ))
    },
];

/// Builds a tracker from the transport alone, without `HttpTracker`.
fn bare(transport: HttpTransport) -> BufferedTracker<JsonEvent> {
    BufferedTracker::new(
        Config::default(),
        Arc::new(transport),
        Arc::new(TokioClock::new()),
        7,
    )
}

const MAX_FLUSHES: usize = 20;

/// Logs once, and flushes until nothing is pending, at most [`MAX_FLUSHES`] times; returns how many
/// flushes there were.
fn flushes_for_one_log(build: BuildTracker, is_left_out: fn() -> bool) -> usize {
    let (_servers, url) = start();
    let built = Arc::new(OnceLock::new());
    let logs = Logs {
        tracker: built.clone(),
        is_left_out,
    };
    let program = Builder::new_current_thread().enable_all().build().unwrap();
    let mut flushes = 0;
    tracing::subscriber::with_default(logs, || {
        program.block_on(async {
            let tracker = built.get_or_init(|| build(url));
            tracing::info!("the program's own log");
            assert_eq!(tracker.books().accepted, 1);
            for _ in 0..MAX_FLUSHES {
                if tracker.books().pending() > 0 {
                    flushes += 1;
                    tracker.flush().await.ok().unwrap();
                }
                // The tasks of the connections write their logs now.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
        });
    });
    flushes
}

#[test]
fn without_is_sending_every_log_makes_another_log() {
    for build in TRACKERS {
        assert_eq!(flushes_for_one_log(build, || false), MAX_FLUSHES);
    }
}

#[test]
fn with_is_sending_one_log_is_one_flush() {
    for (index, build) in TRACKERS.into_iter().enumerate() {
        assert_eq!(
            flushes_for_one_log(build, tracker_http::is_sending),
            1,
            "tracker {index}"
        );
    }
}
