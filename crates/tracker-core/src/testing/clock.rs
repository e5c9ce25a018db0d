//! A clock that never waits: when the future cannot proceed, the clock jumps to the next timer.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::clock::Clock;
use crate::sync::{Mutex, StdArc};

/// A [`Clock`] for tests, and the single-threaded executor that moves it.
///
/// [`run`](Self::run) polls a future; whenever it is stuck, time jumps to the earliest timer.
/// Nothing sleeps, and the same test takes the same course every time.
#[derive(Debug, Default)]
pub struct TestClock {
    timers: Mutex<Timers>,
}

#[derive(Debug, Default)]
struct Timers {
    now: Duration,
    next_key: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl TestClock {
    /// Creates a clock that stands at zero; its wall time is then the Unix epoch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` to its end, skipping every wait.
    ///
    /// # Panics
    ///
    /// When the future can never finish: it is not woken, and nothing waits for a time.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = StdArc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            if !std::mem::take(&mut *woken.0.lock()) {
                assert!(
                    self.skip(),
                    "deadlock: the future waits for something that no timer will bring"
                );
            }
        }
    }

    /// Jumps to the earliest timer and fires it; `false` if there is none.
    fn skip(&self) -> bool {
        let mut timers = self.timers.lock();
        let Some(((at, _), waker)) = timers.waiting.pop_first() else {
            return false;
        };
        timers.now = timers.now.max(at);
        drop(timers);
        waker.wake();
        true
    }
}

#[derive(Default)]
struct Woken(Mutex<bool>);

impl Wake for Woken {
    fn wake(self: StdArc<Self>) {
        *self.0.lock() = true;
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.timers.lock().now
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }

    async fn sleep(&self, duration: Duration) {
        let mut timer = Timer {
            clock: self,
            key: None,
        };
        let at = self.now().saturating_add(duration);
        poll_fn(|cx| timer.poll(at, cx)).await;
    }
}

struct Timer<'a> {
    clock: &'a TestClock,
    key: Option<(Duration, u64)>,
}

impl Timer<'_> {
    fn poll(&mut self, at: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.clock.timers.lock();
        if timers.now >= at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            timers.next_key += 1;
            (at, timers.next_key)
        });
        timers.waiting.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.timers.lock().waiting.remove(&key);
        }
    }
}
