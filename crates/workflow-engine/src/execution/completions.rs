//! The order in which a workflow's code learns that its operations have completed.
//!
//! A completion in the history is *unreached*, then *reached*, then *granted* to the operation that
//! requests it, then taken. There is one rule, that of [`Completions::grant`]: the earliest reached
//! completion that is requested is granted; only if none is requested, the next one is reached. At
//! most one completion is granted at a time, and a grant that is not taken is withdrawn. So the
//! future of a `select!` that becomes ready follows from the history alone, in the first execution
//! and in every replay, even if a workflow keeps several futures while it awaits others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::execution::operation::{Completion, OpKey};

/// Place of a completion in the order of the history, from 1.
pub(crate) type Place = u64;

/// The completions in the history that the workflow's code has not taken.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    unreached: VecDeque<Completion>,
    reached: BTreeMap<Place, Completion>,
    /// Reached completions whose operations were polled since they were last granted.
    requested: BTreeSet<Place>,
    granted: Option<Place>,
    last_place: Place,
}

impl Completions {
    /// Starts with the completions of a history, in its order.
    pub(crate) fn new(history: VecDeque<Completion>) -> Self {
        Self {
            unreached: history,
            ..Self::default()
        }
    }

    /// Appends a completion that was just committed.
    pub(crate) fn push(&mut self, completion: Completion) {
        self.unreached.push_back(completion);
    }

    /// Returns whether every completion is reached.
    pub(crate) fn all_reached(&self) -> bool {
        self.unreached.is_empty()
    }

    /// Returns the operations of the unreached completions, in order.
    pub(crate) fn unreached(&self) -> impl Iterator<Item = &OpKey> {
        self.unreached.iter().map(|completion| &completion.key)
    }

    /// Reaches the next completion; returns its place and its operation.
    pub(crate) fn reach(&mut self) -> Option<(Place, &OpKey)> {
        let completion = self.unreached.pop_front()?;
        self.last_place += 1;
        let place = self.last_place;
        let reached = self.reached.entry(place).or_insert(completion);
        Some((place, &reached.key))
    }

    /// Requests a reached completion for its operation.
    pub(crate) fn request(&mut self, place: Place) {
        self.requested.insert(place);
    }

    /// Grants the earliest requested completion; withdraws the grant before it.
    pub(crate) fn grant(&mut self) -> Option<&OpKey> {
        self.granted = self.requested.pop_first();
        let completion = self.reached.get(&self.granted?)?;
        Some(&completion.key)
    }

    /// Takes a completion, if it is granted.
    pub(crate) fn take(&mut self, place: Place) -> Option<Completion> {
        self.granted.take_if(|granted| *granted == place)?;
        self.requested.remove(&place);
        self.reached.remove(&place)
    }

    /// Discards a reached completion whose operation was dropped.
    pub(crate) fn discard(&mut self, place: Place) {
        self.reached.remove(&place);
        self.requested.remove(&place);
        self.granted.take_if(|granted| *granted == place);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use workflow_events::Timestamp;

    use super::*;
    use crate::execution::operation::OpKind;
    use crate::store::{Entry, EntryKind};

    fn completion(number: u64) -> Completion {
        let key = OpKey {
            kind: OpKind::Step,
            name: number.to_string().into(),
            occurrence: 1,
        };
        let entry = Entry {
            kind: EntryKind::StepCompleted,
            name: number.to_string(),
            occurrence: 1,
            attempt: 1,
            due_at: None,
            payload: None,
        };
        let at = Timestamp::UNIX_EPOCH;
        Completion { key, entry, at }
    }

    fn number(key: &OpKey) -> u64 {
        key.name.parse().unwrap()
    }

    /// What a caller does; numbers select one of the places.
    #[derive(Clone, Copy, Debug)]
    enum Op {
        Push,
        Reach,
        Request(u64),
        Grant,
        Take(u64),
        Discard(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let place = 1..8_u64;
        prop_oneof![
            Just(Op::Push),
            Just(Op::Reach),
            place.clone().prop_map(Op::Request),
            Just(Op::Grant),
            place.clone().prop_map(Op::Take),
            place.prop_map(Op::Discard),
        ]
    }

    /// The rule, written once more and in another way: a list with a mark for each completion.
    #[derive(Default)]
    struct Reference {
        marks: Vec<Mark>,
        requested: HashSet<u64>,
        granted: Option<u64>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unreached,
        Reached,
        Gone,
    }

    impl Reference {
        fn mark(&mut self, place: u64) -> Option<&mut Mark> {
            self.marks.get_mut(usize::try_from(place).unwrap() - 1)
        }

        fn is_reached(&self, place: u64) -> bool {
            let index = usize::try_from(place).unwrap() - 1;
            self.marks.get(index) == Some(&Mark::Reached)
        }

        fn reach(&mut self) -> Option<u64> {
            let next = self
                .marks
                .iter()
                .position(|mark| *mark == Mark::Unreached)?;
            self.marks[next] = Mark::Reached;
            Some(next as u64 + 1)
        }

        fn grant(&mut self) -> Option<u64> {
            self.granted = (1..=self.marks.len() as u64)
                .find(|place| self.is_reached(*place) && self.requested.contains(place));
            self.granted.inspect(|place| {
                self.requested.remove(place);
            })
        }

        fn take(&mut self, place: u64) -> bool {
            if self.granted != Some(place) {
                return false;
            }
            self.granted = None;
            *self.mark(place).unwrap() = Mark::Gone;
            true
        }

        fn discard(&mut self, place: u64) {
            *self.mark(place).unwrap() = Mark::Gone;
            self.requested.remove(&place);
            if self.granted == Some(place) {
                self.granted = None;
            }
        }
    }

    proptest! {
        #[test]
        fn every_answer_is_that_of_the_reference(recorded in 0..4_u64, ops in vec(op(), 0..60)) {
            let mut completions = Completions::new((1..=recorded).map(completion).collect());
            let mut reference = Reference::default();
            reference.marks.resize(usize::try_from(recorded).unwrap(), Mark::Unreached);
            for op in ops {
                match op {
                    Op::Push => {
                        reference.marks.push(Mark::Unreached);
                        completions.push(completion(reference.marks.len() as u64));
                    }
                    Op::Reach => {
                        let reached = completions.reach();
                        let reached = reached.map(|(place, key)| (place, number(key)));
                        prop_assert_eq!(reached, reference.reach().map(|place| (place, place)));
                    }
                    // An operation requests and discards only what it has reached.
                    Op::Request(place) if reference.is_reached(place) => {
                        completions.request(place);
                        reference.requested.insert(place);
                    }
                    Op::Discard(place) if reference.is_reached(place) => {
                        completions.discard(place);
                        reference.discard(place);
                    }
                    Op::Request(_) | Op::Discard(_) => {}
                    Op::Grant => {
                        prop_assert_eq!(completions.grant().map(number), reference.grant());
                    }
                    Op::Take(place) => {
                        let taken = completions.take(place).map(|taken| number(&taken.key));
                        prop_assert_eq!(taken, reference.take(place).then_some(place));
                    }
                }
                let unreached = reference.marks.iter().filter(|mark| **mark == Mark::Unreached);
                let unreached = unreached.count();
                prop_assert_eq!(completions.unreached().count(), unreached);
                prop_assert_eq!(completions.all_reached(), unreached == 0);
            }
        }
    }

    #[test]
    fn a_grant_that_is_not_taken_is_withdrawn() {
        let mut completions = Completions::new([completion(1), completion(2)].into());
        while let Some((place, _)) = completions.reach() {
            completions.request(place);
        }
        assert_eq!(completions.grant().map(number), Some(1));
        assert_eq!(completions.grant().map(number), Some(2));
        assert!(completions.take(1).is_none(), "its grant was withdrawn");
        completions.request(1);
        assert!(completions.take(2).is_some());
        assert_eq!(completions.grant().map(number), Some(1));
    }
}
