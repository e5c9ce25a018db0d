//! Records as columns, as the functions of the schema accept them.

use std::borrow::Cow;

use tokio_postgres::types::Type;
use workflow_engine::Timestamp;
use workflow_engine::store::{Claim, Record};

use crate::db::Parameter;
use crate::row::signed;
use crate::text::escape;

/// Records as columns.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) place: Vec<i64>,
    pub(crate) run: Vec<i64>,
    pub(crate) epoch: Vec<i64>,
    pub(crate) seq: Vec<i64>,
    pub(crate) last_seq: Vec<i64>,
    pub(crate) at: Vec<i64>,
    pub(crate) events: Vec<String>,
    pub(crate) kind: Vec<Option<&'static str>>,
    pub(crate) name: Vec<Option<Cow<'a, str>>>,
    pub(crate) occurrence: Vec<Option<i64>>,
    pub(crate) attempt: Vec<Option<i64>>,
    pub(crate) due_at: Vec<Option<i64>>,
    pub(crate) payload: Vec<Option<&'a str>>,
    /// The number of events, which is the place of the next one.
    next: i64,
}

impl<'a> Columns<'a> {
    pub(crate) fn push(&mut self, claim: Claim, record: &'a Record) {
        let entry = record.entry.as_ref();
        self.place.push(self.next);
        self.run.push(signed(claim.key.0));
        self.epoch.push(signed(claim.epoch));
        self.seq.push(signed(record.first_seq));
        self.last_seq.push(signed(record.last_seq()));
        self.at.push(record.at.as_millis());
        self.events.push(record.events_json());
        self.kind.push(entry.map(|entry| entry.kind.stored_name()));
        self.name.push(entry.map(|entry| escape(&entry.name)));
        self.occurrence
            .push(entry.map(|entry| entry.occurrence.into()));
        self.attempt.push(entry.map(|entry| entry.attempt.into()));
        self.due_at.push(
            entry
                .and_then(|entry| entry.due_at)
                .map(Timestamp::as_millis),
        );
        self.payload.push(
            entry
                .and_then(|entry| entry.payload.as_ref())
                .map(|payload| payload.as_str()),
        );
        self.next += signed(record.events.len());
    }

    /// Returns the columns of every record, in the order of the parameters of the schema's
    /// functions.
    pub(crate) fn parameters(&self) -> [Parameter<'_>; 10] {
        [
            (&self.at, Type::INT8_ARRAY),
            (&self.last_seq, Type::INT8_ARRAY),
            (&self.events, Type::TEXT_ARRAY),
            (&self.kind, Type::TEXT_ARRAY),
            (&self.name, Type::TEXT_ARRAY),
            (&self.occurrence, Type::INT8_ARRAY),
            (&self.attempt, Type::INT8_ARRAY),
            (&self.due_at, Type::INT8_ARRAY),
            (&self.payload, Type::TEXT_ARRAY),
            (&self.place, Type::INT8_ARRAY),
        ]
    }
}
