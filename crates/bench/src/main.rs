//! The tracker's benchmarks: push, flush and loopback throughput, each beside its peers, with
//! ratios.
//!
//! `cargo run --release --manifest-path crates/bench/Cargo.toml`
//!
//! Every contender runs once per round, in turn, so that noise of the machine meets all of them;
//! the median of the rounds counts. Absolute figures belong to the machine; the ratios are the
//! result.

mod harness;
mod push;
mod server;
mod wire;

fn main() {
    println!("push of a prebuilt 96-byte event, ns per event");
    push::one_producer();
    println!("\nthe same, 2 producers at once, ns per event of each producer");
    push::two_producers();
    println!("\nemit and flush of 1 event on the caller's task, loopback, microseconds");
    wire::flush_of_one();
    println!("\npush to acknowledged, loopback JSON, batches of 512, events/s");
    wire::throughput();
}
