//! The books and the reports as values: sums, the identity, and what they print.

use tracker_core::{
    Books, DeliveryError, DeliveryReport, FlushReport, Reason, Rejection, SendError,
};

const BOOKS: Books = Books {
    accepted: 28,
    delivered: 1,
    rejected: 2,
    dropped: 3,
    returned: 4,
    queued: 8,
    in_flight: 10,
};

#[test]
fn pending_is_queued_and_in_flight_and_every_count_matters_to_the_balance() {
    assert_eq!(BOOKS.pending(), 18);
    assert!(BOOKS.is_balanced());
    let off_by_one = [
        Books {
            accepted: 29,
            ..BOOKS
        },
        Books {
            delivered: 2,
            ..BOOKS
        },
        Books {
            rejected: 3,
            ..BOOKS
        },
        Books {
            dropped: 4,
            ..BOOKS
        },
        Books {
            returned: 5,
            ..BOOKS
        },
        Books { queued: 9, ..BOOKS },
        Books {
            in_flight: 11,
            ..BOOKS
        },
    ];
    for books in off_by_one {
        assert!(!books.is_balanced(), "{books}");
        assert!(books.to_string().contains(" accepted != "), "{books}");
    }
    assert_eq!(
        BOOKS.to_string(),
        "28 accepted = 1 delivered + 2 rejected + 3 dropped + 4 returned + 18 pending"
    );
}

#[test]
fn books_add_up_field_by_field() {
    let total: Books = [
        BOOKS,
        BOOKS,
        Books {
            accepted: 1,
            delivered: 1,
            ..Books::default()
        },
    ]
    .into_iter()
    .sum();
    let expected = Books {
        accepted: 57,
        delivered: 3,
        rejected: 4,
        dropped: 6,
        returned: 8,
        queued: 16,
        in_flight: 20,
    };
    assert_eq!(total, expected);
    assert!(total.is_balanced());
}

#[test]
fn only_a_report_without_loss_is_ok_and_the_error_says_what_and_why() {
    let flush = |unsettled, rejected, stop| FlushReport {
        books: BOOKS,
        unsettled,
        rejected,
        dropped: 0,
        returned: 0,
        stop,
    };
    assert_eq!(flush(0, 0, None).ok().unwrap(), BOOKS);
    let error = flush(2, 0, Some(DeliveryError::Deadline { last: None }))
        .ok()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "not every event was delivered: 2 pending, 0 rejected, 0 dropped, 0 returned (the deadline passed)"
    );
    let error = flush(0, 3, None).ok().unwrap_err();
    assert_eq!(
        error.to_string(),
        "not every event was delivered: 0 pending, 3 rejected, 0 dropped, 0 returned"
    );

    let stop = Some(DeliveryError::Configuration(SendError::status(401)));
    let report = DeliveryReport {
        books: BOOKS,
        returned: vec![1, 2],
        rejections: vec![],
        stop,
    };
    let error = report.ok().unwrap_err();
    assert_eq!((error.pending, error.rejected, error.returned), (18, 2, 4));
    assert!(
        error
            .to_string()
            .ends_with("(the endpoint refuses delivery: answered 401: no reason given)"),
        "{error}"
    );
    let all = Books {
        accepted: 5,
        delivered: 5,
        ..Books::default()
    };
    let report = DeliveryReport::<u8> {
        books: all,
        returned: vec![],
        rejections: vec![],
        stop: Some(DeliveryError::Recalled),
    };
    assert_eq!(report.ok().unwrap(), all, "what counts is what arrived");
}

#[test]
fn a_report_is_converted_with_everything_that_it_says() {
    let rejections = vec![Rejection {
        seq: 4,
        reason: Reason::new("no"),
    }];
    let report = DeliveryReport {
        books: BOOKS,
        returned: vec![1, 2],
        rejections: rejections.clone(),
        stop: None,
    };
    let report = report.map(|event| event.to_string());
    assert_eq!(
        (report.returned, report.rejections, report.books),
        (vec!["1".into(), "2".into()], rejections, BOOKS)
    );
}
