//! Waking workers of other processes with `LISTEN` and `NOTIFY`. Nothing depends on these wake-ups,
//! because workers also poll.
//!
//! A commit that notifies takes a lock of the whole server. So no write of this store notifies: a
//! transaction of its own does that afterwards, which writes nothing, at most fifty times a second.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use futures::FutureExt;
use futures::future::{Either, select};
use tokio::sync::{Notify, mpsc};
use tokio_postgres::types::Type;
use workflow_engine::store::Woken;

use crate::connection::Connector;

/// The shortest time between two notifications.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(20);
/// The wait before a lost connection is opened again.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// The wake-ups of waiting workers, by reason.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    due: Notify,
    cancel: Notify,
}

impl Wakeups {
    /// Wakes all waiters and the next one that comes, because an extra wake-up does no harm.
    pub(crate) fn wake(&self, woken: Woken) {
        let bell = if woken == Woken::Cancel {
            &self.cancel
        } else {
            &self.due
        };
        bell.notify_waiters();
        bell.notify_one();
    }

    /// Waits for a wake-up.
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
    // A name has at most 63 bytes. Two schemas that share a channel only wake each other without a
    // reason.
    let kept = (0..=54.min(schema.len()))
        .rev()
        .find_map(|end| schema.get(..end))
        .unwrap_or_default();
    format!("workflow {kept}")
}

/// Notifies other processes of the writes of this one, until the task is aborted.
pub(crate) async fn notify(pool: Pool, channel: String, own_writes: Arc<Wakeups>, session: i64) {
    loop {
        let mut payload = format!("{session} {}", letter(own_writes.next().await));
        // Further wake-ups are sent with the first one.
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
            tracing::debug!(%error, "failed to notify other processes; their workers poll");
        }
        drop(client);
        tokio::time::sleep(NOTIFY_INTERVAL).await;
    }
}

fn letter(woken: Woken) -> char {
    if woken == Woken::Cancel { 'c' } else { 'd' }
}

/// Listens for the writes of other processes, until the task is aborted.
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
                    // Notifications were missed while the connection was closed.
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
                    tracing::warn!(%error, "failed to listen; workers poll")
                }
            },
            Err(error) => {
                tracing::debug!(%error, "failed to connect for listening; it will be retried")
            }
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}
