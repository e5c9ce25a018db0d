//! Group commit: the writes of one kind are one statement, and all callers get their replies once
//! it is durable. If one write fails, the others are executed without it.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::Instant;
use workflow_engine::store::{Commit, Committed, Created, NewRun, Record};
use workflow_engine::{RunKey, StoreError};

use crate::db::{Answers, Db, MAX_COLLISION_RETRIES};
use crate::error::OperationError;
use crate::error::sqlstate::message;
use crate::error::store::{backend, closed};
use crate::reply::Reply;
use crate::sql::PLACE_BITS;

/// How long the writes of a failed group are executed one by one, while other writes wait.
const MAX_SINGLE_WRITES_TIME: Duration = Duration::from_secs(5);

/// Writes, with the replies to their callers.
type Waiting<K> = Vec<(K, Reply<<K as Kind>::Answer>)>;

/// A kind of writes that are executed in groups: creations, or commits.
pub(crate) trait Kind: Sized + Send + Sync {
    type Key: Hash + Eq;
    type Answer: Send;

    /// Returns the key of the run. A group has at most one write of each run.
    fn key(&self) -> Self::Key;

    /// Returns the records that are added.
    fn records(&self) -> &[Record];

    /// Executes a group in one statement.
    fn execute<'a>(
        group: &'a [Self],
        db: &'a Db,
    ) -> BoxFuture<'a, Result<Answers<Self::Answer>, OperationError>>;

    /// Returns the keys of the writes that can be executed now, because no row that they need seems
    /// to be locked.
    fn free<'a>(
        group: &'a [Self],
        db: &'a Db,
    ) -> BoxFuture<'a, Result<HashSet<Self::Key>, OperationError>>;
}

impl Kind for NewRun {
    type Key = String;
    type Answer = Created;

    fn key(&self) -> String {
        self.id.clone()
    }

    fn records(&self) -> &[Record] {
        std::slice::from_ref(&self.record)
    }

    fn execute<'a>(
        group: &'a [Self],
        db: &'a Db,
    ) -> BoxFuture<'a, Result<Answers<Created>, OperationError>> {
        db.create(group).boxed()
    }

    fn free<'a>(
        group: &'a [Self],
        _: &'a Db,
    ) -> BoxFuture<'a, Result<HashSet<String>, OperationError>> {
        ready(Ok(group.iter().map(Self::key).collect())).boxed()
    }
}

impl Kind for Commit {
    type Key = RunKey;
    type Answer = Committed;

    fn key(&self) -> RunKey {
        self.claim.key
    }

    fn records(&self) -> &[Record] {
        &self.records
    }

    fn execute<'a>(
        group: &'a [Self],
        db: &'a Db,
    ) -> BoxFuture<'a, Result<Answers<Committed>, OperationError>> {
        db.commit(group).boxed()
    }

    fn free<'a>(
        group: &'a [Self],
        db: &'a Db,
    ) -> BoxFuture<'a, Result<HashSet<RunKey>, OperationError>> {
        db.unlocked(group).boxed()
    }
}

/// Executes writes of one kind. An error means that the connection is lost.
pub(crate) async fn grouped<K: Kind>(
    db: &Db,
    mut waiting: Waiting<K>,
) -> Result<(), OperationError> {
    let mut repeats = 0;
    while !waiting.is_empty() {
        let (group, later) = next_group(waiting);
        waiting = later;
        let (writes, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match execute_retrying(db, &writes).await {
            Ok(answers) => {
                let mut again = Vec::new();
                for ((answer, reply), write) in answers.into_iter().zip(replies).zip(writes) {
                    match answer {
                        Some(answer) => drop(reply.send(answer)),
                        None if repeats < MAX_COLLISION_RETRIES => again.push((write, reply)),
                        None => drop(
                            reply.send(Err(backend("a write was neither executed nor refused"))),
                        ),
                    }
                }
                repeats += usize::from(!again.is_empty());
                again.append(&mut waiting);
                waiting = again;
            }
            Err(OperationError::Connection(error)) => {
                refuse(
                    replies
                        .into_iter()
                        .chain(waiting.into_iter().map(|(_, reply)| reply)),
                    &message(&error),
                );
                return Err(OperationError::Refused(closed()));
            }
            Err(error) if writes.len() > 1 => {
                let (locked, error) = (error.is_locked(), StoreError::from(error).to_string());
                tracing::debug!(
                    error,
                    writes = writes.len(),
                    "a group of writes failed; its writes are retried one by one"
                );
                let free = if locked {
                    K::free(&writes, db).await?
                } else {
                    writes.iter().map(K::key).collect()
                };
                let group = writes.into_iter().zip(replies);
                let (mut free, held): (Vec<_>, Vec<_>) =
                    group.partition(|(write, _)| free.contains(&write.key()));
                if held.is_empty() {
                    execute_singly(db, free, &error).await?;
                } else {
                    // The others are executed together.
                    refuse(held.into_iter().map(|(_, reply)| reply), &error);
                    free.append(&mut waiting);
                    waiting = free;
                }
            }
            Err(error) => {
                let mut error = Some(StoreError::from(error));
                replies
                    .into_iter()
                    .for_each(|reply| drop(reply.send(Err(error.take().unwrap_or_else(closed)))));
            }
        }
    }
    Ok(())
}

/// Replies to writes that were not executed.
fn refuse<T>(replies: impl Iterator<Item = Reply<T>>, error: &str) {
    replies.for_each(|reply| drop(reply.send(Err(backend(error.to_owned())))));
}

/// Executes each write of a group by itself, because one of them has made the group fail.
async fn execute_singly<K: Kind>(
    db: &Db,
    group: Waiting<K>,
    error: &str,
) -> Result<(), OperationError> {
    let begun = Instant::now();
    let mut group = group.into_iter();
    while begun.elapsed() < MAX_SINGLE_WRITES_TIME
        && let Some(write) = group.next()
    {
        Box::pin(grouped(db, vec![write])).await?;
    }
    refuse(group.map(|(_, reply)| reply), error);
    Ok(())
}

/// Takes the first writes that fit into one statement. Replies to those that fit into none.
fn next_group<K: Kind>(waiting: Waiting<K>) -> (Waiting<K>, Waiting<K>) {
    let (mut group, mut later) = (Vec::new(), Vec::new());
    let (mut keys, mut size) = (HashSet::new(), Size::default());
    for (write, reply) in waiting {
        let more = Size::of(write.records());
        if more.exceeds(&MAX_WRITE_SIZE) {
            let why = format!("a write of {more} is too large: the limit is {MAX_WRITE_SIZE}");
            drop(reply.send(Err(StoreError::Refused { why })));
            continue;
        }
        let full = !group.is_empty() && size.plus(&more).exceeds(&MAX_GROUP_SIZE);
        if full || !later.is_empty() || !keys.insert(write.key()) {
            later.push((write, reply));
            continue;
        }
        size = size.plus(&more);
        group.push((write, reply));
    }
    (group, later)
}

/// Executes a group, and retries after a collision with another statement.
async fn execute_retrying<K: Kind>(
    db: &Db,
    writes: &[K],
) -> Result<Answers<K::Answer>, OperationError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    for _ in 0..MAX_COLLISION_RETRIES {
        match K::execute(writes, db).await {
            Err(error) if error.is_collision() => {}
            done => return done,
        }
    }
    K::execute(writes, db).await
}

/// The size of writes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    events: usize,
    bytes: usize,
}

/// The largest write. There are no positions for more events, and PostgreSQL accepts less than a
/// gibibyte in one message.
const MAX_WRITE_SIZE: Size = Size {
    events: (1 << PLACE_BITS) - 1,
    bytes: 512 << 20,
};
/// The largest group, unless one write is larger.
const MAX_GROUP_SIZE: Size = Size {
    events: 1 << (PLACE_BITS - 1),
    bytes: 16 << 20,
};

impl Size {
    fn of(records: &[Record]) -> Self {
        let payload = |record: &Record| {
            record
                .entry
                .as_ref()?
                .payload
                .as_ref()
                .map(|payload| payload.as_str().len())
        };
        let bytes = |record: &Record| {
            let events: usize = record
                .events
                .iter()
                .map(|event| event.as_str().len() + 1)
                .sum();
            events + payload(record).unwrap_or_default()
        };
        Self {
            events: records.iter().map(|record| record.events.len()).sum(),
            bytes: records.iter().map(bytes).sum(),
        }
    }

    fn plus(&self, more: &Self) -> Self {
        Self {
            events: self.events + more.events,
            bytes: self.bytes + more.bytes,
        }
    }

    fn exceeds(&self, limit: &Self) -> bool {
        self.events > limit.events || self.bytes > limit.bytes
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events and {} bytes", self.events, self.bytes)
    }
}
