//! The client certificate, and the limit of a handshake.

#![cfg(feature = "tls")]
#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tracker_core::{Receipt, SendError, SendOptions, Transport};
use tracker_http::{BuildError, HttpTransport};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Makes a certificate for this name; returns it and its key, both in DER.
fn issue(authority: &Authority, name: &str) -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, authority)
        .unwrap();
    (certificate.der().to_vec(), key.serialize_der())
}

/// Starts a server that accepts requests only from clients with a certificate of the authority;
/// returns its port.
async fn start(authority: &Authority) -> u16 {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), ring::default_provider().into());
    let (certificate, key) = issue(authority, "localhost");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate.into()], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

async fn send(transport: &HttpTransport) -> Result<Receipt, SendError> {
    let events = [json!({"eventId": "1"})];
    timeout(
        Duration::from_secs(20),
        transport.send(&events, SendOptions::default()),
    )
    .await
    .expect("an attempt ends")
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let other = authority();
    let authority = authority();
    let port = start(&authority).await;
    for host in ["localhost", "localhost."] {
        let url = format!("https://{host}:{port}/v1/events");
        let builder = || HttpTransport::builder(&url).root_certificate(authority.der().to_vec());
        let (certificate, key) = issue(&authority, "client");
        let transport = builder()
            .client_certificate(vec![certificate], key)
            .build()
            .unwrap();
        send(&transport).await.unwrap();

        // Without a certificate, or with one that the server does not trust, nothing is delivered,
        // and the reason is TLS.
        let (certificate, key) = issue(&other, "client");
        for transport in [
            builder(),
            builder().client_certificate(vec![certificate], key),
        ] {
            let error = send(&transport.build().unwrap()).await.unwrap_err();
            assert!(matches!(error, SendError::NoAnswer { .. }), "{error}");
        }
    }
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_refused_and_its_key_is_not_shown() {
    let authority = authority();
    let (certificate, key) = issue(&authority, "client");
    let (another, _) = issue(&authority, "client");
    for (chain, key) in [
        (vec![], key.clone()),
        (vec![certificate.clone()], b"not a key".to_vec()),
        (vec![certificate.clone()], vec![]),
        (vec![b"not a certificate".to_vec()], key.clone()),
        (vec![another], key.clone()),
    ] {
        // The certificate is checked although a plain endpoint does not get it, so that a mistake
        // shows before https is used.
        for url in ["https://localhost/", "http://localhost/"] {
            let root = authority.der().to_vec();
            let builder = HttpTransport::builder(url).root_certificate(root);
            let refused = builder
                .client_certificate(chain.clone(), key.clone())
                .build()
                .unwrap_err();
            assert!(
                matches!(refused, BuildError::ClientCertificate { .. }),
                "{refused:?}"
            );
        }
    }
    let builder = HttpTransport::builder("http://localhost/")
        .client_certificate(vec![certificate], b"s3cret".to_vec());
    let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap_err());
    assert!(
        !shown.contains("s3cret") && !shown.contains("115, 51"),
        "{shown}"
    );
}

/// The server accepts the connection and never sends a byte.
#[tokio::test]
async fn a_handshake_that_does_not_come_ends_with_the_time_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let root = authority().der().to_vec();
    let builder = HttpTransport::builder(url)
        .root_certificate(root)
        .connect_timeout(Duration::from_millis(100));
    let error = send(&builder.build().unwrap()).await.unwrap_err();
    assert!(matches!(error, SendError::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("the TLS handshake was not completed within the 100ms"),
        "{error}"
    );
}
