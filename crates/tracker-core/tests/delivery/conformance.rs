//! The suite passes for the transport in memory, and fails for transports that are wrong in one way
//! each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tracker_core::testing::conformance::{self, Answer, Connected, Harness};
use tracker_core::testing::{MemoryTransport, TestClock};
use tracker_core::{Clock, Receipt, SendError, SendOptions, Transport};

/// The fault of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    AcksLostAnswers,
    Reorders,
    LosesTheLast,
    Retries,
    ForgetsRetryAfter,
    HidesVerdicts,
    TurnsStatusesIntoSilence,
    OneAtATimeForEver,
    SendsLater,
}

#[derive(Debug)]
struct Rig {
    flaw: Flaw,
    clock: Arc<TestClock>,
}

#[async_trait]
impl Harness for Rig {
    type Event = u64;

    fn event(&self, id: u64) -> u64 {
        id
    }

    async fn connect(&self, answers: Vec<Answer>) -> Connected<u64> {
        let inner = Arc::new(MemoryTransport::new());
        for answer in answers {
            match answer {
                Answer::Accept => inner.then_reject([]),
                Answer::Reject(indices) => inner.then_reject(indices),
                Answer::Status(status) => inner.then_status(status),
                Answer::RetryAfter(seconds) => {
                    inner.then_retry_after(503, Duration::from_secs(seconds))
                }
                Answer::LoseAnswer => inner.then_lose_answer(),
                Answer::Reset => inner.then_fail(SendError::no_answer("reset")),
                Answer::Hang => inner.then_hang(),
                other => panic!("the far end in memory cannot {other:?}"),
            }
        }
        let transport = Flawed {
            flaw: self.flaw,
            inner: inner.clone(),
            state: Mutex::default(),
        };
        Connected {
            transport: Box::new(transport),
            taken: Box::new(move || inner.delivered()),
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
}

#[derive(Debug)]
struct Flawed {
    flaw: Flaw,
    inner: Arc<MemoryTransport<u64>>,
    state: Mutex<Vec<u64>>,
}

#[async_trait]
impl Transport<u64> for Flawed {
    async fn send(&self, events: &[u64], options: SendOptions) -> Result<Receipt, SendError> {
        let mut events = events.to_vec();
        match self.flaw {
            Flaw::Reorders => events.reverse(),
            Flaw::LosesTheLast if events.len() > 1 => drop(events.pop()),
            Flaw::SendsLater => {
                // Buffers, although a transport must not: the events of a dropped send are sent
                // with the next batch.
                let mut left = std::mem::take(&mut *lock(&self.state));
                left.append(&mut events);
                lock(&self.state).clone_from(&left);
                events = left;
            }
            Flaw::OneAtATimeForEver => {
                if !lock(&self.state).is_empty() {
                    return Err(SendError::no_answer("another send is under way"));
                }
                lock(&self.state).push(0);
            }
            _ => {}
        }
        let mut answer = self.inner.send(&events, options).await;
        if matches!(self.flaw, Flaw::OneAtATimeForEver | Flaw::SendsLater) {
            lock(&self.state).clear();
        }
        if self.flaw == Flaw::Retries && answer.is_err() {
            answer = self.inner.send(&events, options).await;
        }
        match (self.flaw, answer) {
            (Flaw::AcksLostAnswers, Err(SendError::NoAnswer { .. })) => Ok(Receipt::default()),
            (Flaw::HidesVerdicts, Ok(_)) => Ok(Receipt::default()),
            (Flaw::TurnsStatusesIntoSilence, Err(error)) => {
                Err(SendError::no_answer(error.to_string()))
            }
            (Flaw::ForgetsRetryAfter, Err(SendError::Answer { status, .. })) => {
                Err(SendError::status(status))
            }
            (_, answer) => answer,
        }
    }
}

fn lock(state: &Mutex<Vec<u64>>) -> std::sync::MutexGuard<'_, Vec<u64>> {
    state.lock().expect("nobody panics under it")
}

fn run(flaw: Flaw) {
    let clock = Arc::new(TestClock::new());
    clock.run(conformance::all(&Rig {
        flaw,
        clock: clock.clone(),
    }));
}

#[test]
fn the_transport_in_memory_conforms() {
    run(Flaw::None);
}

#[test]
#[should_panic(expected = "a lost answer is none")]
fn a_transport_that_acknowledges_lost_answers_fails() {
    run(Flaw::AcksLostAnswers);
}

#[test]
#[should_panic(expected = "events arrive in order")]
fn a_transport_that_reorders_fails() {
    run(Flaw::Reorders);
}

#[test]
#[should_panic(expected = "events arrive in order")]
fn a_transport_that_loses_an_event_fails() {
    run(Flaw::LosesTheLast);
}

#[test]
#[should_panic(expected = "must be an answer")]
fn a_transport_that_retries_by_itself_fails() {
    run(Flaw::Retries);
}

#[test]
#[should_panic(expected = "the wait that was asked for is reported")]
fn a_transport_that_forgets_retry_after_fails() {
    run(Flaw::ForgetsRetryAfter);
}

#[test]
#[should_panic(expected = "verdicts are per event")]
fn a_transport_that_hides_verdicts_fails() {
    run(Flaw::HidesVerdicts);
}

#[test]
#[should_panic(expected = "must be an answer")]
fn a_transport_that_turns_statuses_into_silence_fails() {
    run(Flaw::TurnsStatusesIntoSilence);
}

#[test]
#[should_panic(expected = "the transport still works after a dropped send")]
fn a_transport_that_a_dropped_send_blocks_fails() {
    run(Flaw::OneAtATimeForEver);
}

#[test]
#[should_panic(expected = "left: [1, 2]")]
fn a_transport_that_sends_what_was_dropped_fails() {
    run(Flaw::SendsLater);
}
