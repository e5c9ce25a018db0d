//! A producer on another thread emits a burst of 64 events while the tracker shuts down, in many
//! trials.
//!
//! A burst fits the bits of one word: every event must be delivered, refused or returned exactly
//! once.

use std::error::Error;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tracker_core::{Books, BufferedTracker, Config, Receipt, SendError, SendOptions, Transport};
use tracker_http::TokioClock;

use crate::row::Row;

const BURST_EVENTS: u32 = u64::BITS;

/// A far end that records its events.
#[derive(Debug, Default)]
struct FarEnd {
    has: AtomicU64,
    received: AtomicU64,
}

#[async_trait]
impl Transport<u32> for FarEnd {
    async fn send(&self, events: &[u32], _options: SendOptions) -> Result<Receipt, SendError> {
        self.has.fetch_or(mask(events), SeqCst);
        self.received.fetch_add(events.len() as u64, SeqCst);
        Ok(Receipt::default())
    }
}

fn mask(events: &[u32]) -> u64 {
    events.iter().fold(0, |mask, event| mask | 1 << event)
}

/// The meeting point of the two threads; trials count from 1.
#[derive(Default)]
struct Meeting {
    tracker: Mutex<Option<Arc<BufferedTracker<u32>>>>,
    prepared: AtomicU64,
    ready: AtomicU64,
    started: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
}

impl Meeting {
    /// Emits one burst per trial.
    fn produce(&self, trials: u64) {
        for trial in 1..=trials {
            wait_for(&self.prepared, trial);
            let tracker = self
                .tracker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            self.ready.store(trial, SeqCst);
            wait_for(&self.started, trial);
            let refused = (0..BURST_EVENTS).filter_map(|event| tracker.as_ref()?.emit(event).err());
            let refused: Vec<_> = refused.map(|error| error.into_event()).collect();
            self.refused.store(mask(&refused), SeqCst);
            self.done.store(trial, SeqCst);
        }
    }
}

fn wait_for(number: &AtomicU64, at_least: u64) {
    let mut spins = 0;
    while number.load(SeqCst) < at_least {
        spins += 1;
        if spins < 10_000 {
            spin_loop()
        } else {
            thread::yield_now()
        }
    }
}

/// Runs the trials; returns their row, and a note with the number of real races.
pub(crate) async fn run(trials: u64) -> Result<(Row, String), Box<dyn Error>> {
    let meeting = Arc::new(Meeting::default());
    let producer = thread::spawn({
        let meeting = meeting.clone();
        move || meeting.produce(trials)
    });
    let start = Instant::now();
    let clock = Arc::new(TokioClock::new());
    let mut raced = 0;
    let mut row = Row::new(
        "emit racing shutdown, bursts of 64",
        trials * u64::from(BURST_EVENTS),
        &[],
        &[],
        Books::default(),
    );
    for trial in 1..=trials {
        let far_end = Arc::new(FarEnd::default());
        let tracker = Arc::new(BufferedTracker::new(
            Config::default(),
            far_end.clone(),
            clock.clone(),
            trial,
        ));
        *meeting
            .tracker
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(tracker.clone());
        meeting.prepared.store(trial, SeqCst);
        wait_for(&meeting.ready, trial);
        meeting.started.store(trial, SeqCst);
        // The shutdown begins at a different point of the burst in each trial.
        (0..trial * 37 % 120).for_each(|_| spin_loop());
        let report = tracker.shutdown(Duration::from_secs(30)).await;
        wait_for(&meeting.done, trial);

        let delivered = far_end.has.load(SeqCst);
        let refused = meeting.refused.load(SeqCst);
        let returned = mask(&report.returned);
        let books = tracker.books();
        let accepted = u64::from((!refused).count_ones());
        if books.accepted != accepted || books != report.books || delivered & refused != 0 {
            return Err(
                format!("trial {trial}: the producer counts {accepted} accepted; {books}").into(),
            );
        }
        raced += u64::from(refused != 0 && accepted != 0);
        row.delivered += u64::from(delivered.count_ones());
        row.back += u64::from((refused | returned).count_ones());
        row.both += u64::from((delivered & (refused | returned)).count_ones());
        row.received += far_end.received.load(SeqCst);
        row.books = row.books + books;
    }
    producer.join().map_err(|_| "the producer panicked")?;
    let took = start.elapsed();
    let each = took.as_secs_f64() * 1e6 / trials as f64;
    let note = format!(
        "emit racing shutdown: {trials} trials, {each:.1} µs each; in {raced} of them the shutdown fell into the burst"
    );
    Ok((row.took(took, "of all trials"), note))
}
