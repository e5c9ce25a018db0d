//! Runs every way in which trackers lose events, and prints where each event went.
//!
//! CI: run
//!
//! `cargo run --release -p tracker-http --example loss_table [-- --full]`; `--full` runs a million trials of the race
//! between emit and shutdown instead of 20,000. The far end is a real server on loopback, but for the race, which has
//! one in memory. The exit code is 1 if any event is unaccounted for, or the books and
//! the far end count differently.

mod answers;
mod cases;
mod race;
mod row;

use std::error::Error;
use std::process::ExitCode;

use row::Row;

const USAGE: &str = "usage: cargo run --release -p tracker-http --example loss_table [-- --full]";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let trials = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => 20_000,
        [full] if full == "--full" => 1_000_000,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    // The servers run on a thread of their own, as those of a real far end would; the program under test has one.
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let program = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = program.block_on(cases::all(servers.handle()))?;
    rows.extend(program.block_on(answers::all(servers.handle()))?);
    let (race, note) = program.block_on(race::run(trials))?;
    rows.push(race);

    println!("{}", Row::HEADER);
    rows.iter().for_each(|row| println!("{row}"));
    println!("\n{note}");
    let unaccounted: u64 = rows.iter().map(Row::lost).sum();
    let balanced = rows.iter().all(|row| row.books.is_balanced() && row.books.pending() == 0);
    let are_true = rows.iter().all(Row::is_true);
    println!(
        "unaccounted for: {unaccounted}; books: {}, {}",
        if balanced { "all balanced" } else { "NOT BALANCED" },
        if are_true { "all true by the far end's own count" } else { "NOT TRUE by the far end's own count" }
    );
    Ok(if unaccounted == 0 && balanced && are_true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
