//! Hosts with several addresses, of which some are dead.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::net::TcpStream as StdStream;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tracker_core::{Receipt, SendError, SendOptions, Transport};

use super::*;
use crate::HttpTransport;

/// An address that does not answer, because its queue of connections to accept is full. Dropping
/// the value frees the address.
struct BlackHole {
    _listener: tokio::net::TcpListener,
    _waiting: Vec<StdStream>,
}

impl BlackHole {
    fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = StdStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 100, "this system accepts without end");
        }
        Self {
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// Answers every request with 200.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    }
}

fn transport(port: u16, ips: &[&str], limit: Duration) -> HttpTransport {
    let addresses: Vec<SocketAddr> = ips
        .iter()
        .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
        .collect();
    let builder =
        HttpTransport::builder(format!("http://events.lan:{port}/")).connect_timeout(limit);
    builder
        .lookup(Arc::new(move |_| Ok(addresses.clone())))
        .build()
        .unwrap()
}

async fn send(transport: &HttpTransport) -> Result<Receipt, SendError> {
    let limit = Duration::from_secs(20);
    timeout(
        limit,
        transport.send(&[json!({"eventId": "1"})], SendOptions::default()),
    )
    .await
    .expect("an attempt ends")
}

/// Each address is tried within one attempt, at any position of the dead ones.
#[tokio::test]
async fn an_address_that_does_not_answer_does_not_keep_the_next_one_from_being_tried() {
    let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = live.local_addr().unwrap().port();
    tokio::spawn(serve(live));
    let _holes = ["127.0.0.2", "127.0.0.3"]
        .map(|ip| BlackHole::at(SocketAddr::new(ip.parse().unwrap(), port)));
    for ips in [
        &["127.0.0.2", "127.0.0.1"][..],
        &["127.0.0.2", "127.0.0.3", "127.0.0.1"],
        // Nothing listens at 127.0.0.4 and ::1, so they refuse.
        &["127.0.0.4", "127.0.0.2", "::1", "127.0.0.1"],
    ] {
        send(&transport(port, ips, Duration::from_secs(3)))
            .await
            .unwrap_or_else(|error| panic!("{ips:?}: {error}"));
        // A short limit does not change that.
        send(&transport(port, ips, Duration::from_millis(400)))
            .await
            .unwrap_or_else(|error| panic!("{ips:?}: {error}"));
    }
}

#[tokio::test]
async fn connecting_has_a_limit_of_its_own_and_the_reason_names_the_addresses() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _hole = BlackHole::at(SocketAddr::new("127.0.0.2".parse().unwrap(), port));
    let error = send(&transport(port, &["127.0.0.2"], Duration::from_millis(300)))
        .await
        .unwrap_err();
    let expected = format!("no connection to 127.0.0.2:{port} within 300ms");
    assert!(
        matches!(error, SendError::Unreachable { .. }) && error.to_string().contains(&expected),
        "{error}"
    );

    let error = send(&transport(port, &["127.0.0.4", "127.0.0.5"], Duration::MAX))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "no connection to 127.0.0.4:{port} (Connection refused"
        )),
        "{error}"
    );
    assert!(
        error.contains(&format!("127.0.0.5:{port} (Connection refused")),
        "{error}"
    );
}

#[test]
fn a_message_names_few_addresses() {
    let all: Vec<SocketAddr> = (1..=9)
        .map(|last| SocketAddr::new([10, 0, 0, last].into(), 80))
        .collect();
    assert_eq!(Addresses(&all[..2]).to_string(), "10.0.0.1:80, 10.0.0.2:80");
    assert_eq!(
        Addresses(&all).to_string(),
        "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80 and 5 more"
    );
}
