//! The checks of this repository: `cargo xtask ci` is the one verification, and each step is a
//! subcommand.
//!
//! Std only, so that it compiles in a moment. `steps.rs` is the table of steps; what a step does is
//! in the module that the table names.

mod ci;
mod steps;

mod checks;
mod examples;
mod postgres;
mod readme;
mod release;
mod suite;
mod tidy;

mod step;

mod shell;

use std::process::ExitCode;

use step::{FAST, When};
use steps::STEPS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str);
    let name = arguments.next().unwrap_or("--help");
    let rest: Vec<&str> = arguments.collect();
    match name {
        "--help" | "help" => {
            print!("{}", help());
            ExitCode::SUCCESS
        }
        suite::RUNNER => suite::run_if_selected(&rest),
        "ci" => match unknown(&rest, ci::FLAGS) {
            Some(flag) => usage(&format!("ci does not know {flag}")),
            None => ci::run(rest.contains(&FAST), rest.contains(&ci::NO_SKIPS)),
        },
        _ => step(name, &rest),
    }
}

/// Runs one step by itself.
fn step(name: &str, flags: &[&str]) -> ExitCode {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        return usage(&format!("there is no step {name}"));
    };
    if let Some(flag) = unknown(flags, step.flags) {
        return usage(&format!("{name} does not know {flag}"));
    }
    match (step.run)(flags) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(missing)) => {
            println!("{name} skipped: {missing}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{name} failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn unknown<'a>(flags: &[&'a str], known: &[&str]) -> Option<&'a str> {
    flags.iter().find(|flag| !known.contains(flag)).copied()
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("{problem}; cargo xtask --help lists the steps");
    ExitCode::from(2)
}

fn help() -> String {
    let list = |wanted: fn(When) -> bool| -> String {
        let steps = STEPS.iter().filter(|step| wanted(step.when));
        steps
            .map(|step| {
                let flags = step.flags.concat();
                let flags = if flags.is_empty() {
                    flags
                } else {
                    format!(" [{}]", step.flags.join("|"))
                };
                format!("  {:<12} {}{flags}\n", step.name, step.about)
            })
            .collect()
    };
    format!(
        "usage: cargo xtask ci [{}] [{}], or one step\n\n\
         ci runs these steps, in this order, up to the first failure:\n{}\n\
         ci {} runs the first of them in a short form, for the inner loop: {}.\n\
         ci {} lets a step fail that would be skipped because a program is missing.\n\n\
         These steps run by themselves only:\n{}",
        FAST,
        ci::NO_SKIPS,
        list(|when| when != When::Alone),
        FAST,
        ci::fast_steps().join(", "),
        ci::NO_SKIPS,
        list(|when| when == When::Alone),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_step_once() {
        let help = help();
        for step in STEPS {
            let line = format!("  {:<12} {}", step.name, step.about);
            assert_eq!(help.matches(&line).count(), 1, "{}", step.name);
        }
    }

    #[test]
    fn flags_are_those_of_the_step() {
        assert_eq!(
            unknown(&["--fast", "--no-skips", "--fast"], ci::FLAGS),
            None
        );
        assert_eq!(unknown(&["--fast", "--quick"], ci::FLAGS), Some("--quick"));
        assert_eq!(unknown(&["x"], &[]), Some("x"));
    }
}
