//! The writer: one task, one connection, and what is queued in its order.
//!
//! Everything that is queued is one group; what comes while it is written is the next: the slower
//! the server, the larger the groups.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, join};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use workflow_engine::StoreError;
use workflow_engine::store::{Commit, Committed, Created, NewRun};

use crate::connect::Connector;
use crate::group::{COLLISIONS, grouped};
use crate::lane::{Fault, Lane, Opening, PATIENCE};
use crate::row::{backend, gone};

/// How many writes a group has at most.
const GROUP: usize = 1024;

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
            if lost {
                Err(Fault::Refused(gone()))
            } else {
                Ok(())
            }
        }
        .boxed()
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
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
                let settling =
                    AssertUnwindSafe(settle(lane, std::mem::take(&mut group), &opening.connector));
                // Should it panic, whoever waits finds its reply dropped, and the next group a
                // connection.
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
            creates
                .into_iter()
                .for_each(|(_, reply)| drop(reply.send(Err(lost()))));
            commits
                .into_iter()
                .for_each(|(_, reply)| drop(reply.send(Err(lost()))));
            other
                .into_iter()
                .for_each(|write| write.fail("the connection to the database was lost"));
            continue;
        };
        // Replies that are dropped tell whoever waits.
        let groups = async { join(grouped(standing, creates), grouped(standing, commits)).await };
        match timeout(PATIENCE, groups).await {
            Ok((Ok(()), Ok(()))) => {}
            // What takes so long is not cancelled: a commit that waits for a synchronous replica
            // would be seen by others without being there.
            Ok(_) | Err(_) => lane = None,
        }
        let (Some(standing), Some(Write::Other(other))) = (&lane, other) else {
            continue;
        };
        match timeout(PATIENCE, other.execute(standing)).await {
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

impl Write {
    fn fail(self, error: &str) {
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Commit(_, reply) => drop(reply.send(Err(backend(error.to_owned())))),
            Self::Other(other) => other.fail(backend(error.to_owned())),
        }
    }
}
