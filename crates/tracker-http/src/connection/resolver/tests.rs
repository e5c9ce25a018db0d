//! Lookups that hang, fail or come late, and callers that join them.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tracker_core::{SendError, SendOptions, Transport};

use super::*;
use crate::HttpTransport;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A lookup that answers once per message, and the number of times it was called.
fn held() -> (
    Lookup,
    mpsc::Sender<io::Result<Vec<SocketAddr>>>,
    Arc<AtomicUsize>,
) {
    let (answers, held) = mpsc::channel();
    let held = Mutex::new(held);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let lookup: Lookup = Arc::new(move |_| {
        counted.fetch_add(1, SeqCst);
        held.lock()
            .unwrap()
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the test has ended")))
    });
    (lookup, answers, calls)
}

fn resolver(host: &str, lookup: Lookup) -> Arc<Resolver> {
    Arc::new(Resolver::new(Host::parse(host).unwrap(), 8733, lookup))
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn runtimes() -> [Runtime; 2] {
    let many = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        many.unwrap(),
    ]
}

/// A short-lived process ends after the shutdown of its tracker, even if a lookup hangs.
#[test]
fn a_runtime_ends_while_a_lookup_hangs() {
    for runtime in runtimes() {
        let (lookup, answers, calls) = held();
        let transport = HttpTransport::builder("http://events.lan/")
            .lookup(lookup)
            .build()
            .unwrap();
        runtime.block_on(async {
            let events = [1];
            let sent = transport.send(&events, SendOptions::default());
            assert!(timeout(Duration::from_millis(50), sent).await.is_err());
        });
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            drop((runtime, transport));
            ended.send(()).unwrap();
        });
        end.recv_timeout(TEST_TIMEOUT)
            .expect("the end of the runtime does not wait for the lookup");
        assert_eq!(calls.load(SeqCst), 1);
        drop(answers);
    }
}

#[tokio::test]
async fn every_caller_joins_the_pending_lookup() {
    let (lookup, answers, calls) = held();
    let resolver = resolver("events.lan", lookup);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.addresses().await })
        })
        .collect();
    // On this runtime, all tasks have called `addresses` when this task is polled again.
    tokio::task::yield_now().await;
    answers
        .send(Ok(addresses(&["10.0.0.1:0", "[fe80::1%3]:0"])))
        .unwrap();
    for asked in asked {
        assert_eq!(
            asked.await.unwrap().unwrap(),
            addresses(&["10.0.0.1:8733", "[fe80::1%3]:8733"])
        );
    }
    assert_eq!(calls.load(SeqCst), 1);

    // An answer that was read is not kept, because the addresses of the name may change.
    answers.send(Ok(addresses(&["10.0.0.2:0"]))).unwrap();
    assert_eq!(
        resolver.addresses().await.unwrap(),
        addresses(&["10.0.0.2:8733"])
    );
    assert_eq!(calls.load(SeqCst), 2);
}

/// Otherwise a lookup that takes longer than an attempt would begin again with every attempt.
#[tokio::test]
async fn an_answer_that_came_too_late_serves_the_next_attempt() {
    let (lookup, answers, calls) = held();
    let resolver = resolver("events.lan", lookup);
    for _ in 0..3 {
        assert!(
            timeout(Duration::from_millis(20), resolver.addresses())
                .await
                .is_err()
        );
    }
    let mut late = resolver.lock().clone().unwrap();
    answers.send(Ok(addresses(&["10.0.0.1:0"]))).unwrap();
    late.wait_for(Option::is_some).await.unwrap();
    assert_eq!(
        resolver.addresses().await.unwrap(),
        addresses(&["10.0.0.1:8733"])
    );
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_lookup_that_failed_is_the_reason_and_the_next_attempt_looks_up_again() {
    let (lookup, answers, calls) = held();
    let transport = HttpTransport::builder("http://events.lan/")
        .lookup(lookup)
        .build()
        .unwrap();
    let refusals = [
        (
            Err(io::Error::other("the name server is on fire")),
            "the lookup of events.lan failed: the name server is on fire",
        ),
        (Ok(Vec::new()), "events.lan has no address"),
    ];
    let total = refusals.len();
    for (answer, reason) in refusals {
        answers.send(answer).unwrap();
        let error = transport
            .send(&[1], SendOptions::default())
            .await
            .unwrap_err();
        assert!(
            matches!(error, SendError::Unreachable { .. }) && error.to_string().contains(reason),
            "{error}"
        );
    }
    assert_eq!(calls.load(SeqCst), total);
}

#[tokio::test]
async fn a_lookup_that_hangs_is_the_reason() {
    let (lookup, _answers, calls) = held();
    let builder = HttpTransport::builder("http://events.lan/").lookup(lookup);
    let transport = builder
        .connect_timeout(Duration::from_millis(30))
        .build()
        .unwrap();
    for _ in 0..3 {
        let error = transport
            .send(&[1], SendOptions::default())
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the lookup of the host's name takes longer than 30ms"),
            "{error}"
        );
    }
    assert_eq!(
        calls.load(SeqCst),
        1,
        "there is one thread, however many attempts there are"
    );
}

#[tokio::test]
async fn a_lookup_that_panics_is_no_answer_and_the_next_attempt_looks_up_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let lookup: Lookup = Arc::new(move |_| {
        assert!(
            counted.fetch_add(1, SeqCst) > 0,
            "this panic is part of the test"
        );
        Ok(addresses(&["10.0.0.1:0"]))
    });
    let resolver = resolver("events.lan", lookup);
    let error = timeout(TEST_TIMEOUT, resolver.addresses())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, LookupError::NoAnswer { .. }), "{error}");
    assert!(
        timeout(TEST_TIMEOUT, resolver.addresses())
            .await
            .unwrap()
            .is_ok()
    );
}

#[tokio::test]
async fn this_machine_and_addresses_need_no_lookup() {
    let never: Lookup = Arc::new(|name| panic!("{name} was looked up"));
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.b.localhost",
        "c.localhost.",
    ] {
        let found = resolver(host, never.clone()).addresses().await.unwrap();
        assert_eq!(
            found,
            addresses(&["127.0.0.1:8733", "[::1]:8733"]),
            "{host}"
        );
    }
    for (host, address) in [
        ("10.1.2.3", "10.1.2.3:8733"),
        ("[2001:db8::1]", "[2001:db8::1]:8733"),
    ] {
        assert_eq!(
            resolver(host, never.clone()).addresses().await.unwrap(),
            addresses(&[address])
        );
    }
}

/// The test looks up a name that needs no network.
#[test]
fn the_systems_resolver_answers_with_addresses() {
    let found = system_lookup()("localhost").unwrap();
    assert!(
        !found.is_empty() && found.iter().all(|address| address.ip().is_loopback()),
        "{found:?}"
    );
}
