//! The writer: one task and one connection, which executes the queued writes in order.
//!
//! All queued writes are one group. The writes that come while a group is executed are the next
//! group, so a slow server gets large groups.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::join;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::connection::Connector;
use crate::db::{Db, Opener, WRITE_TIMEOUT};
use crate::error::store::backend;
use crate::group::grouped;
use crate::queue::Write;

/// The most writes of a group.
const MAX_GROUP_WRITES: usize = 1024;

/// Executes writes until every handle of the store is dropped and the queue is empty.
pub(crate) async fn work(opener: Opener, first: Db, mut queue: UnboundedReceiver<Write>) {
    let mut current = Some(first);
    let mut group = Vec::new();
    while queue.recv_many(&mut group, MAX_GROUP_WRITES).await > 0 {
        let db = match current.take().filter(|db| !db.client.is_closed()) {
            Some(db) => Ok(db),
            None => opener.open().await,
        };
        match db {
            Ok(db) => {
                let execution = AssertUnwindSafe(execute_group(
                    db,
                    std::mem::take(&mut group),
                    &opener.connector,
                ));
                // After a panic the callers find their replies dropped, and the next group gets a
                // new connection.
                current = execution.catch_unwind().await.unwrap_or_default();
            }
            Err(error) => {
                let error = error.to_string();
                group.drain(..).for_each(|write| write.fail(&error));
            }
        }
    }
}

/// Executes a group in order. Returns the connection, unless it is lost.
async fn execute_group(db: Db, group: Vec<Write>, connector: &Arc<Connector>) -> Option<Db> {
    let mut db = Some(db);
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
        let Some(current) = &db else {
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
        // A reply that is dropped ends the wait of its caller.
        let groups = async { join(grouped(current, creates), grouped(current, commits)).await };
        match timeout(WRITE_TIMEOUT, groups).await {
            Ok((Ok(()), Ok(()))) => {}
            // A commit that takes so long is not cancelled. If it waits for a synchronous replica,
            // others would see it although it is not durable.
            Ok(_) | Err(_) => db = None,
        }
        let (Some(current), Some(Write::Other(other))) = (&db, other) else {
            continue;
        };
        match timeout(WRITE_TIMEOUT, other.execute(current)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => db = None,
            Err(_) => {
                if let Some(db) = db.take() {
                    db.give_up(connector);
                }
            }
        }
    }
    db
}
