//! The outbox as its readers see it: places, its end, the cursors of the sinks, and who delivers to
//! them.

use crate::payload::EncodedEvent;

/// A place in the outbox; the store gives it its meaning, and only the order counts. Nothing stands
/// at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// How much of the outbox is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many events at most.
    pub events: usize,
    /// How many bytes of JSON text the events have at most, where each counts one more, for what
    /// separates it from the next. The first event is read however large it is.
    pub bytes: usize,
}

impl Page {
    /// A page of so many events, whatever their size.
    pub const fn events(events: usize) -> Self {
        Self {
            events,
            bytes: usize::MAX,
        }
    }

    /// Reads events, for a store, until the page is full; stops before the first one that does not
    /// fit.
    ///
    /// # Errors
    ///
    /// The first error of `events`, unless there are events before it: then those are the page, and
    /// the error comes with the next one.
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

/// Where the outbox ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxEnd {
    /// The place of its last event, also if that has been purged since.
    pub position: Position,
    /// How many events were ever put there.
    pub accepted: u64,
    /// Up to here the events can be read; those behind it wait for writes that began before and
    /// have not ended. In a store that writes one after the other this is `position`.
    pub readable: Position,
}

/// How far a sink has come. `delivered + rejected + missed` is the number of events up to
/// `position`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Every event up to this place has a fate.
    pub position: Position,
    /// How many of them the sink took.
    pub delivered: u64,
    /// How many of them the sink refused for good.
    pub rejected: u64,
    /// How many events had been purged before the sink was first heard of. The store sets it.
    pub missed: u64,
}

/// The right to deliver to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkClaim {
    /// The sink.
    pub sink: String,
    /// Higher with each claim of the sink.
    pub epoch: u64,
}
