//! What each answer leads to, compared with a table written out by hand from the design
//! (`delivery.md`).
//!
//! One recorded difference: the design rejects the events of a 415 that remains after sending
//! plain. The code stops as for any other configuration error, because then nothing is lost. Where
//! the design is silent (1xx and codes that HTTP does not define), the answer is none that counts,
//! so it is a retry.

use std::ops::RangeInclusive;
use std::time::Duration;

use tracker_core::{
    Action, Config, Delivery, DeliveryError, Reason, Receipt, SendError, Settlement,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Ack,
    Retry,
    Halve,
    Bisect,
    Plain,
    Stop,
}

/// The first row that has a status counts.
const TABLE: [(RangeInclusive<u16>, Row); 25] = [
    // What HTTP does not define, or what is not final, is no answer that counts.
    (0..=99, Row::Retry),
    (100..=199, Row::Retry),
    (200..=299, Row::Ack),
    (300..=399, Row::Stop),
    (400..=400, Row::Bisect),
    (401..=401, Row::Stop),
    (402..=402, Row::Stop),
    (403..=405, Row::Stop),
    (406..=407, Row::Stop),
    (408..=408, Row::Retry),
    (409..=409, Row::Bisect),
    (410..=412, Row::Stop),
    (413..=413, Row::Halve),
    (414..=414, Row::Stop),
    (415..=415, Row::Plain),
    (416..=421, Row::Stop),
    (422..=422, Row::Bisect),
    (423..=424, Row::Stop),
    (425..=425, Row::Retry),
    (426..=428, Row::Stop),
    (429..=429, Row::Retry),
    (430..=499, Row::Stop),
    (501..=501, Row::Stop),
    (505..=505, Row::Stop),
    // All others are failures of the far end; 500 is the first.
    (500..=u16::MAX, Row::Retry),
];

fn row(status: u16) -> Row {
    TABLE
        .iter()
        .find(|(range, _)| range.contains(&status))
        .map(|(_, row)| *row)
        .expect("every status has a row")
}

const DEADLINE: Duration = Duration::from_secs(30);

fn delivery() -> Delivery {
    Delivery::new(&Config::default(), DEADLINE, 7)
}

fn answer(status: u16, encoded: bool) -> SendError {
    SendError::Answer {
        status,
        retry_after: None,
        encoded,
        reason: Reason::new("because"),
    }
}

fn statuses() -> impl Iterator<Item = u16> {
    (0..=999).chain([1000, 4000, u16::MAX])
}

#[test]
fn every_status_has_exactly_one_action_for_several_events() {
    for (status, encoded) in statuses().flat_map(|status| [(status, false), (status, true)]) {
        let mut delivery = delivery();
        let error = answer(status, encoded);
        let action = delivery.on_answer(5, Err(error.clone()), Duration::ZERO);
        match row(status) {
            Row::Ack => assert_eq!(action, Action::Settle(Settlement::delivered(5)), "{status}"),
            Row::Retry => {
                assert!(
                    matches!(action, Action::Wait(delay) if delay <= Duration::from_millis(100)),
                    "{status}"
                );
                assert_eq!(
                    delivery.range(5).len(),
                    5,
                    "{status} is answered with the same range"
                );
            }
            Row::Bisect if encoded && status != 409 => {
                assert_eq!(action, Action::SendNow, "{status}");
                assert_eq!(
                    (delivery.range(5).len(), delivery.options().plain),
                    (5, true),
                    "{status}: plain first"
                );
                continue;
            }
            Row::Halve | Row::Bisect => {
                assert_eq!(action, Action::SendNow, "{status}");
                assert_eq!(
                    delivery.range(5).len(),
                    2,
                    "{status} is answered with the first half"
                );
            }
            Row::Plain if encoded => {
                assert_eq!(action, Action::SendNow, "{status}");
                assert_eq!(
                    delivery.range(5).len(),
                    5,
                    "{status} is answered with the same range"
                );
            }
            Row::Plain | Row::Stop => {
                assert_eq!(
                    action,
                    Action::Stop(DeliveryError::Configuration(error)),
                    "{status}"
                )
            }
        }
        assert_eq!(
            delivery.options().plain,
            row(status) == Row::Plain && encoded,
            "{status}"
        );
    }
}

#[test]
fn every_status_has_exactly_one_action_for_a_single_event() {
    for status in statuses() {
        let action = delivery().on_answer(1, Err(answer(status, false)), Duration::ZERO);
        match row(status) {
            Row::Ack => assert_eq!(action, Action::Settle(Settlement::delivered(1)), "{status}"),
            Row::Retry => assert!(matches!(action, Action::Wait(_)), "{status}: {action:?}"),
            Row::Halve | Row::Bisect => {
                let reason = Reason::new(format!("{status}: because"));
                let rejected = Settlement {
                    events: 1,
                    rejected: vec![(0, reason)],
                };
                assert_eq!(
                    action,
                    Action::Settle(rejected),
                    "{status} rejects the event with the answer's reason"
                );
            }
            Row::Plain | Row::Stop => assert!(
                matches!(action, Action::Stop(DeliveryError::Configuration(_))),
                "{status}"
            ),
        }
    }
}

#[test]
fn no_answer_is_retried() {
    let action = delivery().on_answer(3, Err(SendError::no_answer("reset")), Duration::ZERO);
    assert!(matches!(action, Action::Wait(_)), "{action:?}");
}

#[test]
fn a_receipt_settles_the_range_with_its_verdicts() {
    let rejected = vec![(1, Reason::new("no")), (3, Reason::new("nor this"))];
    let action = delivery().on_answer(
        4,
        Ok(Receipt {
            rejected: rejected.clone(),
        }),
        Duration::ZERO,
    );
    assert_eq!(
        action,
        Action::Settle(Settlement {
            events: 4,
            rejected
        })
    );
}

#[test]
fn a_415_is_sent_plain_once_and_then_nothing_is_lost() {
    let mut delivery = delivery();
    assert!(!delivery.options().plain);
    assert_eq!(
        delivery.on_answer(2, Err(answer(415, true)), Duration::ZERO),
        Action::SendNow
    );
    assert!(delivery.options().plain);
    // A transport that reports "encoded" although it must not encode must not be retried for ever.
    let error = answer(415, true);
    let action = delivery.on_answer(2, Err(error.clone()), Duration::ZERO);
    assert_eq!(action, Action::Stop(DeliveryError::Configuration(error)));
}

#[test]
fn what_was_sent_plain_once_stays_plain_for_the_rest_of_the_batch() {
    let mut delivery = delivery();
    assert_eq!(
        delivery.on_answer(2, Err(answer(415, true)), Duration::ZERO),
        Action::SendNow
    );
    assert_eq!(
        delivery.on_answer(2, Err(answer(413, false)), Duration::ZERO),
        Action::SendNow
    );
    assert_eq!(
        delivery.on_answer(1, Ok(Receipt::default()), Duration::ZERO),
        Action::Settle(Settlement::delivered(1))
    );
    assert!(delivery.options().plain);
}

#[test]
fn an_event_that_cannot_be_encoded_is_rejected_alone_after_what_precedes_it() {
    let mut delivery = delivery();
    let error = |index| {
        Err(SendError::Unencodable {
            index,
            reason: Reason::new("not a number"),
        })
    };
    assert_eq!(
        delivery.on_answer(5, error(3), Duration::ZERO),
        Action::SendNow
    );
    assert_eq!(delivery.range(5).len(), 3, "what precedes it goes first");
    assert_eq!(
        delivery.on_answer(3, Ok(Receipt::default()), Duration::ZERO),
        Action::Settle(Settlement::delivered(3))
    );
    assert_eq!(delivery.range(2).len(), 2);
    let Action::Settle(settlement) = delivery.on_answer(2, error(0), Duration::ZERO) else {
        panic!("it is settled")
    };
    assert_eq!(settlement.events, 1);
    assert!(
        settlement.rejected[0].1.as_str().contains("not a number"),
        "{settlement:?}"
    );
    assert_eq!(delivery.range(1).len(), 1, "what follows it goes last");
}

/// A cut that a split has made stays where it is: what is beyond it may be what the far end
/// disliked.
#[test]
fn rejecting_the_first_event_of_a_range_leaves_the_other_ranges_alone() {
    let mut delivery = delivery();
    assert_eq!(
        delivery.on_answer(8, Err(answer(413, false)), Duration::ZERO),
        Action::SendNow
    );
    assert_eq!(delivery.range(8).len(), 4);
    let error = SendError::Unencodable {
        index: 0,
        reason: Reason::default(),
    };
    assert!(matches!(
        delivery.on_answer(4, Err(error), Duration::ZERO),
        Action::Settle(Settlement { events: 1, .. })
    ));
    assert_eq!(delivery.range(7).len(), 3, "the rest of the first half");
    assert_eq!(
        delivery.on_answer(3, Ok(Receipt::default()), Duration::ZERO),
        Action::Settle(Settlement::delivered(3))
    );
    assert_eq!(delivery.range(4).len(), 4, "the second half");
}

/// A transport that counts wrongly must not make the delivery spin or reject what it did not name.
#[test]
fn an_unencodable_index_outside_the_range_counts_as_the_last() {
    let mut delivery = delivery();
    let error = || {
        Err(SendError::Unencodable {
            index: 9,
            reason: Reason::default(),
        })
    };
    assert_eq!(
        delivery.on_answer(3, error(), Duration::ZERO),
        Action::SendNow
    );
    assert_eq!(delivery.range(3).len(), 2);
    assert!(matches!(
        delivery.on_answer(1, error(), Duration::ZERO),
        Action::Settle(Settlement { events: 1, .. })
    ));
}
