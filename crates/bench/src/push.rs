//! Push without delivery: the cost of an emit for the workflow.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, SdkLogger, SdkLoggerProvider,
};
use tracker_core::{Config, EventBuffer};

use crate::harness::{compare, contender};

type Event = [u8; 96];

const EVENT: Event = [7; 96];
const EVENTS: usize = 400_000;
const ROUNDS: usize = 15;

fn buffer() -> EventBuffer<Event> {
    EventBuffer::new(
        &Config::builder()
            .capacity_events(4 * EVENTS)
            .capacity_bytes(1 << 30)
            .build()
            .unwrap(),
    )
}

/// Runs `push` EVENTS times in each of `producers` threads at once; returns the time from start to
/// the last one's end.
fn produce(producers: usize, push: impl Fn(Event) + Sync) -> Duration {
    if producers == 1 {
        let started = Instant::now();
        (0..EVENTS).for_each(|_| push(black_box(EVENT)));
        return started.elapsed();
    }
    let barrier = Barrier::new(producers);
    let work = || {
        barrier.wait();
        let started = Instant::now();
        (0..EVENTS).for_each(|_| push(black_box(EVENT)));
        started.elapsed()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .max()
            .unwrap()
    })
}

/// An exporter that costs nothing, so that only the emit is measured.
#[derive(Debug)]
struct Nowhere;

impl LogExporter for Nowhere {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        Ok(())
    }
}

fn opentelemetry() -> (SdkLoggerProvider, SdkLogger) {
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(4 * EVENTS)
        .build();
    let processor = BatchLogProcessor::builder(Nowhere)
        .with_batch_config(config)
        .build();
    let provider = SdkLoggerProvider::builder()
        .with_log_processor(processor)
        .build();
    let logger = provider.logger("bench");
    (provider, logger)
}

fn run(producers: usize) {
    let (provider, logger) = opentelemetry();
    // Each contender is created before its round and emptied after it, so that all of them push
    // into memory that is already allocated.
    let ours = buffer();
    let (crossbeam, crossbeam_out) = crossbeam_channel::unbounded();
    let (flume, flume_out) = flume::unbounded();
    let (tokio, mut tokio_out) = tokio::sync::mpsc::unbounded_channel();
    let deque = Mutex::new(VecDeque::new());
    let contenders = vec![
        contender("tracker-core EventBuffer", || {
            let time = produce(producers, |event| ours.push(event).unwrap());
            // Leases keep the memory of the queue, as the emptying of the other contenders does; a
            // drain would free it.
            block_on(async {
                while let Some(lease) = ours.next_batch(ours.barrier()).await {
                    lease.ack();
                }
            });
            time
        }),
        contender("Mutex<VecDeque>", || {
            let time = produce(producers, |event| deque.lock().unwrap().push_back(event));
            deque.lock().unwrap().clear();
            time
        }),
        contender("crossbeam-channel, unbounded", || {
            let time = produce(producers, |event| crossbeam.send(event).unwrap());
            crossbeam_out.try_iter().for_each(drop);
            time
        }),
        contender("flume, unbounded", || {
            let time = produce(producers, |event| flume.send(event).unwrap());
            flume_out.drain().for_each(drop);
            time
        }),
        contender("tokio mpsc, unbounded", || {
            let time = produce(producers, |event| tokio.send(event).unwrap());
            while tokio_out.try_recv().is_ok() {}
            time
        }),
        contender("OpenTelemetry SDK 0.33, log emit", || {
            let time = produce(producers, |event| {
                let mut record = logger.create_log_record();
                record.set_body(AnyValue::Bytes(Box::new(event.to_vec())));
                logger.emit(record);
            });
            provider.force_flush().unwrap();
            time
        }),
    ];
    compare(ROUNDS, contenders, |time| {
        time.as_nanos() as f64 / EVENTS as f64
    });
}

pub fn one_producer() {
    run(1);
}

pub fn two_producers() {
    run(2);
}
