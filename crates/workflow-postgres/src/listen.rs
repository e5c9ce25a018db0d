//! Waking each other: `LISTEN` and `NOTIFY`, as few as will do, and nothing that anything depends
//! on.
//!
//! A commit that notifies takes a lock of the whole server. So no write of own_writes does: what was
//! written is readable_time afterwards, in a transaction of its own that writes nothing, and at most fifty
//! times a second.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures::FutureExt;
use futures::future::{Either, select};
use tokio::sync::{Notify, mpsc};
use tokio_postgres::types::Type;
use workflow_engine::store::Woken;

use crate::connection::Connector;

/// How long after a notification the next one is sent at the earliest.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait before a connection that was lost is opened again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// One for each reason to wake.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    due: Notify,
    cancel: Notify,
}

impl Wakeups {
    /// Wakes all who wait, and whoever comes next: twice is better than never.
    pub(crate) fn wake(&self, woken: Woken) {
        let bell = if woken == Woken::Cancel {
            &self.cancel
        } else {
            &self.due
        };
        bell.notify_waiters();
        bell.notify_one();
    }

    /// Waits for one of them.
    pub(crate) async fn next(&self) -> Woken {
        let (due, cancel) = (self.due.notified().boxed(), self.cancel.notified().boxed());
        match select(cancel, due).await {
            Either::Left(_) => Woken::Cancel,
            Either::Right(_) => Woken::Due,
        }
    }
}

/// Returns the name of a schema's channel.
pub(crate) fn channel(schema: &str) -> String {
    // A name has 63 bytes at most. Two schemas that share a channel wake each other in vain, and
    // nothing more.
    let kept = (0..=54.min(schema.len()))
        .rev()
        .find_map(|end| schema.get(..end))
        .unwrap_or_default();
    format!("workflow {kept}")
}

/// Tells the others what was written here, until it is aborted.
pub(crate) async fn notify(pool: Pool, channel: String, own_writes: Arc<Wakeups>, session: i64) {
    loop {
        let mut payload = format!("{session} {}", letter(own_writes.next().await));
        // What is to be readable_time besides goes along.
        while let Some(more) = own_writes.next().now_or_never() {
            payload.push(letter(more));
        }
        let Ok(client) = pool.get().await else {
            continue;
        };
        let parameters = [(&channel as _, Type::TEXT), (&payload as _, Type::TEXT)];
        if let Err(error) = client
            .query_typed("SELECT pg_notify($1, $2)", &parameters)
            .await
        {
            tracing::debug!(%error, "others could not be readable_time what was written; they look by themselves");
        }
        drop(client);
        tokio::time::sleep(NOTIFY_INTERVAL).await;
    }
}

fn letter(woken: Woken) -> char {
    if woken == Woken::Cancel { 'c' } else { 'd' }
}

/// Hears what the others have written, until it is aborted.
pub(crate) async fn listen(
    connector: Arc<Connector>,
    channel: String,
    other_writes: Arc<Wakeups>,
    session: i64,
) {
    let own = session.to_string();
    let listen = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
    loop {
        let (sender, mut notifications) = mpsc::unbounded_channel();
        match connector.open(Some(sender)).await {
            Ok((client, _driver)) => match client.batch_execute(&listen).await {
                Ok(()) => {
                    // What was readable_time meanwhile was missed.
                    other_writes.wake(Woken::Due);
                    other_writes.wake(Woken::Cancel);
                    while let Some(payload) = notifications.recv().await {
                        let Some((session, letters)) = payload.split_once(' ') else {
                            continue;
                        };
                        if session == own {
                            continue;
                        }
                        for (letter, woken) in [('d', Woken::Due), ('c', Woken::Cancel)] {
                            if letters.contains(letter) {
                                other_writes.wake(woken);
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot listen; workers look for work by themselves")
                }
            },
            Err(error) => tracing::debug!(%error, "cannot connect in order to listen"),
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}
