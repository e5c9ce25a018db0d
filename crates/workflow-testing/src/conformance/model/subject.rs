//! The store under test, with keys and positions translated to those of the model.

use std::sync::Arc;

use workflow_engine::store::{CancelReply, Claim, Commit, Created, Cursor, OutboxEnd, Position};
use workflow_engine::{Run, RunFilter, RunKey, Store, StoreError};
use workflow_events::Timestamp;

use super::super::snapshot::{Written, events};
use super::answer::{Answer, Refusal};
use super::naive::Naive;
use super::op::Op;

/// A store under test.
#[derive(Debug)]
pub(super) struct Subject {
    store: Arc<dyn Store>,
    /// The store's key of each run, in the order of creation. The model's keys are 1, 2, 3 and so
    /// on.
    keys: Vec<RunKey>,
    /// The store's position of each event, in order. The model's positions are 1, 2, 3 and so on.
    places: Vec<Position>,
}

impl Subject {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            keys: Vec::new(),
            places: Vec::new(),
        }
    }

    pub(super) async fn apply(&mut self, op: Op) -> Answer {
        match self.execute(op).await {
            Ok(answer) => answer,
            Err(error) => Answer::Refused(match error {
                StoreError::UnknownRun { .. } => Refusal::Unknown,
                StoreError::Fenced { .. } => Refusal::Fenced,
                StoreError::Behind { .. } => Refusal::Behind,
                StoreError::Transition(_) => Refusal::Transition,
                StoreError::CancelRequested(cancel) => Refusal::Cancel(*cancel),
                other => Refusal::Failed(other.to_string()),
            }),
        }
    }

    async fn execute(&mut self, op: Op) -> Result<Answer, StoreError> {
        let store = self.store.clone();
        Ok(match op {
            Op::Create(new) => match store.create(new).await? {
                Created::Exists(run) => Answer::Exists(self.run(*run)),
                Created::New(claim) => {
                    if self.keys.last().is_none_or(|last| *last < claim.key) {
                        self.keys.push(claim.key);
                    }
                    Answer::Created(Claim {
                        key: self.key(claim.key),
                        ..claim
                    })
                }
            },
            Op::Commit(commit) => {
                let claim = self.own_claim(commit.claim);
                Answer::Committed(store.commit(Commit { claim, ..commit }).await?.cancel)
            }
            Op::Claim(request) => {
                let mut claims = store.claim(request).await?;
                claims.unknown.sort();
                let runs = claims.runs.into_iter().map(|claimed| {
                    let claim = Claim {
                        key: self.key(claimed.claim.key),
                        ..claimed.claim
                    };
                    (claim, self.run(claimed.run), claimed.died)
                });
                Answer::Claims {
                    runs: runs.collect(),
                    next_due: claims.next_due,
                    unknown: claims.unknown,
                }
            }
            Op::Release(claim, due) => {
                store.release(self.own_claim(claim), due).await?;
                Answer::Done
            }
            Op::Renew(worker, until) => {
                let cancels = store.renew(&worker, until).await?;
                let mut cancels: Vec<_> = cancels
                    .into_iter()
                    .map(|(key, cancel)| (self.key(key), cancel))
                    .collect();
                cancels.sort_by_key(|(key, _)| *key);
                Answer::Cancels(cancels)
            }
            Op::Retire(worker, now) => {
                store.retire(&worker, now).await?;
                Answer::Done
            }
            Op::Cancel(id, request) => {
                Answer::Cancel(match store.request_cancel(&id, request).await? {
                    CancelReply::Accepted(run) => CancelReply::Accepted(Box::new(self.run(*run))),
                    other => other,
                })
            }
            Op::Run(id) => Answer::Run(store.run(&id).await?.map(|run| self.run(run))),
            Op::Records(key, span) => {
                let records = store.records(self.own_key(key), span).await?;
                Answer::Records(records.iter().map(Written::from).collect())
            }
            Op::List(filter) => {
                let after = filter.after.map(|key| self.own_key(key));
                Answer::Runs(self.translated(store.list(&RunFilter { after, ..filter }).await?))
            }
            Op::Cursors => {
                let place = |(sink, cursor): (_, Cursor)| {
                    (
                        sink,
                        Cursor {
                            position: self.place(cursor.position),
                            ..cursor
                        },
                    )
                };
                Answer::Cursors(store.cursors().await?.into_iter().map(place).collect())
            }
            Op::Outbox(after, page) => {
                let events = store.outbox(self.own_place(after), page).await?;
                let place = |(place, event): (_, workflow_engine::EncodedEvent)| {
                    (self.place(place), event.as_str().to_owned())
                };
                Answer::Events(events.into_iter().map(place).collect())
            }
            Op::Open(sink) => {
                let cursor = store.open_cursor(&sink).await?;
                Answer::Cursor(Cursor {
                    position: self.place(cursor.position),
                    ..cursor
                })
            }
            Op::Set(sink, cursor) => {
                let position = self.own_place(cursor.position);
                let held = store
                    .claim_sink(&sink, "relay", Timestamp::UNIX_EPOCH)
                    .await?;
                store
                    .set_cursor(
                        &held.expect("it is not claimed"),
                        Cursor { position, ..cursor },
                    )
                    .await?;
                Answer::Done
            }
            Op::Drop(sink) => Answer::Dropped(store.drop_cursor(&sink).await?),
            Op::Purge(purge) => Answer::Purged(super::super::fixture::purge(&store, purge).await),
        })
    }

    /// Reads the new events, and asserts that they are those of the model and follow all earlier
    /// ones.
    pub(super) async fn check_new_events(&mut self, model: &Naive, context: &str) {
        let after = self.places.last().copied().unwrap_or_default();
        let known = Position(self.places.len() as u64);
        let new = events(&self.store, after).await;
        self.places.extend(new.iter().map(|(place, _)| *place));
        assert!(
            self.places.is_sorted_by(|one, next| one < next),
            "{context}: places must increase: {new:?}"
        );
        let new: Vec<_> = new
            .into_iter()
            .map(|(place, event)| (self.place(place), event))
            .collect();
        let expected = model.events(known);
        assert!(
            new == expected,
            "{context}: the store's new events are {new:#?}, the model's {expected:#?}"
        );
        let end = self.store.outbox_end().await.expect("the end is read");
        let end = OutboxEnd {
            position: self.place(end.position),
            readable: self.place(end.readable),
            ..end
        };
        assert_eq!(end, model.end(), "{context}: the end of the outbox");
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(super) fn translated(&self, runs: Vec<Run>) -> Vec<Run> {
        runs.into_iter().map(|run| self.run(run)).collect()
    }

    fn run(&self, run: Run) -> Run {
        Run {
            key: self.key(run.key),
            ..run
        }
    }

    /// Returns the model's key for a key of the store. A key that is unknown, or not higher than
    /// all before, becomes one that the model never has.
    fn key(&self, key: RunKey) -> RunKey {
        let index = self.keys.iter().position(|known| *known == key);
        RunKey(index.map_or(u64::MAX, |index| index as u64 + 1))
    }

    /// Returns the store's key for a key of the model. The next key becomes one that no run has.
    fn own_key(&self, key: RunKey) -> RunKey {
        let none = RunKey(self.keys.last().map_or(1, |last| last.0 + 1));
        self.keys.get(key.0 as usize - 1).copied().unwrap_or(none)
    }

    fn own_claim(&self, claim: Claim) -> Claim {
        Claim {
            key: self.own_key(claim.key),
            ..claim
        }
    }

    /// Returns the model's position for a position of the store. A position without an event
    /// becomes one that the model never has.
    fn place(&self, place: Position) -> Position {
        if place == Position(0) {
            return place;
        }
        let index = self.places.iter().position(|known| *known == place);
        Position(index.map_or(u64::MAX, |index| index as u64 + 1))
    }

    /// Returns the store's position for a position of the model.
    fn own_place(&self, place: Position) -> Position {
        place
            .0
            .checked_sub(1)
            .map_or(place, |index| self.places[index as usize])
    }
}
