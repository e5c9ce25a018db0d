//! When runs can be claimed, and when a worker should ask next.

use super::fixture::*;
use crate::{ClaimRequest, Due, NewRun, Status};

pub(super) async fn a_paused_run_is_due_when_it_was_told(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    commit(&store, pause(held, "a", 2, at(10))).await;
    let run = read(&store, "a").await;
    assert_eq!((run.status, run.due_at, run.worker), (Status::Paused, Some(at(10)), None));
    let early = claim(&store, any("w", at(9), 9)).await;
    assert_eq!((ids(&early), early.next_due), (vec![], Some(at(10))), "it is not due yet");
    let early = claim(&store, one("w", at(9), "a")).await;
    assert_eq!((ids(&early), early.next_due), (vec![], Some(at(10))), "by its id neither");
    assert_eq!(ids(&claim(&store, any("w", at(10), 9)).await), ["a"], "it is due at that very time");
}

pub(super) async fn a_released_run_is_due_when_it_was_told(store: Shared) {
    let held = running(&store, "a", "w", at(0)).await;
    let before = read(&store, "a").await;
    store.release(held, Due::At(at(10))).await.expect("a claim is released");
    let run = read(&store, "a").await;
    let expected = crate::Run { due_at: Some(at(10)), worker: None, ..before };
    assert_eq!(run, expected, "a release changes nothing else");
    assert_eq!(ids(&claim(&store, any("w", at(9), 9)).await), [""; 0], "it is not due yet");
    let claims = claim(&store, any("w", at(10), 9)).await;
    assert_eq!(ids(&claims), ["a"], "it is due at that very time");
    assert_eq!(claims.runs[0].claim.epoch, 2);
}

pub(super) async fn the_next_time_is_that_of_a_run_left_over(store: Shared) {
    lease(&store, "w", at(1_000)).await;
    for (id, created_at) in [("c", 3), ("a", 1), ("b", 2)] {
        queued(&store, id, at(created_at)).await;
    }
    for (claimed, next_due) in [("a", Some(at(2))), ("b", Some(at(3))), ("c", None)] {
        let claims = claim(&store, any("w", at(9), 1)).await;
        assert_eq!((ids(&claims), claims.next_due), (vec![claimed], next_due));
    }
}

pub(super) async fn the_next_time_is_that_of_a_future_run(store: Shared) {
    lease(&store, "w", at(1_000)).await;
    assert_eq!(claim(&store, any("w", at(0), 9)).await.next_due, None, "there is nothing");
    for (workflow, id, created_at) in [("order", "a", 20), ("billing", "b", 10), ("order", "c", 30)] {
        create(&store, NewRun { workflow: workflow.to_owned(), ..new_run(id, at(created_at)) }).await;
    }
    assert_eq!(claim(&store, any("w", at(0), 9)).await.next_due, Some(at(10)), "of any workflow");
    let orders = |now| ClaimRequest { workflows: Some(vec![WORKFLOW.to_owned()]), ..any("w", now, 9) };
    assert_eq!(claim(&store, orders(at(0))).await.next_due, Some(at(20)), "of those asked for");
    let claims = claim(&store, orders(at(20))).await;
    assert_eq!((ids(&claims), claims.next_due), (vec!["a"], Some(at(30))), "of those not in the answer");
}

pub(super) async fn the_next_time_is_the_end_of_anothers_lease(store: Shared) {
    running(&store, "a", "one", at(0)).await;
    running(&store, "b", "two", at(0)).await;
    lease(&store, "one", at(50)).await;
    lease(&store, "two", at(40)).await;
    lease(&store, "idle", at(30)).await;
    for (worker, next_due) in [("idle", at(40)), ("two", at(50)), ("one", at(40))] {
        let claims = claim(&store, any(worker, at(1), 9)).await;
        assert_eq!(
            claims.next_due,
            Some(next_due),
            "{worker}: its own lease and that of one who holds nothing do not count"
        );
    }
    let billing = ClaimRequest { workflows: Some(vec!["billing".to_owned()]), ..any("idle", at(1), 9) };
    assert_eq!(claim(&store, billing).await.next_due, None, "nothing of this workflow is held");
    queued(&store, "c", at(45)).await;
    assert_eq!(claim(&store, any("idle", at(1), 9)).await.next_due, Some(at(40)), "the earlier of both");
    lease(&store, "two", at(60)).await;
    assert_eq!(claim(&store, any("idle", at(1), 9)).await.next_due, Some(at(45)), "the earlier of both");
}

pub(super) async fn the_next_time_of_one_run_is_its_own(store: Shared) {
    running(&store, "held", "one", at(0)).await;
    lease(&store, "one", at(50)).await;
    running(&store, "other", "two", at(0)).await;
    lease(&store, "two", at(40)).await;
    lease(&store, "w", at(1_000)).await;
    queued(&store, "earlier", at(5)).await;
    queued(&store, "later", at(20)).await;
    for (id, next_due) in [("later", Some(at(20))), ("held", Some(at(50))), ("nobody", None)] {
        let claims = claim(&store, one("w", at(1), id)).await;
        assert_eq!((ids(&claims), claims.next_due), (vec![], next_due), "{id:?}");
    }
    let claims = claim(&store, one("w", at(20), "later")).await;
    assert_eq!((ids(&claims), claims.next_due), (vec!["later"], None), "it is in the answer");
}

pub(super) async fn a_claim_at_the_next_time_finds_something(store: Shared) {
    running(&store, "leased", "dead", at(0)).await;
    lease(&store, "dead", at(10)).await;
    queued(&store, "due", at(20)).await;
    let paused = running(&store, "paused", "w", at(0)).await;
    commit(&store, pause(paused, "paused", 2, at(30))).await;
    let mut now = at(1);
    for (expected, time) in [("leased", at(10)), ("due", at(20)), ("paused", at(30))] {
        let none = claim(&store, any("w", now, 9)).await;
        assert_eq!((ids(&none), none.next_due), (vec![], Some(time)), "{expected:?} comes next");
        now = time;
        assert_eq!(ids(&claim(&store, any("w", now, 1)).await), [expected], "at that very time");
    }
    assert_eq!(claim(&store, any("w", now, 9)).await.next_due, None, "nothing comes");
}
