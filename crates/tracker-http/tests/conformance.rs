//! tracker-core's conformance suite, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a harness that cannot start is a failed test"
)]

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tracker_core::Clock;
use tracker_core::testing::conformance::{self, Answer, Connected, Harness};
use tracker_http::testing::{self, FaultServer};
use tracker_http::{HttpTransport, TokioClock};

#[derive(Debug)]
struct Sockets;

#[async_trait]
impl Harness for Sockets {
    type Event = Value;

    fn event(&self, id: u64) -> Value {
        json!({ "eventId": id })
    }

    async fn connect(&self, answers: Vec<Answer>) -> Connected<Value> {
        let server = FaultServer::start().await.unwrap();
        for answer in answers {
            server.then(match answer {
                Answer::Accept => testing::Answer::Accept,
                Answer::Reject(indices) => testing::Answer::Reject(indices),
                Answer::Status(status) => testing::Answer::Status(status),
                Answer::RetryAfter(seconds) => testing::Answer::Full(
                    503,
                    vec![("retry-after", seconds.to_string())],
                    String::new(),
                ),
                Answer::LoseAnswer => testing::Answer::LoseAnswer,
                Answer::Reset => testing::Answer::Reset,
                Answer::Hang => testing::Answer::Hang,
                other => panic!("the fault server does not know {other:?}"),
            });
        }
        let transport = Box::new(HttpTransport::builder(server.url()).build().unwrap());
        let ids = move || {
            server
                .events()
                .iter()
                .filter_map(|event| event["eventId"].as_u64())
                .collect()
        };
        Connected {
            transport,
            taken: Box::new(ids),
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(TokioClock::new())
    }
}

#[tokio::test]
async fn http_transport_conforms_on_a_current_thread_runtime() {
    conformance::all(&Sockets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_transport_conforms_on_a_multi_thread_runtime() {
    conformance::all(&Sockets).await;
}
