//! https: trust, the negotiated protocol, and certificates that are not trusted.

#![cfg(feature = "tls")]
#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tracker_core::{Config, DeliveryError, SendError, SendOptions, Transport};
use tracker_http::{BuildError, HttpTracker, HttpTransport};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The observations of the server.
#[derive(Default)]
struct Seen {
    handshakes: usize,
    requests: Vec<(Version, Value)>,
}

/// Starts a server with a certificate for these names and with these protocols; returns its port.
async fn start(
    authority: &Authority,
    names: &[&str],
    protocols: &[&str],
) -> (u16, Arc<Mutex<Seen>>) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let seen = shared.clone();
            tokio::spawn(async move {
                seen.lock().unwrap().handshakes += 1;
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = service_fn(|request| record(request, seen.clone()));
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, seen)
}

async fn record(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = request.version();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.lock()
        .unwrap()
        .requests
        .push((version, serde_json::from_slice(&body).unwrap()));
    Ok(Response::default())
}

async fn delivers(url: String, authority: &Authority) {
    let root = authority.der().to_vec();
    let tracker = HttpTracker::builder(url)
        .transport(|transport| transport.root_certificate(root))
        .scoped()
        .unwrap();
    tracker.emit(json!({"eventId": "1"})).unwrap();
    let report = timeout(
        Duration::from_secs(10),
        tracker.shutdown(Duration::from_secs(10)),
    )
    .await
    .unwrap();
    assert!(report.ok().is_ok(), "{report}: {:?}", report.stop);
}

fn one_event() -> Value {
    json!({"events": [{"eventId": "1"}]})
}

#[tokio::test]
async fn https_to_a_name_and_to_an_address_speaks_http2_where_both_know_it() {
    let authority = authority();
    let (port, seen) = start(&authority, &["localhost", "127.0.0.1"], &["h2", "http/1.1"]).await;
    for host in ["localhost", "127.0.0.1"] {
        delivers(format!("https://{host}:{port}/v1/events"), &authority).await;
    }
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.requests,
        [
            (Version::HTTP_2, one_event()),
            (Version::HTTP_2, one_event())
        ]
    );
}

#[tokio::test]
async fn https_falls_back_to_http_1_1() {
    for protocols in [&["http/1.1"][..], &[]] {
        let authority = authority();
        let (port, seen) = start(&authority, &["localhost"], protocols).await;
        delivers(format!("https://localhost:{port}/v1/events"), &authority).await;
        assert_eq!(
            seen.lock().unwrap().requests,
            [(Version::HTTP_11, one_event())]
        );
    }
}

/// Neither a certificate of another authority nor one for another name is trusted.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_no_event_and_every_event_comes_back() {
    let trusted = authority();
    let other = authority();
    for (issuer, name) in [(&other, "localhost"), (&trusted, "elsewhere.example")] {
        let (port, seen) = start(issuer, &[name], &["h2", "http/1.1"]).await;
        let url = format!("https://localhost:{port}/v1/events");

        let transport = HttpTransport::builder(&url)
            .root_certificate(trusted.der().to_vec())
            .build()
            .unwrap();
        let error = transport
            .send(&[one_event()], SendOptions::default())
            .await
            .unwrap_err();
        let SendError::Unreachable { reason } = &error else {
            panic!("unreachable, not {error:?}")
        };
        assert!(
            reason.as_str().contains("certificate"),
            "the reason names the certificate: {reason}"
        );

        let config = Config::builder()
            .initial_delay(Duration::from_millis(1))
            .max_delay(Duration::from_millis(20));
        let root = trusted.der().to_vec();
        let tracker = HttpTracker::builder(url).config(config.build().unwrap());
        let tracker = tracker
            .transport(|transport| transport.root_certificate(root))
            .scoped()
            .unwrap();
        let events: Vec<_> = (0..10)
            .map(|id| json!({"eventId": id.to_string()}))
            .collect();
        events
            .iter()
            .for_each(|event| tracker.emit(event.clone()).unwrap());
        let report = tracker.shutdown(Duration::from_millis(500)).await;
        let report = report.map(|event| event.decode::<serde_json::Value>().unwrap());
        assert!(
            matches!(report.stop, Some(DeliveryError::Deadline { .. })),
            "{report:?}"
        );
        assert!(
            report.books.is_balanced() && report.returned == events,
            "{report}"
        );
        let seen = seen.lock().unwrap();
        assert!(seen.requests.is_empty(), "nothing was shown to it");
        assert!(
            seen.handshakes > 2,
            "it was tried again: the certificate may be renewed"
        );
    }
}

#[tokio::test]
async fn an_https_endpoint_that_speaks_no_tls_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1/events", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            assert!(!String::from_utf8_lossy(&said).contains("s3cret"));
        }
    });
    let root = authority().der().to_vec();
    let transport = HttpTransport::builder(url)
        .token("s3cret")
        .root_certificate(root)
        .build()
        .unwrap();
    let events = [one_event()];
    let answer = timeout(
        Duration::from_secs(10),
        transport.send(&events, SendOptions::default()),
    )
    .await
    .unwrap();
    assert!(
        matches!(answer, Err(SendError::Unreachable { .. })),
        "{answer:?}"
    );
}

#[test]
fn a_root_that_is_not_a_certificate_is_refused() {
    for der in [&b"not a certificate"[..], b""] {
        let refused = HttpTransport::builder("https://localhost/")
            .root_certificate(der)
            .build()
            .unwrap_err();
        assert!(matches!(refused, BuildError::Tls { .. }), "{refused:?}");
    }
}
