//! HTTP/2 without TLS, from the first byte: batches in flight share one connection, and nothing is
//! lost when it fails.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify};
use tokio::time::timeout;
use tracker_core::{Config, ConfigBuilder, SendOptions, Transport};
use tracker_http::{HttpTracker, HttpTransport};

/// The answer of the server to its n-th request.
enum Answer {
    Accept,
    /// Accepts once this many requests are in flight.
    AcceptTogether(Arc<Barrier>),
    Hang,
    /// Takes the events, and breaks the connection.
    TakeAndDie,
    /// Takes nothing, and stops reading and writing the connection, which stays open.
    FallSilent,
}

struct State {
    answers: fn(usize) -> Answer,
    connections: AtomicUsize,
    requests: AtomicUsize,
    events: Mutex<Vec<Value>>,
}

impl State {
    fn distinct(&self) -> usize {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .map(|event| event["eventId"].as_str().unwrap())
            .collect::<std::collections::HashSet<_>>()
            .len()
    }
}

async fn start(answers: fn(usize) -> Answer) -> (String, Arc<State>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/events", listener.local_addr().unwrap());
    let connections = AtomicUsize::new(0);
    let requests = AtomicUsize::new(0);
    let state = Arc::new(State {
        answers,
        connections,
        requests,
        events: Mutex::default(),
    });
    let shared = state.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            shared.connections.fetch_add(1, SeqCst);
            tokio::spawn(serve(stream, shared.clone()));
        }
    });
    (url, state)
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let end = Arc::new(End::default());
    let service = service_fn(|request| answer(request, state.clone(), end.clone()));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => {}
        () = end.die.notified() => {}
        () = end.fall_silent.notified() => std::future::pending().await,
    }
}

/// The end of a connection.
#[derive(Default)]
struct End {
    die: Notify,
    fall_silent: Notify,
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
    end: Arc<End>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    // A request that was cut has an incomplete body, and does not count.
    let Ok(body) = request.into_body().collect().await else {
        return Ok(Response::default());
    };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let answer = (state.answers)(state.requests.fetch_add(1, SeqCst));
    if let Answer::FallSilent = answer {
        end.fall_silent.notify_one();
    }
    if let Answer::Hang | Answer::FallSilent = answer {
        std::future::pending::<()>().await;
    }
    state
        .events
        .lock()
        .unwrap()
        .extend(body["events"].as_array().unwrap().iter().cloned());
    match answer {
        Answer::AcceptTogether(barrier) => {
            barrier.wait().await;
        }
        Answer::TakeAndDie => {
            end.die.notify_one();
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    Ok(Response::default())
}

fn quick() -> ConfigBuilder {
    Config::builder()
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(20))
        .batch_events(5)
}

fn tracker(url: String, config: ConfigBuilder, events: usize) -> HttpTracker {
    let builder = HttpTracker::builder(url).transport(|transport| transport.http2_only());
    let tracker = builder.config(config.build().unwrap()).scoped().unwrap();
    (0..events).for_each(|id| tracker.emit(json!({"eventId": id.to_string()})).unwrap());
    tracker
}

async fn delivers(tracker: &HttpTracker, state: &State, events: usize) {
    let report = timeout(
        Duration::from_secs(10),
        tracker.shutdown(Duration::from_secs(10)),
    )
    .await;
    let report = report.expect("a shutdown ends");
    assert!(
        report.ok().is_ok() && report.books.is_balanced(),
        "{report}: {:?}",
        report.stop
    );
    assert_eq!(
        (report.books.accepted, state.distinct()),
        (events as u64, events)
    );
}

#[tokio::test]
async fn events_are_delivered_in_order_over_one_connection() {
    let (url, state) = start(|_| Answer::Accept).await;
    let tracker = tracker(url, quick(), 50);
    delivers(&tracker, &state, 50).await;
    let expected: Vec<_> = (0..50)
        .map(|id| json!({"eventId": id.to_string()}))
        .collect();
    assert_eq!(*state.events.lock().unwrap(), expected);
    assert_eq!(
        (state.requests.load(SeqCst), state.connections.load(SeqCst)),
        (10, 1)
    );
}

#[tokio::test]
async fn batches_in_flight_share_one_connection() {
    // Every request waits for four requests, so the test ends only if four are in flight at once.
    static FOUR: std::sync::LazyLock<Arc<Barrier>> =
        std::sync::LazyLock::new(|| Arc::new(Barrier::new(4)));
    let (url, state) = start(|_| Answer::AcceptTogether(FOUR.clone())).await;
    let tracker = tracker(url, quick().in_flight(4), 100);
    delivers(&tracker, &state, 100).await;
    assert_eq!(
        (state.requests.load(SeqCst), state.connections.load(SeqCst)),
        (20, 1)
    );
}

#[tokio::test]
async fn a_request_that_hangs_is_cut_and_sent_again() {
    let (url, state) = start(|request| {
        if request == 0 {
            Answer::Hang
        } else {
            Answer::Accept
        }
    })
    .await;
    let tracker = tracker(url, quick().request_timeout(Duration::from_millis(50)), 10);
    delivers(&tracker, &state, 10).await;
    assert_eq!(state.requests.load(SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_not_used_again() {
    let (url, state) = start(|request| {
        if request == 0 {
            Answer::FallSilent
        } else {
            Answer::Accept
        }
    })
    .await;
    let tracker = tracker(url, quick().request_timeout(Duration::from_millis(50)), 10);
    delivers(&tracker, &state, 10).await;
    assert_eq!(state.connections.load(SeqCst), 2);
}

/// The connection may be dead or only slow. Requests that wait on it continue, and new requests
/// avoid it.
#[tokio::test]
async fn a_dropped_request_leaves_others_on_its_connection_and_later_ones_use_a_new_one() {
    static TWO: std::sync::LazyLock<Arc<Barrier>> =
        std::sync::LazyLock::new(|| Arc::new(Barrier::new(2)));
    let (url, state) = start(|request| {
        if request == 0 {
            Answer::Hang
        } else {
            Answer::AcceptTogether(TWO.clone())
        }
    })
    .await;
    let transport = HttpTransport::builder(url).http2_only().build().unwrap();
    let send = |id: usize| {
        // Clones share the connections and their state.
        let transport = transport.clone();
        tokio::spawn(async move {
            transport
                .send(
                    &[json!({"eventId": id.to_string()})],
                    SendOptions::default(),
                )
                .await
                .unwrap();
        })
    };
    let arrived = async |requests: usize| {
        while state.requests.load(SeqCst) < requests {
            tokio::task::yield_now().await;
        }
    };
    let hanging = send(0);
    arrived(1).await;
    let under_way = send(1);
    arrived(2).await;
    assert_eq!(state.connections.load(SeqCst), 1);
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    let later = send(2);
    for answered in [under_way, later] {
        timeout(Duration::from_secs(20), answered)
            .await
            .expect("both are answered")
            .unwrap();
    }
    assert_eq!((state.distinct(), state.connections.load(SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_connection_that_breaks_under_four_batches_loses_nothing() {
    let (url, state) = start(|request| {
        if request % 4 == 2 {
            Answer::TakeAndDie
        } else {
            Answer::Accept
        }
    })
    .await;
    let tracker = tracker(url, quick().in_flight(4), 100);
    delivers(&tracker, &state, 100).await;
    assert!(state.connections.load(SeqCst) > 1);
}
