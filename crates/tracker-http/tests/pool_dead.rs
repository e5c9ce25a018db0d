//! Connections that died silently: one attempt shows it, and no later attempt uses a dead
//! connection.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tracker_core::{Config, SendOptions, Transport};
use tracker_http::testing::{Answer, FaultServer};
use tracker_http::{HttpTracker, HttpTransport};

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

fn event(id: usize) -> Value {
    json!({"eventId": id.to_string()})
}

/// Starts a server that answers once `first` requests have come on as many connections, and then
/// ignores these connections.
async fn start(first: usize) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/events", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let unheard = Arc::new(AtomicUsize::new(0));
    let counters = (connections.clone(), unheard.clone());
    let together = Arc::new(Semaphore::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let deaf = connections.fetch_add(1, SeqCst) < first;
            let unheard = unheard.clone();
            let together = together.clone();
            tokio::spawn(async move {
                request(&mut stream).await;
                if deaf {
                    together.add_permits(1);
                    let _all = together
                        .acquire_many(u32::try_from(first).unwrap())
                        .await
                        .unwrap();
                }
                respond(&mut stream).await;
                while request(&mut stream).await {
                    if deaf {
                        unheard.fetch_add(1, SeqCst);
                    } else {
                        respond(&mut stream).await;
                    }
                }
            });
        }
    });
    (url, counters.0, counters.1)
}

/// Reads one small request, which is one segment here; returns `false` at the end of the
/// connection.
async fn request(stream: &mut TcpStream) -> bool {
    let mut read = [0; 16 * 1024];
    matches!(stream.read(&mut read).await, Ok(1..))
}

async fn respond(stream: &mut TcpStream) {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
}

/// If a machine is gone, every kept connection is dead, and one attempt shows that.
#[tokio::test]
async fn one_dead_connection_costs_one_attempt_and_its_siblings_cost_none() {
    let (url, connections, unheard) = start(4).await;
    let config = Config::builder()
        .in_flight(4)
        .batch_events(1)
        .request_timeout(Duration::from_millis(300));
    let config = config
        .initial_delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(2))
        .build()
        .unwrap();
    let tracker = HttpTracker::builder(url).config(config).scoped().unwrap();
    (0..4).for_each(|id| tracker.emit(event(id)).unwrap());
    timeout(TEST_TIMEOUT, tracker.flush())
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(connections.load(SeqCst), 4);

    tracker.emit(event(4)).unwrap();
    let report = timeout(TEST_TIMEOUT, tracker.shutdown(TEST_TIMEOUT))
        .await
        .unwrap();
    assert!(
        report.ok().is_ok() && report.books.delivered == 5,
        "{report}"
    );
    assert_eq!((unheard.load(SeqCst), connections.load(SeqCst)), (1, 5));
}

/// A server that restarts breaks one kept connection during a request. The other kept connections
/// are not tried.
#[tokio::test]
async fn a_connection_that_breaks_under_a_request_costs_one_attempt_and_its_siblings_cost_none() {
    for broken in [Answer::Reset, Answer::LoseAnswer, Answer::ResetInBody] {
        let server = FaultServer::start().await.unwrap();
        server.always(Answer::AcceptAfter(Duration::from_millis(200)));
        let transport = HttpTransport::builder(server.url()).build().unwrap();
        let first = [event(1)];
        let second = [event(2)];
        let (first, second) = tokio::join!(
            transport.send(&first, SendOptions::default()),
            transport.send(&second, SendOptions::default())
        );
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(server.connections(), 2);
        server.then(broken.clone());
        transport
            .send(&[event(3)], SendOptions::default())
            .await
            .unwrap_err();
        transport
            .send(&[event(3)], SendOptions::default())
            .await
            .unwrap();
        assert_eq!(server.connections(), 3, "{broken:?}");
    }
}

/// One request is dropped while another is in flight: the other one continues, and the next request
/// avoids both connections.
#[tokio::test]
async fn a_request_in_flight_continues_when_another_is_dropped() {
    let server = FaultServer::start().await.unwrap();
    server.then(Answer::Hang);
    server.then(Answer::AcceptAfter(Duration::from_millis(400)));
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    // Clones share the connections and their state.
    let hanging = transport.clone();
    let slow = transport.clone();
    let first = vec![event(1)];
    let second = vec![event(2)];
    let hanging = tokio::spawn(async move { hanging.send(&first, SendOptions::default()).await });
    timeout(TEST_TIMEOUT, until(|| server.requests().len() == 1))
        .await
        .unwrap();
    let slow = tokio::spawn(async move { slow.send(&second, SendOptions::default()).await });
    timeout(TEST_TIMEOUT, until(|| server.requests().len() == 2))
        .await
        .unwrap();
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    transport
        .send(&[event(3)], SendOptions::default())
        .await
        .unwrap();
    timeout(TEST_TIMEOUT, slow).await.unwrap().unwrap().unwrap();
    assert_eq!((server.distinct(), server.connections()), (2, 3));
    // The new client is kept: no connection is retired twice.
    transport
        .send(&[event(4)], SendOptions::default())
        .await
        .unwrap();
    assert_eq!((server.distinct(), server.connections()), (3, 3));
}

async fn until(mut happened: impl FnMut() -> bool) {
    while !happened() {
        tokio::task::yield_now().await;
    }
}

/// HTTP/2 settings with the largest window for a stream, and an update that enlarges the window of
/// the connection.
const WIDE_WINDOW_FRAMES: &[u8] =
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";

/// No part of a dropped request remains, although the server never reads and never closes.
async fn a_storm_leaves_nothing_behind(http2: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/events", listener.local_addr().unwrap());
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let kept = accepted.clone();
    let came = Arc::new(Notify::new());
    let arrived = came.clone();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if http2 {
                stream.write_all(WIDE_WINDOW_FRAMES).await.unwrap();
            }
            kept.lock().unwrap().push(stream);
            arrived.notify_one();
        }
    });
    let builder = HttpTransport::builder(url);
    let transport = if http2 { builder.http2_only() } else { builder }
        .build()
        .unwrap();
    // This is more than the buffers of both ends hold.
    let events = [json!({"text": "x".repeat(6 << 20)})];
    for round in 1..=4 {
        let sent = async {
            tokio::join!(
                transport.send(&events, SendOptions::default()),
                transport.send(&events, SendOptions::default())
            )
        };
        let stuck = async {
            timeout(TEST_TIMEOUT, came.notified())
                .await
                .expect("each round makes a new connection");
            tokio::time::sleep(Duration::from_millis(200)).await; // tidy: sleep: nothing tells that buffers are full
        };
        tokio::select! {
            _ = sent => panic!("nobody answers"),
            () = stuck => {}
        }
        assert!(
            accepted.lock().unwrap().len() >= round,
            "each round needs a new connection"
        );
    }
    // Only the task of the server remains.
    let alone = until(|| Handle::current().metrics().num_alive_tasks() <= 1);
    timeout(TEST_TIMEOUT, alone)
        .await
        .expect("every task of a connection has ended");
    server.abort();
}

#[tokio::test]
async fn a_storm_of_dropped_requests_leaves_nothing_behind() {
    a_storm_leaves_nothing_behind(false).await;
}

#[tokio::test]
async fn a_storm_of_dropped_http2_requests_leaves_nothing_behind() {
    a_storm_leaves_nothing_behind(true).await;
}

/// A connection is served by a task of its runtime. A stalled runtime, which exists but does not
/// run, serves nothing.
#[test]
fn a_stalled_runtime_delays_no_request_of_another_runtime() {
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = servers.block_on(FaultServer::start()).unwrap();
    let transport = HttpTransport::builder(server.url()).build().unwrap();
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let second = runtime();
    for (id, runtime) in [&first, &second, &first, &second].into_iter().enumerate() {
        let events = [event(id)];
        let sent = async {
            timeout(
                TEST_TIMEOUT,
                transport.send(&events, SendOptions::default()),
            )
            .await
        };
        runtime
            .block_on(sent)
            .expect("it does not wait for the other runtime")
            .unwrap();
    }
    assert_eq!(
        (server.received(), server.connections()),
        (4, 2),
        "each runtime keeps its connection"
    );
}
