//! The one verification: the steps in order, up to the first failure.

use std::process::ExitCode;
use std::time::Instant;

use crate::step::{FAST, Step, When};
use crate::steps::STEPS;

/// The flag that lets a skipped step fail.
pub(crate) const NO_SKIPS: &str = "--no-skips";

pub(crate) const FLAGS: &[&str] = &[FAST, NO_SKIPS];

/// Runs the steps of `ci`, and prints the time that each took.
pub(crate) fn run(fast: bool, no_skips: bool) -> ExitCode {
    let mut passed = 0;
    let mut failed = 0;
    let mut skipped = 0;
    let mut summary = String::new();
    for step in steps(fast) {
        println!("\n=== {}: {}", step.name, step.about);
        let started = Instant::now();
        let has_short_form = fast && step.flags.contains(&FAST);
        let flags: &[&str] = if has_short_form { &[FAST] } else { &[] };
        let result = match (step.run)(flags) {
            Ok(None) => {
                passed += 1;
                "ok".to_owned()
            }
            Ok(Some(missing)) if !no_skips => {
                skipped += 1;
                format!("skipped: {missing}")
            }
            Ok(Some(missing)) => {
                failed += 1;
                format!("FAILED: skipped, which {NO_SKIPS} forbids: {missing}")
            }
            Err(problem) => {
                failed += 1;
                format!("FAILED: {problem}")
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        summary += &format!("  {:<12} {seconds:>7.1} s  {result}\n", step.name);
        if failed > 0 {
            break;
        }
    }
    println!("\n{summary}\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Lists the steps of the fast form.
pub(crate) fn fast_steps() -> Vec<&'static str> {
    steps(true).map(|step| step.name).collect()
}

fn steps(fast: bool) -> impl Iterator<Item = &'static Step> {
    let runs = move |step: &&Step| match step.when {
        When::Fast => true,
        When::Full => !fast,
        When::Alone => false,
    };
    STEPS.iter().filter(runs)
}
