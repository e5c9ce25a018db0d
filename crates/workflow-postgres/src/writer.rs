//! The writer: one task, one connection, and group commit.
//!
//! Everything that is queued goes into one statement, as far as it is of one kind; when that is on the server's disk all
//! who wait are answered. What comes meanwhile is the next group: the slower the server, the larger the groups.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, join};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use workflow_engine::{Commit, Committed, Created, NewRun, Record, RunKey, StoreError};

use crate::connect::Connector;
use crate::error::words;
use crate::lane::{Fault, Lane, Opening, PATIENCE};
use crate::row::{backend, gone};
use crate::sql::PLACE_BITS;

/// How many writes a group has at most.
const GROUP: usize = 1024;
/// How often a group that meets another one is sent again.
const COLLISIONS: usize = 5;

/// What became of each write of a group; `None` stands for one that has to be tried again.
pub(crate) type Answers<T> = Vec<Option<Result<T, StoreError>>>;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is to be written.
pub(crate) enum Write {
    Create(NewRun, Reply<Created>),
    Commit(Commit, Reply<Committed>),
    Other(Box<dyn Other>),
}

/// A write that is done by itself, and answers.
pub(crate) trait Other: Send {
    /// Does it; an error says that the connection is lost.
    fn execute<'a>(self: Box<Self>, lane: &'a Lane) -> BoxFuture<'a, Result<(), Fault>>;

    /// Answers that it was not done.
    fn fail(self: Box<Self>, error: StoreError);
}

/// A write made of a function.
pub(crate) struct Call<T, F> {
    pub(crate) operation: F,
    pub(crate) reply: Reply<T>,
}

impl<T, F> Other for Call<T, F>
where
    T: Send + 'static,
    F: for<'a> FnMut(&'a Lane) -> BoxFuture<'a, Result<T, Fault>> + Send + 'static,
{
    fn execute<'a>(mut self: Box<Self>, lane: &'a Lane) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            let mut result = (self.operation)(lane).await;
            for _ in 0..COLLISIONS {
                if !result.as_ref().is_err_and(Fault::is_collision) {
                    break;
                }
                result = (self.operation)(lane).await;
            }
            let lost = matches!(result, Err(Fault::Connection(_)));
            // Whoever asked may have gone; the write has happened all the same.
            let _ = self.reply.send(result.map_err(StoreError::from));
            if lost { Err(Fault::Refused(gone())) } else { Ok(()) }
        }
        .boxed()
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// What a group does of one kind: creations, or commits.
pub(crate) trait Kind: Sized + Send + Sync {
    type Key: Hash + Eq;
    type Answer: Send;

    /// Which run it is about. A group has one of each at most.
    fn key(&self) -> Self::Key;

    /// What it adds.
    fn records(&self) -> &[Record];

    /// Does all of them in one statement.
    fn execute<'a>(group: &'a [Self], lane: &'a Lane) -> BoxFuture<'a, Result<Answers<Self::Answer>, Fault>>;
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

    fn execute<'a>(group: &'a [Self], lane: &'a Lane) -> BoxFuture<'a, Result<Answers<Created>, Fault>> {
        lane.create(group).boxed()
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

    fn execute<'a>(group: &'a [Self], lane: &'a Lane) -> BoxFuture<'a, Result<Answers<Committed>, Fault>> {
        lane.commit(group).boxed()
    }
}

/// Works until every handle of the store is gone, and everything that was queued is done.
pub(crate) async fn work(opening: Opening, first: Lane, mut queue: UnboundedReceiver<Write>) {
    let mut standing = Some(first);
    let mut group = Vec::new();
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let lane = match standing.take().filter(|lane| !lane.client.is_closed()) {
            Some(lane) => Ok(lane),
            None => opening.open().await,
        };
        match lane {
            Ok(lane) => {
                let settling = AssertUnwindSafe(settle(lane, std::mem::take(&mut group), &opening.connector));
                // Should it panic, whoever waits finds its reply dropped, and the next group a connection.
                standing = settling.catch_unwind().await.unwrap_or_default();
            }
            Err(error) => {
                let error = error.to_string();
                group.drain(..).for_each(|write| write.fail(&error));
            }
        }
    }
}

/// Does a group in order; returns the connection, unless it is lost.
async fn settle(lane: Lane, group: Vec<Write>, connector: &Arc<Connector>) -> Option<Lane> {
    let mut lane = Some(lane);
    let mut rest = group.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut creates, mut commits) = (Vec::new(), Vec::new());
        while let Some(write) = rest.next_if(|write| !matches!(write, Write::Other(_))) {
            match write {
                Write::Create(new, reply) => creates.push((new, reply)),
                Write::Commit(commit, reply) => commits.push((commit, reply)),
                Write::Other(_) => {}
            }
        }
        let other = rest.next_if(|write| matches!(write, Write::Other(_)));
        let Some(standing) = &lane else {
            let lost = || backend("the connection to the database was lost");
            creates.into_iter().for_each(|(_, reply)| drop(reply.send(Err(lost()))));
            commits.into_iter().for_each(|(_, reply)| drop(reply.send(Err(lost()))));
            other.into_iter().for_each(|write| write.fail("the connection to the database was lost"));
            continue;
        };
        let done = async {
            let (created, committed) = join(grouped(standing, creates), grouped(standing, commits)).await;
            created.and(committed)?;
            match other {
                Some(Write::Other(other)) => other.execute(standing).await,
                _ => Ok(()),
            }
        };
        // Replies that are dropped tell whoever waits.
        match timeout(PATIENCE, done).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => lane = None,
            Err(_) => {
                if let Some(lane) = lane.take() {
                    lane.give_up(connector);
                }
            }
        }
    }
    lane
}

/// Does writes of one kind; an error says that the connection is lost.
async fn grouped<K: Kind>(lane: &Lane, mut waiting: Vec<(K, Reply<K::Answer>)>) -> Result<(), Fault> {
    let mut repeats = 0;
    while !waiting.is_empty() {
        let (mut writes, mut replies, mut later) = (Vec::new(), Vec::new(), Vec::new());
        let (mut keys, mut size) = (HashSet::new(), Size::default());
        for (write, reply) in waiting {
            let more = Size::of(write.records());
            if more.exceeds(&LIMIT) {
                drop(reply.send(Err(backend(format!("a write of {more} is too large: the limit is {LIMIT}")))));
                continue;
            }
            let full = !writes.is_empty() && size.plus(&more).exceeds(&GROUP_SIZE);
            if full || !later.is_empty() || !keys.insert(write.key()) {
                later.push((write, reply));
                continue;
            }
            size = size.plus(&more);
            writes.push(write);
            replies.push(reply);
        }
        if writes.is_empty() {
            waiting = later;
            continue;
        }
        let answers = collided(lane, &writes).await;
        match answers {
            Ok(answers) => {
                let mut again = Vec::new();
                for ((answer, reply), write) in answers.into_iter().zip(replies).zip(writes) {
                    match answer {
                        Some(answer) => drop(reply.send(answer)),
                        None if repeats < COLLISIONS => again.push((write, reply)),
                        None => drop(reply.send(Err(backend("a write was neither done nor refused")))),
                    }
                }
                repeats += usize::from(!again.is_empty());
                again.append(&mut later);
                waiting = again;
            }
            Err(Fault::Connection(error)) => {
                let error = words(&error);
                let replies = replies.into_iter().chain(later.into_iter().map(|(_, reply)| reply));
                replies.for_each(|reply| drop(reply.send(Err(backend(error.clone())))));
                return Err(Fault::Refused(gone()));
            }
            // One of them is to blame: each is done by itself.
            Err(fault) if writes.len() > 1 => {
                let error = StoreError::from(fault);
                tracing::debug!(%error, writes = writes.len(), "a group failed; its writes are done one by one");
                for (write, reply) in writes.into_iter().zip(replies) {
                    Box::pin(grouped(lane, vec![(write, reply)])).await?;
                }
                waiting = later;
            }
            Err(fault) => {
                let mut error = Some(StoreError::from(fault));
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.take().unwrap_or_else(gone)))));
                waiting = later;
            }
        }
    }
    Ok(())
}

/// How much is written.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    events: usize,
    bytes: usize,
}

/// What one write may have: more events have no place, and PostgreSQL takes less than a gibibyte at once.
const LIMIT: Size = Size { events: (1 << PLACE_BITS) - 1, bytes: 512 << 20 };
/// What a group has at most, unless one write alone has more.
const GROUP_SIZE: Size = Size { events: 1 << (PLACE_BITS - 1), bytes: 16 << 20 };

impl Size {
    fn of(records: &[Record]) -> Self {
        let payload = |record: &Record| record.entry.as_ref()?.payload.as_ref().map(|payload| payload.as_str().len());
        let bytes = |record: &Record| {
            let events: usize = record.events.iter().map(|event| event.as_str().len() + 1).sum();
            events + payload(record).unwrap_or_default()
        };
        Self { events: records.iter().map(|record| record.events.len()).sum(), bytes: records.iter().map(bytes).sum() }
    }

    fn plus(&self, more: &Self) -> Self {
        Self { events: self.events + more.events, bytes: self.bytes + more.bytes }
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

/// Executes a group, again if it met another one.
async fn collided<K: Kind>(lane: &Lane, writes: &[K]) -> Result<Answers<K::Answer>, Fault> {
    for _ in 0..COLLISIONS {
        match K::execute(writes, lane).await {
            Err(fault) if fault.is_collision() => {}
            done => return done,
        }
    }
    K::execute(writes, lane).await
}

impl Write {
    fn fail(self, error: &str) {
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Commit(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Other(other) => other.fail(backend(error.to_owned())),
        }
    }
}
