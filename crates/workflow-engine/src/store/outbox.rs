//! The outbox as its readers see it: positions, pages, its end, and the cursors and claims of
//! sinks.

use crate::payload::EncodedEvent;

/// A position in the outbox. Only the order of positions has a meaning outside of the store. No
/// event is at position 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The size of one read of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most events.
    pub events: usize,
    /// The most bytes of JSON text, where each event counts one more for its separator. The first
    /// event is read even if it is larger.
    pub bytes: usize,
}

impl Page {
    /// A page of at most this number of events, of any size.
    pub const fn events(events: usize) -> Self {
        Self {
            events,
            bytes: usize::MAX,
        }
    }

    /// Reads events until the page is full; stops before the first event that does not fit. For
    /// stores.
    ///
    /// # Errors
    ///
    /// The first error of `events`, if no event is before it. Otherwise the page has the events
    /// before the error, and the next page returns the error.
    pub fn fill<E>(
        self,
        events: impl IntoIterator<Item = Result<(Position, EncodedEvent), E>>,
    ) -> Result<Vec<(Position, EncodedEvent)>, E> {
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        let mut events = events.into_iter();
        while page.len() < self.events
            && let Some(next) = events.next()
        {
            let (position, event) = match next {
                Ok(event) => event,
                Err(error) if page.is_empty() => return Err(error),
                Err(_) => break,
            };
            bytes = bytes.saturating_add(event.as_str().len()).saturating_add(1);
            if bytes > self.bytes && !page.is_empty() {
                break;
            }
            page.push((position, event));
        }
        Ok(page)
    }
}

/// The end of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxEnd {
    /// The position of the last event, even if that event has been purged.
    pub position: Position,
    /// The number of events that were ever put into the outbox.
    pub accepted: u64,
    /// The position up to which events can be read. Later events wait for writes that began before
    /// theirs and have not ended. In a store that executes one write after the other this equals
    /// `position`.
    pub readable: Position,
}

/// The progress of a sink. `delivered + rejected + missed` is the number of events up to
/// `position`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The position up to which every event has a fate.
    pub position: Position,
    /// The number of these events that the sink accepted.
    pub delivered: u64,
    /// The number of these events that the sink rejected.
    pub rejected: u64,
    /// The number of events that were purged before the cursor was opened. Set by the store.
    pub missed: u64,
}

/// The right to deliver to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkClaim {
    /// The sink.
    pub sink: String,
    /// A number that is higher with each claim of the sink.
    pub epoch: u64,
}
