//! Runs every way in which trackers lose events, and prints the fate of each event.
//!
//! CI: run
//!
//! `cargo run --release -p tracker-http --example loss_table [-- --full]`; `--full` runs a million
//! trials of the race between emit and shutdown instead of 20,000. The far end is a real server on
//! loopback, except in the race, whose far end is in memory. The exit code is 1 if an event is
//! unaccounted for, if the books and the far end count differently, or if a case does not show its
//! effect.

mod answers;
mod cases;
mod far_ends;
mod network;
mod race;
mod refusals;
mod row;
mod time;

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
    // The servers run on a thread of their own, as real servers would; the program under test has
    // another one.
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let program = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut rows = program.block_on(cases::all(servers.handle()))?;
    rows.extend(program.block_on(answers::all(servers.handle()))?);
    rows.extend(program.block_on(refusals::all(servers.handle()))?);
    // These cases mostly wait, so they run concurrently.
    let waiting =
        async { tokio::try_join!(network::all(servers.handle()), time::all(servers.handle())) };
    let (network, time) = program.block_on(waiting)?;
    rows.extend(network.into_iter().chain(time));
    let (race, note) = program.block_on(race::run(trials))?;
    rows.push(race);

    println!("{}", Row::HEADER);
    rows.iter().for_each(|row| println!("{row}"));
    println!();
    let notes = rows.iter().filter(|row| !row.note.is_empty());
    notes.for_each(|row| println!("{}: {}", row.case, row.note));
    println!("{note}");
    let problems = rows.iter().flat_map(|row| {
        row.problems()
            .into_iter()
            .map(|problem| (&row.case, problem))
    });
    let problems: Vec<_> = problems.collect();
    problems
        .iter()
        .for_each(|(case, problem)| println!("FAILED: {case}: {problem}"));
    let unaccounted: u64 = rows.iter().map(|row| row.lost().unsigned_abs()).sum();
    let balanced = rows
        .iter()
        .all(|row| row.books.is_balanced() && row.books.pending() == 0);
    let are_true = rows.iter().all(Row::is_true);
    println!(
        "unaccounted for: {unaccounted}; books: {}, {}",
        if balanced {
            "all balanced"
        } else {
            "NOT BALANCED"
        },
        if are_true {
            "all true by the far end's own count"
        } else {
            "NOT TRUE by the far end's own count"
        }
    );
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
