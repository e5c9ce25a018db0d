//! The outbox as its readers see it: places, its end, the cursors of the sinks, and who delivers to them.

/// A place in the outbox; the store gives it its meaning, and only the order counts. Nothing stands at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Where the outbox ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxEnd {
    /// The place of its last event, also if that has been purged since.
    pub position: Position,
    /// How many events were ever put there.
    pub accepted: u64,
    /// Up to here the events can be read; those behind it wait for writes that began before and have not ended. In a
    /// store that writes one after the other this is `position`.
    pub readable: Position,
}

/// How far a sink has come. `delivered + rejected + missed` is the number of events up to `position`.
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
