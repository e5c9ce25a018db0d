//! The writer: one task, one connection, and what is queued in its order.
//!
//! Everything that is queued is one group; what comes while it is written is the next: the slower
//! the server, the larger the groups.

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

/// How many writes a group has at most.
const MAX_GROUP_WRITES: usize = 1024;

/// Works until every handle of the store is gone, and everything that was queued is done.
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
                // Should it panic, whoever waits finds its reply dropped, and the next group a
                // connection.
                current = execution.catch_unwind().await.unwrap_or_default();
            }
            Err(error) => {
                let error = error.to_string();
                group.drain(..).for_each(|write| write.fail(&error));
            }
        }
    }
}

/// Does a group in order; returns the connection, unless it is lost.
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
        // Replies that are dropped tell whoever waits.
        let groups = async { join(grouped(current, creates), grouped(current, commits)).await };
        match timeout(WRITE_TIMEOUT, groups).await {
            Ok((Ok(()), Ok(()))) => {}
            // What takes so long is not cancelled: a commit that waits for a synchronous replica
            // would be seen by others without being there.
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
