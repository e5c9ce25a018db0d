//! In which order the ends of operations become known to a workflow's code.
//!
//! An end in the history is first *coming*, then *settled*, and then *granted* to the operation
//! that asks for it. The one rule is that of [`Ends::grant`]: of the settled ends whose operations
//! ask, the earliest is granted; only if none asks is the next one settled. At most one is granted
//! at a time, and a grant that nobody takes is taken back. So which future of a `select!` becomes
//! ready follows from the history alone, in the first execution as in every replay, also for
//! futures that were kept over other awaits while several of them ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::operation::OpKey;
use crate::replay::Ended;

/// What became of the ends in the history.
pub(crate) enum Released {
    /// One was granted; the workflow's future may want to be polled.
    One,
    /// There was none that anyone asks for.
    None,
    /// The operation that the next one belongs to was never called.
    Unclaimed(OpKey),
}

/// The ends in the history that the workflow's code has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    coming: VecDeque<Ended>,
    /// By their places in the order of the history.
    settled: BTreeMap<u64, Ended>,
    /// The places of settled ends whose operations were polled since they were last granted.
    asking: BTreeSet<u64>,
    granted: Option<u64>,
    last_place: u64,
}

impl Ends {
    pub(crate) fn new(coming: VecDeque<Ended>) -> Self {
        Self {
            coming,
            ..Self::default()
        }
    }

    /// Appends an end.
    pub(crate) fn push(&mut self, ended: Ended) {
        self.coming.push_back(ended);
    }

    /// Returns whether every end is settled.
    pub(crate) fn are_settled(&self) -> bool {
        self.coming.is_empty()
    }

    /// Returns the ends that are not settled.
    pub(crate) fn coming(&self) -> impl Iterator<Item = &OpKey> {
        self.coming.iter().map(|ended| &ended.key)
    }

    /// Settles the next end; returns its place.
    pub(crate) fn settle(&mut self) -> Option<(u64, &OpKey)> {
        let ended = self.coming.pop_front()?;
        self.last_place += 1;
        let place = self.last_place;
        Some((place, &self.settled.entry(place).or_insert(ended).key))
    }

    /// Grants the earliest settled end that is asked for, and takes back the grant before it, if
    /// nobody took that.
    pub(crate) fn grant(&mut self) -> Option<&OpKey> {
        self.granted = self.asking.pop_first();
        self.settled.get(&self.granted?).map(|ended| &ended.key)
    }

    /// Notes that an operation asks for its end, which has this place.
    pub(crate) fn ask(&mut self, place: u64) {
        self.asking.insert(place);
    }

    /// Takes the end with this place, if it is granted.
    pub(crate) fn take(&mut self, place: u64) -> Option<Ended> {
        self.granted.take_if(|granted| *granted == place)?;
        self.settled.remove(&place)
    }

    /// Forgets a settled end: nobody will ask for it any more.
    pub(crate) fn forget(&mut self, place: u64) {
        self.settled.remove(&place);
        self.asking.remove(&place);
        self.granted.take_if(|granted| *granted == place);
    }
}
