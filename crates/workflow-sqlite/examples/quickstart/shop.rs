//! An HTTP shop on loopback, and the client that the steps use.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use workflow_engine::Failure;

use crate::orders::Order;

/// Largest amount that the shop charges, in cents.
const CREDIT_LIMIT_CENTS: u64 = 50_000;

/// The shop, which closes when this value is dropped.
pub(crate) struct Shop {
    address: String,
    calls: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Shop {
    pub(crate) async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let calls = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, calls.clone()));
        Ok(Self {
            address,
            calls,
            server,
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns how many steps have called the shop.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn client(&self) -> ShopClient {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        ShopClient {
            client,
            address: self.address.clone(),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, calls: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let calls = calls.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(request, calls.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer);
            // A lost client does not matter to the shop.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    calls.fetch_add(1, Ordering::Relaxed);
    let action = request.uri().path().trim_start_matches('/').to_owned();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let (status, text) = match serde_json::from_slice::<Order>(&body) {
        Ok(order) if action == "charge" && order.amount_cents > CREDIT_LIMIT_CENTS => (
            StatusCode::PAYMENT_REQUIRED,
            format!("{} cents are above the credit limit", order.amount_cents),
        ),
        Ok(order) => (StatusCode::OK, format!("{action}:{}", order.id)),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Ok(response)
}

/// Client of the shop: one request for each step.
#[derive(Clone)]
pub(crate) struct ShopClient {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
}

impl ShopClient {
    /// Requests `action` for `order`, and returns the reference that the shop gives.
    pub(crate) async fn call(&self, action: &str, order: &Order) -> Result<String, Failure> {
        let uri: Uri = format!("http://{}/{action}", self.address).parse()?;
        let mut request = Request::post(uri).body(Full::from(serde_json::to_vec(order)?))?;
        request.headers_mut().insert(
            "content-type",
            hyper::header::HeaderValue::from_static("application/json"),
        );
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if !status.is_success() {
            return Err(Failure::new(text).with_kind(status.as_str()));
        }
        Ok(text)
    }
}
