//! Entries are read as they were written.

use workflow_engine::store::{Commit, Due, Entry, EntryKind, NewRun, Record};
use workflow_engine::{Payload, Status};
use workflow_events::Timestamp;

use super::fixture::*;
use super::snapshot::{Written, history};

/// Writes these entries, one per record, and asserts that they are read unchanged.
async fn round_trip(store: &SharedStore, entries: impl IntoIterator<Item = Entry>) {
    let claim = create_running(store, "entries", "w", at(0)).await;
    for (seq, entry) in (2..).zip(entries) {
        let what = format!("{entry:?}");
        let record = Record {
            entry: Some(entry),
            ..record_without_entry("entries", seq, at(1), 1)
        };
        let expected = Written::from(&record);
        commit(
            store,
            Commit {
                claim,
                records: vec![record],
                status: Status::Running,
                due_at: None,
            },
        )
        .await;
        let last = store
            .records(claim.key, workflow_engine::store::Span::Last)
            .await
            .expect("records are read");
        assert!(
            last.iter().map(Written::from).eq([expected]),
            "the entry must come back as it was written: {what}"
        );
    }
}

/// Makes an empty entry.
fn entry_of_kind(kind: EntryKind) -> Entry {
    Entry {
        kind,
        name: String::new(),
        occurrence: 0,
        attempt: 0,
        due_at: None,
        payload: None,
    }
}

fn payload(json: &str) -> Option<Payload> {
    Some(Payload::from_json(json.to_owned()).expect("it is JSON"))
}

pub(super) async fn every_kind_of_entry_comes_back(store: SharedStore) {
    let full = |kind| Entry {
        name: "charge".to_owned(),
        occurrence: u32::MAX,
        attempt: u32::MAX - 1,
        due_at: Some(at(77)),
        payload: payload(r#"{"a":[1,2]}"#),
        ..entry_of_kind(kind)
    };
    let kinds = EntryKind::ALL.into_iter();
    round_trip(
        &store,
        kinds.flat_map(|kind| [full(kind), entry_of_kind(kind)]),
    )
    .await;
    let first = Record {
        entry: None,
        ..record("none", 1, at(0), 2)
    };
    create(
        &store,
        NewRun {
            record: first.clone(),
            ..new_run("none", at(0))
        },
    )
    .await;
    let written = history(&store, &read_run(&store, "none").await).await;
    assert_eq!(
        written,
        [Written::from(&first)],
        "no entry is not an empty entry"
    );
}

/// Texts that have broken stores before.
const UNUSUAL_TEXTS: [&str; 10] = [
    "it's \"quoted\" `here`",
    "'; drop table runs; --",
    "ünïcödé 流程 🦀 e\u{301} \u{202e}",
    "%_\\%\\_*?[a]",
    " spaces ",
    "tab\tline\nreturn\r\n",
    "\u{1}\u{7f}\u{feff}",
    "null",
    "0012",
    "?1 :a @b $c {}",
];

pub(super) async fn unusual_texts_come_back(store: SharedStore) {
    round_trip(
        &store,
        UNUSUAL_TEXTS.map(|name| Entry {
            name: name.to_owned(),
            ..entry_of_kind(EntryKind::StepCompleted)
        }),
    )
    .await;
    for text in UNUSUAL_TEXTS {
        let new = NewRun {
            workflow: text.to_owned(),
            execution_id: Some(text.to_owned()),
            ..new_run(text, at(0))
        };
        renew_lease(&store, text, at(100)).await;
        create(&store, new).await;
        let claimed = claim_run(&store, text, at(0), text).await;
        request_cancel(&store, text, cancel_request(text, at(1))).await;
        let run = read_run(&store, text).await;
        assert_eq!((run.id.as_str(), run.workflow.as_str()), (text, text));
        assert_eq!(
            (run.execution_id.as_deref(), run.worker.as_deref()),
            (Some(text), Some(text))
        );
        assert_eq!(run.cancel, Some(cancel_request(text, at(1))));
        assert_eq!(
            renew_lease(&store, text, at(100)).await,
            [(claimed.claim.key, cancel_request(text, at(1)))]
        );
    }
    for text in ["", "Entries", "entries "] {
        assert_eq!(
            store.run(text).await.expect("a run is read"),
            None,
            "{text:?} is another id"
        );
    }
    let empty = NewRun {
        execution_id: Some(String::new()),
        ..new_run("empty", at(0))
    };
    create(&store, empty).await;
    assert_eq!(
        read_run(&store, "empty").await.execution_id.as_deref(),
        Some(""),
        "an empty text is not an absent one"
    );
}

pub(super) async fn empty_payloads_come_back(store: SharedStore) {
    let empty = [
        "null",
        "\"\"",
        "[]",
        "{}",
        "0",
        "-0",
        "0.0",
        "false",
        " null ",
        "1e400",
        "\"\\u0000\"",
    ];
    let with = |json: &&str| Entry {
        payload: payload(json),
        ..entry_of_kind(EntryKind::StepCompleted)
    };
    round_trip(&store, empty.iter().map(with)).await;
}

pub(super) async fn a_large_payload_comes_back(store: SharedStore) {
    let text = "ä€🦀\\n".repeat(95_326);
    assert!(text.len() > 1 << 20, "larger than a step's result may be");
    let large = Entry {
        payload: payload(&format!("\"{text}\"")),
        ..entry_of_kind(EntryKind::StepCompleted)
    };
    round_trip(&store, [large]).await;
}

/// Writes a time into every field that has one, and asserts that it is read unchanged.
async fn assert_times_come_back(store: &SharedStore, times: &[Timestamp]) {
    // A lease that never ends: some of the times are in the far future.
    renew_lease(store, "w", Timestamp::MAX).await;
    for &time in times {
        let run = time.to_string();
        let entry = Entry {
            due_at: Some(time),
            ..entry_of_kind(EntryKind::SleepStarted)
        };
        let first = Record {
            entry: Some(entry),
            ..record_without_entry(&run, 1, time, 1)
        };
        let worker = "w".to_owned();
        let new = NewRun {
            status: Status::Running,
            worker,
            record: first.clone(),
            ..new_run(&run, at(0))
        };
        let held = create(store, new).await;
        let kept = read_run(store, &run).await;
        assert_eq!(kept.created_at, time, "the time of the creation");
        assert_eq!(
            history(store, &kept).await,
            [Written::from(&first)],
            "the times of a record"
        );
        commit(store, suspend(held, &run, 2, time)).await;
        assert_eq!(
            read_run(store, &run).await.due_at,
            Some(time),
            "the time when a run is due"
        );
        let held = claim_run(store, "w", time, &run).await.claim;
        let kept = request_cancel(store, &run, cancel_request("x", time)).await;
        assert_eq!(
            kept.cancel.map(|cancel| cancel.at),
            Some(time),
            "the time of a cancel"
        );
        store
            .release(held, Due::At(time))
            .await
            .expect("a claim is released");
        assert_eq!(
            read_run(store, &run).await.due_at,
            Some(time),
            "the time when a run is due"
        );
        let held = claim_run(store, "w", time, &run).await.claim;
        commit(store, append(held, &run, 3, Status::Cancelled, time)).await;
        assert_eq!(
            read_run(store, &run).await.ended_at,
            Some(time),
            "the time of the end"
        );
    }
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    for &time in times {
        create_waiting(store, &format!("due {time}"), time).await;
    }
    for time in sorted {
        let claims = claim(store, request_any("w", time, 9)).await;
        assert_eq!(
            claimed_ids(&claims),
            [format!("due {time}")],
            "times are distinct and in order"
        );
    }
}

pub(super) async fn times_come_back_to_the_millisecond(store: SharedStore) {
    let text = [
        "2026-03-01T11:59:59.999Z",
        "2026-03-01T12:00:00.001Z",
        "1969-12-31T23:59:59.999Z",
    ];
    assert_times_come_back(
        &store,
        &text.map(|time| time.parse().expect("it is a time")),
    )
    .await;
}

pub(super) async fn the_first_and_the_last_time_come_back(store: SharedStore) {
    let whole = |time: Timestamp| {
        Timestamp::from_millis(time.as_millis()).expect("it is not before the first")
    };
    assert_times_come_back(
        &store,
        &[Timestamp::MIN, Timestamp::UNIX_EPOCH, whole(Timestamp::MAX)],
    )
    .await;
}
