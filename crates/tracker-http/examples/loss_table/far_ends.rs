//! Far ends that are worse than a server which fails: an address that does not answer, a connection
//! that stays open but becomes silent, a server that is too busy for a ping.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::timeout;

/// An address whose queue of connections is full: on Linux it does not answer any further
/// connection.
pub(crate) struct BlackHole {
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(address)?;
        let listener = socket.listen(1)?;
        let mut waiting = Vec::new();
        let full = Duration::from_millis(200);
        // A system that refuses instead of not answering also ends this loop.
        while let Ok(Ok(stream)) = timeout(full, TcpStream::connect(address)).await {
            waiting.push(stream);
            if waiting.len() > 100 {
                return Err(io::Error::other(
                    "this system accepts connections without end",
                ));
            }
        }
        Ok(Self {
            _listener: listener,
            _waiting: waiting,
        })
    }
}

/// A proxy in front of a server. Connections that were made before [`freeze`](Self::freeze) stay
/// open after it, but transfer nothing.
pub(crate) struct Proxy {
    pub(crate) url: String,
    frozen: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(runtime: &Handle, server: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1/events", listener.local_addr()?);
        let (frozen, freezes) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        runtime.spawn(hand_on(
            listener.into_std()?,
            server,
            freezes,
            connections.clone(),
        ));
        Ok(Self {
            url,
            frozen,
            connections,
        })
    }

    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn hand_on(
    listener: std::net::TcpListener,
    server: String,
    freezes: watch::Receiver<bool>,
    connections: Arc<AtomicUsize>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        connections.fetch_add(1, SeqCst);
        let mut far = TcpStream::connect(&server).await?;
        let is_frozen = *freezes.borrow();
        let mut freezes = freezes.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Bytes that arrive after the freeze are not forwarded, so the freeze is checked
                // first.
                biased;
                _ = freezes.wait_for(|frozen| *frozen), if !is_frozen => {}
                // One of the two ends has closed the connection.
                _ = copy_bidirectional(&mut near, &mut far) => return,
            }
            // The task keeps both connections open, and does nothing else.
            std::future::pending().await
        });
    }
}

/// An HTTP/2 server without TLS whose only thread is busy after the first request, so that it
/// answers no ping.
pub(crate) struct BusyHttp2 {
    pub(crate) url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    events: Mutex<Vec<Value>>,
}

impl BusyHttp2 {
    /// Starts the server on a thread of its own, which ends with the process.
    pub(crate) fn start(busy: Duration) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/v1/events", listener.local_addr()?);
        let counts = Arc::new(Counts::default());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let shared = counts.clone();
        thread::spawn(move || runtime.block_on(serve(listener, busy, shared)));
        Ok(Self { url, counts })
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(SeqCst)
    }

    /// Returns the events taken, duplicates included.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.counts
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn serve(
    listener: std::net::TcpListener,
    busy: Duration,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        counts.connections.fetch_add(1, SeqCst);
        let counts = counts.clone();
        let service = service_fn(move |request| answer(request, busy, counts.clone()));
        // The error is ignored, because a broken connection shows in the counts.
        let served = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move { served.await.is_ok() });
    }
}

async fn answer(
    request: Request<Incoming>,
    busy: Duration,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // A request that was cut has an incomplete body, and does not count.
    let Ok(body) = request.into_body().collect().await else {
        return Ok(Response::default());
    };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let events = body["events"].as_array().cloned().unwrap_or_default();
    counts
        .events
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(events);
    if counts.requests.fetch_add(1, SeqCst) == 0 {
        thread::sleep(busy);
    }
    Ok(Response::default())
}
