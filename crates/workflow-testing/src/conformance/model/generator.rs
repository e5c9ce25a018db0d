//! Draws operations at random.

use workflow_engine::store::{
    CancelRequest, Claim, ClaimRequest, Commit, Cursor, Due, NewRun, Page, Position, Purge, Record,
    Span,
};
use workflow_engine::{RunFilter, RunKey, Status};
use workflow_events::Timestamp;

use super::super::fixture::{at, record, record_without_entry};
use super::naive::Naive;
use super::op::Op;

const IDS: [&str; 6] = ["a", "b", "a%", "a_", "c", "d"];
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
const WORKFLOWS: [&str; 3] = ["order", "billing", "mail"];
const SINKS: [&str; 3] = ["s0", "s1", "s2"];

/// Draws operations to which the documentation gives exactly one answer.
#[derive(Debug)]
pub(super) struct Generator {
    random: fastrand::Rng,
    /// The time, which advances with every operation so that no two runs end at the same time.
    now: i64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: 0,
        }
    }

    /// Draws an operation, with the operations that must precede it.
    pub(super) fn next(&mut self, model: &Naive) -> Vec<Op> {
        self.now += self.random.i64(1..1_500);
        match self.random.u32(0..100) {
            0..14 => self.create(),
            14..44 if !model.valid_claims().is_empty() || self.rarely() => vec![self.commit(model)],
            14..60 => self.claim(),
            60..64 => vec![self.release(model)],
            64..68 => vec![self.renew()],
            68..70 => vec![Op::Retire(self.pick(&WORKERS), self.time(0))],
            70..76 => vec![self.cancel()],
            76..78 => vec![Op::Run(self.pick(&IDS))],
            78..80 => vec![self.records(model)],
            80..83 => vec![self.list(model)],
            83..86 => {
                let bytes = if self.random.bool() {
                    usize::MAX
                } else {
                    self.random.usize(0..2_000)
                };
                let page = Page {
                    events: self.random.usize(0..8),
                    bytes,
                };
                vec![Op::Outbox(self.place(model), page)]
            }
            86..95 => vec![self.cursor(model)],
            _ => vec![self.purge()],
        }
    }

    fn create(&mut self) -> Vec<Op> {
        let id = self.pick(&IDS);
        let worker = self.pick(&WORKERS);
        let status = match self.random.u32(0..20) {
            0 => self.status(),
            1..11 => Status::Queued,
            _ => Status::Running,
        };
        let (first_seq, events) = if self.rarely() {
            (self.random.u64(0..3), 0)
        } else {
            (1, self.random.u64(1..3))
        };
        let mut record = self.record(&id, first_seq, events);
        if self.random.bool() {
            record.at = self.around(3_000);
        }
        let new = NewRun {
            workflow: self.pick(&WORKFLOWS),
            execution_id: self.random.bool().then(|| format!("corr-{id}")),
            status,
            worker: worker.clone(),
            record,
            id,
        };
        // The documentation does not order these two reasons for a refusal.
        if events == 0 && Status::check(None, status).is_err() {
            return vec![];
        }
        vec![self.lease(worker), Op::Create(new)]
    }

    fn commit(&mut self, model: &Naive) -> Op {
        let claim = self.any_claim(model);
        let status = match self.random.u32(0..20) {
            0..9 => Status::Running,
            9..13 => Status::Suspended,
            13..16 => Status::Completed,
            16..18 => Status::Cancelled,
            _ => self.status(),
        };
        let mut next = model.last_seq(claim.key) + 1;
        if self.rarely() {
            next = (next + self.random.u64(0..3)).saturating_sub(1);
        }
        let mut records = Vec::new();
        for _ in 0..self.some(4) {
            let events = self.some(3);
            records.push(self.record("x", next, events));
            next += events;
        }
        // Each record of a commit has its own time. The time of the last is the end of the run.
        for (record, age) in records.iter_mut().rev().zip(0..) {
            record.at = self.time(-age);
        }
        let due_at = (status == Status::Suspended && !self.rarely()).then(|| self.around(5_000));
        Op::Commit(Commit {
            claim,
            records,
            status,
            due_at,
        })
    }

    fn claim(&mut self) -> Vec<Op> {
        let worker = self.pick(&WORKERS);
        let run = (self.random.u32(0..4) == 0).then(|| self.pick(&IDS));
        let workflows = (self.random.u32(0..3) == 0).then(|| {
            let wanted = WORKFLOWS.iter().filter(|_| self.random.u32(0..3) > 0);
            wanted.map(|&name| name.to_owned()).collect()
        });
        // Clocks differ between machines and are set back.
        let now = if self.rarely() {
            self.time(-20_000)
        } else {
            self.time(0)
        };
        let request = ClaimRequest {
            worker: worker.clone(),
            now,
            run,
            workflows,
            limit: self.random.usize(0..4),
        };
        // A worker that claims has a lease.
        vec![self.lease(worker), Op::Claim(request)]
    }

    fn release(&mut self, model: &Naive) -> Op {
        let time = self.around(5_000);
        let due = if self.random.bool() {
            Due::Now(time)
        } else {
            Due::At(time)
        };
        Op::Release(self.any_claim(model), due)
    }

    fn renew(&mut self) -> Op {
        let until = self.around(8_000);
        Op::Renew(self.pick(&WORKERS), until)
    }

    fn lease(&mut self, worker: String) -> Op {
        let time = self.random.i64(1..10_000);
        Op::Renew(worker, self.time(time))
    }

    fn cancel(&mut self) -> Op {
        let id = self.pick(&IDS);
        let now = self.around(1_000);
        let reason = self.random.bool().then(|| format!("reason {}", self.now));
        Op::Cancel(
            id,
            CancelRequest {
                reason,
                immediate: self.random.bool(),
                at: now,
            },
        )
    }

    fn records(&mut self, model: &Naive) -> Op {
        let span = [Span::All, Span::First, Span::Last][self.random.usize(0..3)];
        Op::Records(self.any_claim(model).key, span)
    }

    fn list(&mut self, model: &Naive) -> Op {
        let statuses = Status::ALL
            .into_iter()
            .filter(|_| self.random.u32(0..3) == 0)
            .collect();
        Op::List(RunFilter {
            statuses,
            workflow: self.rarely().then(|| self.pick(&WORKFLOWS)),
            id_prefix: self
                .random
                .bool()
                .then(|| self.pick(&["a", "a%", "a_", "", "x"])),
            after: self.random.bool().then(|| self.any_claim(model).key),
            limit: self.random.usize(0..6),
            ..RunFilter::default()
        })
    }

    fn cursor(&mut self, model: &Naive) -> Op {
        let sink = self.pick(&SINKS);
        let Some(current) = model.cursor(&sink) else {
            // A cursor at the start prevents every purge, so few are opened.
            return if self.random.u32(0..4) == 0 {
                Op::Open(sink)
            } else {
                self.purge()
            };
        };
        let position = if self.random.u32(0..4) > 0 {
            Position(model.accepted())
        } else {
            self.place(model)
        };
        match self.random.u32(0..13) {
            0..2 => Op::Open(sink),
            12 => Op::Cursors,
            2..5 => Op::Drop(sink),
            // The documentation does not say which counts win when the position stays the same.
            _ if position == current.position => Op::Set(sink, current),
            _ => {
                let delivered = self.random.u64(0..50);
                let rejected = self.random.u64(0..5);
                Op::Set(
                    sink,
                    Cursor {
                        position,
                        delivered,
                        rejected,
                        missed: self.random.u64(0..5),
                    },
                )
            }
        }
    }

    fn purge(&mut self) -> Op {
        let mut before = || {
            let age = self.random.i64(0..2_000);
            (!self.rarely()).then(|| self.time(-age))
        };
        let completed = before();
        let failed = before();
        let cancelled = before();
        Op::Purge(Purge {
            completed,
            failed,
            cancelled,
            limit: self.random.usize(0..4),
        })
    }

    /// Draws a claim: mostly a valid one, otherwise one that has ended or never existed.
    fn any_claim(&mut self, model: &Naive) -> Claim {
        let valid = model.valid_claims();
        if !valid.is_empty() && self.random.u32(0..5) > 0 {
            return valid[self.random.usize(0..valid.len())];
        }
        // The last key belongs to no run yet.
        let key = RunKey(self.random.u64(1..=model.last_key() + 1));
        let epoch = model.epoch(key) + self.random.u64(0..2);
        Claim {
            key,
            epoch: epoch.saturating_sub(self.random.u64(0..2)),
        }
    }

    fn record(&mut self, run: &str, first_seq: u64, events: u64) -> Record {
        let make_record = if self.random.bool() {
            record
        } else {
            record_without_entry
        };
        make_record(run, first_seq, self.time(0), events)
    }

    fn place(&mut self, model: &Naive) -> Position {
        Position(self.random.u64(0..=model.accepted()))
    }

    fn status(&mut self) -> Status {
        Status::ALL[self.random.usize(0..Status::ALL.len())]
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.random.usize(0..from.len())].to_owned()
    }

    /// Draws a number below `end`, rarely 0.
    fn some(&mut self, end: u64) -> u64 {
        if self.rarely() {
            0
        } else {
            self.random.u64(1..end)
        }
    }

    fn rarely(&mut self) -> bool {
        self.random.u32(0..12) == 0
    }

    /// Returns the current time, or the given number of milliseconds after it.
    fn time(&self, after: i64) -> Timestamp {
        Timestamp::from_millis(at(0).as_millis() + self.now + after)
            .expect("a sequence takes less than a thousand years")
    }

    /// Draws a time up to one second ago, or up to the given number of milliseconds ahead.
    fn around(&mut self, ahead: i64) -> Timestamp {
        let after = self.random.i64(-1_000..ahead);
        self.time(after)
    }
}
