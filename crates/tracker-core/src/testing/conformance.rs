//! The suite that every [`Transport`] must pass.
//!
//! Give it a [`Harness`]: how to make an event, and how to connect a transport of the kind under
//! test to a far end that gives the answers listed. Each check is a public function; [`all`] runs
//! every one.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, join, select};

use crate::clock::Clock;
use crate::sync::StdArc;
use crate::transport::{SendError, SendOptions, Transport};

/// What a far end does with the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Takes the events and acknowledges them.
    Accept,
    /// Accepts the events except those with these indices, and lists these as rejected.
    Reject(Vec<usize>),
    /// Takes nothing and answers with this status.
    Status(u16),
    /// Takes nothing, answers 503, and asks to wait that many seconds.
    RetryAfter(u64),
    /// Takes the events and breaks the connection before the answer.
    LoseAnswer,
    /// Breaks the connection at once.
    Reset,
    /// Reads the request and never answers.
    Hang,
}

/// A transport under test and the far end it is connected to.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// What the transport carries.
    type Event: Send + Sync;

    /// Makes an event that carries `id`.
    fn event(&self, id: u64) -> Self::Event;

    /// Connects a transport to a new far end that gives these answers, one a request, and then
    /// accepts.
    async fn connect(&self, answers: Vec<Answer>) -> Connected<Self::Event>;

    /// Returns the clock that bounds the waits of the suite.
    fn clock(&self) -> StdArc<dyn Clock>;
}

/// A connection that a [`Harness`] made.
pub struct Connected<E> {
    /// The transport under test.
    pub transport: Box<dyn Transport<E>>,
    /// Returns the ids of the events that the far end has taken, in the order in which it took
    /// them.
    pub taken: Box<dyn Fn() -> Vec<u64> + Send + Sync>,
}

impl<E> fmt::Debug for Connected<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Runs every check.
///
/// # Panics
///
/// When the transport fails one; the message names it.
pub async fn all<H: Harness>(harness: &H) {
    delivers_in_order(harness).await;
    reports_every_status(harness).await;
    reports_retry_after(harness).await;
    reports_rejected_events(harness).await;
    reports_a_lost_answer_as_none(harness).await;
    survives_a_reset(harness).await;
    survives_being_dropped(harness).await;
    sends_concurrently(harness).await;
}

async fn send<H: Harness>(
    harness: &H,
    to: &Connected<H::Event>,
    ids: &[u64],
) -> Result<Vec<usize>, SendError> {
    let events: Vec<_> = ids.iter().map(|id| harness.event(*id)).collect();
    let receipt = to.transport.send(&events, SendOptions::default()).await?;
    Ok(receipt
        .rejected
        .into_iter()
        .map(|(index, _)| index)
        .collect())
}

/// Everything arrives, in the order of the batch and of the calls.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn delivers_in_order<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![]).await;
    for ids in [&[1, 2, 3][..], &[4], &[5, 6]] {
        assert_eq!(
            send(harness, &far_end, ids).await,
            Ok(vec![]),
            "a batch that is taken is acknowledged"
        );
    }
    assert_eq!(
        (far_end.taken)(),
        [1, 2, 3, 4, 5, 6],
        "events arrive in order"
    );
}

/// A status that is not a success comes back as itself, and nothing else happens.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn reports_every_status<H: Harness>(harness: &H) {
    for expected in [
        301, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 501, 502, 503, 504,
    ] {
        let far_end = harness.connect(vec![Answer::Status(expected)]).await;
        match send(harness, &far_end, &[1]).await {
            Err(SendError::Answer { status, .. }) => {
                assert_eq!(status, expected, "the status comes back as it is")
            }
            other => panic!("status {expected} must be an answer, not {other:?}"),
        }
        assert_eq!(
            (far_end.taken)(),
            [0u64; 0],
            "status {expected} is neither followed nor retried by the transport"
        );
    }
}

/// A `Retry-After` comes back with the answer.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn reports_retry_after<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![Answer::RetryAfter(7)]).await;
    match send(harness, &far_end, &[1]).await {
        Err(SendError::Answer {
            status: 503,
            retry_after,
            ..
        }) => {
            assert_eq!(
                retry_after,
                Some(Duration::from_secs(7)),
                "the wait that was asked for is reported"
            );
        }
        other => panic!("503 must be an answer, not {other:?}"),
    }
}

/// Events that the far end refuses one by one are reported by their index.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn reports_rejected_events<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![Answer::Reject(vec![0, 2])]).await;
    assert_eq!(
        send(harness, &far_end, &[1, 2, 3, 4]).await,
        Ok(vec![0, 2]),
        "verdicts are per event"
    );
    assert_eq!((far_end.taken)(), [2, 4]);
}

/// A batch whose acknowledgement is lost is not reported as delivered.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn reports_a_lost_answer_as_none<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![Answer::LoseAnswer]).await;
    let answer = send(harness, &far_end, &[1]).await;
    assert!(
        matches!(answer, Err(SendError::NoAnswer { .. })),
        "a lost answer is none, not {answer:?}"
    );
    assert_eq!(
        send(harness, &far_end, &[1]).await,
        Ok(vec![]),
        "the transport still works after a lost answer"
    );
    assert_eq!(
        (far_end.taken)(),
        [1, 1],
        "the far end has it twice, under one id"
    );
}

/// A reset connection is no answer, and the next request uses another.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn survives_a_reset<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![Answer::Accept, Answer::Reset]).await;
    assert_eq!(send(harness, &far_end, &[1]).await, Ok(vec![]));
    let answer = send(harness, &far_end, &[2]).await;
    assert!(
        matches!(answer, Err(SendError::NoAnswer { .. })),
        "a reset is no answer, not {answer:?}"
    );
    assert_eq!(
        send(harness, &far_end, &[2]).await,
        Ok(vec![]),
        "the next request uses another connection"
    );
    assert_eq!((far_end.taken)(), [1, 2]);
}

/// Dropping a send that hangs leaves nothing behind that the next one could meet.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn survives_being_dropped<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![Answer::Hang]).await;
    let clock = harness.clock();
    {
        let hanging = std::pin::pin!(send(harness, &far_end, &[1]));
        let time_limit = clock.sleep(Duration::from_millis(50));
        match select(hanging, time_limit).await {
            Either::Left((answer, _)) => {
                panic!("a far end that hangs gives no answer, not {answer:?}")
            }
            Either::Right(_) => {}
        }
    }
    assert_eq!(
        send(harness, &far_end, &[2]).await,
        Ok(vec![]),
        "the transport still works after a dropped send"
    );
    assert_eq!((far_end.taken)(), [2]);
}

/// Two sends at once both arrive.
///
/// # Panics
///
/// When the transport fails the check.
pub async fn sends_concurrently<H: Harness>(harness: &H) {
    let far_end = harness.connect(vec![]).await;
    let (one, two) = join(
        send(harness, &far_end, &[1, 2]),
        send(harness, &far_end, &[3, 4]),
    )
    .await;
    assert_eq!((one, two), (Ok(vec![]), Ok(vec![])));
    let mut taken = (far_end.taken)();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2, 3, 4]);
}
