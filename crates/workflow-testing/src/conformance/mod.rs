//! The suite that every [`Store`] must pass.
//!
//! Give [`all`] a function that makes a fresh, empty store. [`CHECKS`] has the same checks one by
//! one; each needs a store of its own. [`model`] compares a store with a model over random
//! operations, and [`many_runs`](scale::many_runs) tries the store with a hundred thousand runs.
//! Both are part of the suite, but are separate calls, because they take longer.
//!
//! The suite never sleeps and never reads a clock: every time is an argument. It needs no runtime
//! of its own.
//!
//! # Examples
//!
//! ```
//! use std::sync::Arc;
//! use workflow_testing::conformance;
//! use workflow_engine::{MemoryStore, Store};
//!
//! let fresh = || async { Arc::new(MemoryStore::new()) as Arc<dyn Store> };
//! futures::executor::block_on(conformance::all(fresh));
//! ```

mod atomicity;
mod cancel;
mod claims;
mod creation;
mod cursors;
mod due;
mod entries;
mod fencing;
mod fixture;
mod history;
mod leases;
mod listing;
pub mod model;
mod outbox;
mod purge;
mod races;
pub mod scale;
mod snapshot;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use workflow_engine::Store;

/// One rule that every store keeps.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of the rule.
    pub name: &'static str,
    /// Checks the rule on a fresh, empty store; panics at the first breach.
    pub run: fn(Arc<dyn Store>) -> BoxFuture<'static, ()>,
}

/// Runs every one of [`CHECKS`], each on a store of its own.
///
/// # Panics
///
/// At the first breach; the message begins with the name of the check.
pub async fn all<F>(mut fresh: impl FnMut() -> F)
where
    F: Future<Output = Arc<dyn Store>>,
{
    for check in CHECKS {
        check.on(fresh().await).await;
    }
}

impl Check {
    /// Runs the check on `store`, which is fresh and empty.
    ///
    /// # Panics
    ///
    /// At the first breach; the message begins with the name of the check.
    pub async fn on(&self, store: Arc<dyn Store>) {
        if let Err(breach) = AssertUnwindSafe((self.run)(store)).catch_unwind().await {
            panic!("{}: {}", self.name, message(&*breach));
        }
    }
}

fn message(breach: &(dyn Any + Send)) -> &str {
    let owned = breach.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| breach.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked without words")
}

macro_rules! checks {
    ($($group:ident { $($name:ident)* })*) => {
        /// Every check, in the order of the documentation of [`Store`].
        pub const CHECKS: &[Check] = &[
            $($(Check { name: stringify!($name), run: |store| Box::pin($group::$name(store)) },)*)*
        ];
    };
}

checks! {
    creation {
        a_new_run_has_what_it_was_created_with
        an_existing_id_returns_its_run_unchanged
        keys_are_in_the_order_of_creation
        a_queued_run_is_ready_and_unclaimed
        a_running_run_is_claimed_by_its_creator_with_epoch_1
        a_run_begins_as_queued_or_running_only
        a_run_begins_with_its_first_record
    }
    history {
        records_are_appended_in_order
        records_that_do_not_follow_are_refused
        a_history_has_a_first_and_a_last_record
        an_unknown_run_has_no_history
        every_legal_transition_is_taken_and_no_other
        the_status_and_time_of_an_end_are_kept
    }
    atomicity {
        a_refused_commit_changes_nothing
        a_refused_release_changes_nothing
        a_refused_creation_changes_nothing
        refusals_come_in_the_documented_order
    }
    fencing {
        a_claim_that_never_existed_is_refused
        an_older_claim_is_refused_and_the_newer_works
        a_released_claim_is_refused
        a_retired_claim_is_refused
        an_expired_claim_is_refused_once_its_expiry_is_noticed
        a_suspended_run_refuses_its_old_claim
        an_ended_run_refuses_its_old_claim
    }
    claims {
        a_run_is_never_handed_out_twice
        the_longest_due_run_is_claimed_first
        a_limit_is_kept
        no_limit_is_too_large
        only_requested_workflows_are_claimed
        due_workflows_that_were_not_requested_are_named
        one_run_is_claimed_by_its_id
        a_run_is_claimed_again_by_its_holder
        a_claim_counts_up_the_epoch_and_keeps_the_status
    }
    due {
        a_suspended_run_is_due_at_its_time
        a_released_run_is_due_at_its_time
        a_ready_run_does_not_wait_for_the_clock
        only_suspended_and_released_runs_wait_for_the_clock
        a_run_suspended_without_a_time_waits_for_a_cancel
        ready_and_waiting_runs_are_claimed_in_one_order
        the_next_time_is_that_of_a_due_run_beyond_the_limit
        the_next_time_is_that_of_a_future_run
        the_next_time_is_the_end_of_another_workers_lease
        the_next_time_of_one_run_is_its_own
        a_claim_at_the_next_time_finds_a_run
    }
    leases {
        an_expired_lease_is_a_recovery
        the_runs_that_a_worker_holds_are_returned
        a_lease_lasts_until_it_expires
        a_worker_that_claims_is_alive
        a_dead_worker_that_comes_back_is_a_recovery_too
        an_unnoticed_expiry_loses_nothing
        a_renewed_lease_lasts_longer
        a_worker_has_one_lease
        a_retired_worker_is_no_recovery
        a_released_run_is_no_recovery
        progress_resets_the_recoveries
        a_renewal_returns_the_cancels_of_held_runs
    }
    cancel {
        an_unknown_run_cannot_be_cancelled
        an_ended_run_cannot_be_cancelled
        a_waiting_run_is_ready_since_its_cancel
        a_cancel_does_not_postpone_a_due_run
        a_cancel_leaves_a_held_run_with_its_worker
        the_first_cancel_is_kept
        a_commit_returns_the_cancel
        a_cancelled_run_can_only_end_as_cancelled
    }
    outbox {
        events_are_kept_to_the_byte
        events_of_a_run_are_in_order
        the_order_never_changes
        reading_resumes_at_any_position
        a_page_is_limited_in_bytes
        every_accepted_event_is_counted
    }
    cursors {
        a_new_cursor_is_at_the_start
        a_cursor_only_moves_forward
        cursors_are_independent
        every_cursor_is_listed
        a_new_cursor_misses_purged_events
        a_dropped_cursor_is_forgotten
        a_sink_has_one_worker_at_a_time
        a_released_sink_is_free
    }
    purge {
        only_runs_that_ended_long_enough_ago_are_purged
        each_status_has_its_own_time
        no_run_is_purged_before_every_sink_has_its_events
        the_longest_ended_are_purged_first
        a_purged_run_is_removed
        a_purged_id_can_be_created_again
        keys_and_positions_are_never_used_again
        the_books_balance_after_each_purge
    }
    entries {
        every_kind_of_entry_comes_back
        unusual_texts_come_back
        empty_payloads_come_back
        a_large_payload_comes_back
        times_come_back_to_the_millisecond
        the_first_and_the_last_time_come_back
    }
    listing {
        runs_are_listed_in_the_order_of_creation
        filters_are_combined
        runs_are_listed_by_worker
        a_prefix_is_literal
        pages_follow_each_other
    }
    races {
        concurrent_creations_of_one_id_make_one_run
        concurrent_claimers_share_the_runs
        concurrent_claims_of_one_run_have_one_winner
        concurrent_commits_under_one_claim_have_one_winner
        concurrent_writers_leave_every_history_whole
    }
}
