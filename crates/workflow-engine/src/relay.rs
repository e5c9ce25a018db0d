//! The relay: from the history, which is the outbox, to one sink; a cursor in the store says how far it came.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::lock::Mutex;
use tracker_core::{Books, Clock, Config, Courier, Settlement, Stop, Transport};

use crate::payload::EncodedEvent;
use crate::report::{RelayStop, SinkReport};
use crate::seed::Seed;
use crate::store::{Cursor, Position, Store, StoreError};

/// Delivers the outbox to one sink. It holds no events: after any crash it goes on at the cursor.
pub(crate) struct Relay {
    name: String,
    transport: Arc<dyn Transport<EncodedEvent>>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: Config,
    /// One delivery at a time, so that a sink sees one order.
    turn: Mutex<()>,
}

impl Relay {
    pub(crate) fn new(
        name: String,
        transport: Arc<dyn Transport<EncodedEvent>>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        Self { name, transport, store, clock, config, turn: Mutex::new(()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Delivers everything up to `barrier`, and waits for others who are at it.
    pub(crate) async fn deliver(&self, barrier: Position, deadline: Duration) -> Result<(), RelayStop> {
        let left = deadline.saturating_sub(self.clock.now());
        let _turn = match select(pin!(self.turn.lock()), self.clock.sleep(left)).await {
            Either::Left((turn, _)) => turn,
            Either::Right(_) => return Err(RelayStop::Delivery(Stop::Deadline { last: None })),
        };
        let mut cursor = self.store.open_cursor(&self.name).await?;
        while cursor.position < barrier {
            let batch = self.store.outbox(cursor.position, self.config.batch_events()).await?;
            let (positions, events) = self.cut(batch);
            if events.is_empty() {
                return Ok(());
            }
            self.deliver_batch(&positions, &events, &mut cursor, deadline).await?;
        }
        Ok(())
    }

    async fn deliver_batch(
        &self,
        positions: &[Position],
        events: &[EncodedEvent],
        cursor: &mut Cursor,
        deadline: Duration,
    ) -> Result<(), RelayStop> {
        // The jitter must differ between processes; the first event's id does.
        let seed = Seed::of(events[0].as_str()).value();
        let mut courier = Courier::new(&*self.transport, &*self.clock, &self.config, deadline, seed);
        let mut done = 0;
        while done < events.len() {
            let Settlement { events: settled, rejected } = courier.deliver(&events[done..]).await?;
            let settled = settled.min(events.len() - done);
            done += settled;
            let refused = rejected.iter().filter(|(index, _)| *index < settled).count() as u64;
            if refused > 0 {
                tracing::warn!(sink = self.name, events = refused, "a sink rejected events for good");
            }
            cursor.position = positions[done - 1];
            cursor.delivered += settled as u64 - refused;
            cursor.rejected += refused;
            self.store.set_cursor(&self.name, *cursor).await?;
        }
        Ok(())
    }

    /// Cuts a batch to the limit in bytes, but never to nothing.
    fn cut(&self, batch: Vec<(Position, EncodedEvent)>) -> (Vec<Position>, Vec<EncodedEvent>) {
        let mut bytes = 0;
        let fits = |(index, (_, event)): &(usize, (Position, EncodedEvent))| {
            bytes += event.as_str().len() + 1;
            *index == 0 || bytes <= self.config.batch_bytes()
        };
        batch.into_iter().enumerate().take_while(fits).map(|(_, entry)| entry).unzip()
    }

    pub(crate) async fn books(&self) -> Result<Books, StoreError> {
        // The cursor first: read the other way round, it could be ahead of the end.
        let Cursor { delivered, rejected, missed, .. } = self.store.open_cursor(&self.name).await?;
        let accepted = self.store.outbox_end().await?.accepted;
        let settled = delivered + rejected + missed;
        let queued = accepted.saturating_sub(settled);
        Ok(Books { accepted, delivered, rejected, dropped: missed, queued, ..Books::default() })
    }

    pub(crate) async fn report(&self, outcome: Result<(), RelayStop>) -> SinkReport {
        let books = self.books().await;
        let (books, unread) = match books {
            Ok(books) => (books, None),
            Err(error) => (Books::default(), Some(RelayStop::Store(error))),
        };
        SinkReport { sink: self.name.clone(), books, stop: outcome.err().or(unread) }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("sink", &self.name).field("transport", &self.transport).finish_non_exhaustive()
    }
}
