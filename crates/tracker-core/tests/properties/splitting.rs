//! Splits end, and settle each event exactly once and in order, for any mix of refusals by the far
//! end.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tracker_core::{
    Action, Config, Delivery, DeliveryError, Reason, Receipt, SendError, Settlement,
};

/// A far end with rules for the events it refuses; the events are numbers from 0.
#[derive(Clone, Debug)]
struct Server {
    poison: BTreeSet<usize>,
    poison_status: u16,
    unencodable: BTreeSet<usize>,
    max_events: usize,
    /// Events as heavy as this are too large even alone.
    heavy: BTreeSet<usize>,
    /// The interval of requests that fail without a fault of the events; 0 for none.
    flaky: usize,
    verdicts: BTreeSet<usize>,
    requests: usize,
    transient: usize,
    taken: Vec<usize>,
}

impl Server {
    fn send(&mut self, events: &[usize]) -> Result<Receipt, SendError> {
        self.requests += 1;
        // The client encodes before it sends.
        if let Some(index) = events
            .iter()
            .position(|event| self.unencodable.contains(event))
        {
            return Err(SendError::Unencodable {
                index,
                reason: Reason::new("cannot be encoded"),
            });
        }
        if self.flaky > 0 && self.requests.is_multiple_of(self.flaky) {
            self.transient += 1;
            return Err(if self.requests.is_multiple_of(2) {
                SendError::status(503)
            } else {
                SendError::no_answer("reset")
            });
        }
        if events.len() > self.max_events || events.iter().any(|event| self.heavy.contains(event)) {
            return Err(SendError::status(413));
        }
        if events.iter().any(|event| self.poison.contains(event)) {
            return Err(SendError::status(self.poison_status));
        }
        let refused = events
            .iter()
            .enumerate()
            .filter(|(_, event)| self.verdicts.contains(event));
        let rejected = refused
            .map(|(index, _)| (index, Reason::new("verdict")))
            .collect();
        self.taken
            .extend(events.iter().filter(|event| !self.verdicts.contains(event)));
        Ok(Receipt { rejected })
    }

    /// Returns the status that refuses `event` alone: `Some(None)` if the encoder refuses it,
    /// `None` if it is accepted.
    fn refusal(&self, event: usize) -> Option<Option<u16>> {
        if self.unencodable.contains(&event) {
            return Some(None);
        }
        if self.max_events == 0 || self.heavy.contains(&event) {
            return Some(Some(413));
        }
        self.poison
            .contains(&event)
            .then_some(Some(self.poison_status))
    }

    /// Returns whether delivery must stop: nothing was accepted up to some place, and two or more
    /// events were refused, up to the last of the batch or to the sixteenth.
    fn must_stop(&self, events: usize) -> bool {
        let mut refused = Vec::new();
        for event in 0..events {
            match self.refusal(event) {
                None => return false,
                Some(None) if refused.is_empty() => continue,
                Some(status) => refused.push(status),
            }
            if refused.len() == 16 || event + 1 == events {
                let statuses: Vec<_> = refused.drain(..).flatten().collect();
                if statuses.len() > 1 {
                    return true;
                }
            }
        }
        false
    }

    /// Returns whether `event` can never arrive.
    fn never_accepts(&self, event: usize) -> bool {
        self.refusal(event).is_some() || self.verdicts.contains(&event)
    }
}

prop_compose! {
    fn server()(
        poison in prop_oneof![
            3 => prop::collection::btree_set(0..40usize, 0..5),
            1 => (0..20usize, 1..40usize).prop_map(|(from, events)| (from..from + events).collect()),
        ],
        poison_status in prop_oneof![Just(400), Just(422)],
        unencodable in prop::collection::btree_set(0..40usize, 0..4),
        max_events in prop_oneof![3 => 1..40usize, 1 => Just(usize::MAX), 1 => Just(0)],
        heavy in prop::collection::btree_set(0..40usize, 0..3),
        flaky in prop_oneof![Just(0), 2..5usize],
        verdicts in prop::collection::btree_set(0..40usize, 0..4),
    ) -> Server {
        let requests = 0;
        let transient = 0;
        let taken = vec![];
        Server { poison, poison_status, unencodable, max_events, heavy, flaky, verdicts, requests, transient, taken }
    }
}

/// Delivers `0..events`; returns the settled events in order, whether each was rejected, and
/// whether delivery stopped.
fn deliver(server: &mut Server, events: usize) -> (Vec<(usize, Option<String>)>, bool) {
    let all: Vec<usize> = (0..events).collect();
    let mut delivery = Delivery::new(&Config::default(), Duration::MAX, 7);
    let mut now = Duration::ZERO;
    let mut fates = Vec::new();
    while fates.len() < events {
        let left = &all[fates.len()..];
        let range = delivery.range(left.len());
        assert!(
            !range.is_empty() && range.end <= left.len(),
            "a request of {range:?} with {} left",
            left.len()
        );
        // Each answer that is not transient settles an event or cuts between two, and no place is
        // cut twice.
        assert!(
            server.requests - server.transient < 2 * events,
            "the splits do not end"
        );
        match delivery.on_answer(range.len(), server.send(&left[range.clone()]), now) {
            Action::SendNow => {}
            Action::Wait(delay) => now += delay,
            Action::Stop(DeliveryError::Configuration(SendError::Answer { .. })) => {
                return (fates, true);
            }
            Action::Stop(stop) => panic!("nothing here is a reason to stop: {stop}"),
            Action::Settle(Settlement { events, rejected }) => {
                assert!(
                    (1..=range.end).contains(&events),
                    "a settlement of {events} up to {range:?}"
                );
                for (index, event) in left[..events].iter().enumerate() {
                    let reason = rejected.iter().find(|(refused, _)| *refused == index);
                    fates.push((*event, reason.map(|(_, reason)| reason.to_string())));
                }
            }
        }
    }
    (fates, false)
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn each_event_is_settled_once_in_order_and_only_what_is_disliked_is_rejected(
        mut server in server(),
        events in 1..40usize,
    ) {
        let (fates, stopped) = deliver(&mut server, events);
        prop_assert_eq!(stopped, server.must_stop(events));
        prop_assert!(!stopped || server.taken.is_empty(), "what takes something is not to blame");
        for (place, (event, rejected)) in fates.iter().enumerate() {
            prop_assert_eq!(place, *event, "in order, none twice");
            prop_assert_eq!(rejected.is_some(), server.never_accepts(*event), "event {}: {:?}", event, rejected);
        }
        let arrived = fates.iter().filter(|(_, rejected)| rejected.is_none());
        let arrived: Vec<_> = arrived.map(|(event, _)| *event).collect();
        prop_assert_eq!(&server.taken, &arrived, "the far end has each exactly once, in order");
    }

    #[test]
    fn a_far_end_that_takes_single_events_gets_all(events in 1..200usize) {
        let sets = BTreeSet::new;
        let mut server = Server {
            poison: sets(), poison_status: 400, unencodable: sets(), max_events: 1, heavy: sets(), flaky: 0,
            verdicts: sets(), requests: 0, transient: 0, taken: vec![],
        };
        let (fates, stopped) = deliver(&mut server, events);
        prop_assert!(!stopped && fates.iter().all(|(_, rejected)| rejected.is_none()));
        prop_assert_eq!(server.taken.len(), events);
    }
}

#[test]
fn one_poison_event_among_many_is_found_in_logarithmic_time() {
    let mut server = Server {
        poison: BTreeSet::from([333]),
        poison_status: 400,
        unencodable: BTreeSet::new(),
        max_events: usize::MAX,
        heavy: BTreeSet::new(),
        flaky: 0,
        verdicts: BTreeSet::new(),
        requests: 0,
        transient: 0,
        taken: vec![],
    };
    let (fates, _) = deliver(&mut server, 512);
    assert_eq!(
        fates
            .iter()
            .filter(|(_, rejected)| rejected.is_some())
            .count(),
        1
    );
    assert_eq!(fates[333].1.as_deref(), Some("400: no reason given"));
    assert!(
        server.requests <= 19,
        "{} requests; 9 halvings need one each and one for the other half",
        server.requests
    );
}

/// 1,023 requests, and 512 events rejected for good, because the port was wrong.
#[test]
fn a_batch_that_is_refused_event_by_event_is_kept_after_few_requests() {
    for (poison_status, max_events) in [(400, usize::MAX), (422, usize::MAX), (413, 0)] {
        let mut server = Server {
            poison: (0..512).collect(),
            poison_status,
            unencodable: BTreeSet::new(),
            max_events,
            heavy: BTreeSet::new(),
            flaky: 0,
            verdicts: BTreeSet::new(),
            requests: 0,
            transient: 0,
            taken: vec![],
        };
        assert_eq!(deliver(&mut server, 512), (vec![], true), "{poison_status}");
        assert!(
            server.requests < 50,
            "{poison_status}: {} requests",
            server.requests
        );
    }
}
