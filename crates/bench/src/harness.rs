//! Rounds, medians and ratios.

use std::time::Duration;

/// A contender: its name, and a run that returns the time of the measured part.
pub struct Contender<'a> {
    pub name: &'static str,
    pub run: Box<dyn FnMut() -> Duration + 'a>,
}

pub fn contender<'a>(name: &'static str, run: impl FnMut() -> Duration + 'a) -> Contender<'a> {
    Contender {
        name,
        run: Box::new(run),
    }
}

/// Runs all contenders in turn, `rounds` times after one warm-up; prints `figure(median)` and the
/// ratio to the first.
pub fn compare(rounds: usize, contenders: Vec<Contender<'_>>, figure: impl Fn(Duration) -> f64) {
    let mut contenders = contenders;
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let time = (contender.run)();
            if round > 0 {
                times.push(time);
            }
        }
    }
    let row = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        (
            figure(times[0]),
            figure(times[times.len() / 2]),
            figure(times[times.len() - 1]),
        )
    };
    let rows: Vec<_> = times.iter_mut().map(row).collect();
    println!(
        "  {:<44} {:>11} {:>11} {:>11} {:>8}",
        "", "best", "median", "worst", "ratio"
    );
    for (contender, (best, median, worst)) in contenders.iter().zip(&rows) {
        let ratio = median / rows[0].1;
        println!(
            "  {:<44} {best:>11.1} {median:>11.1} {worst:>11.1} {ratio:>8.2}",
            contender.name
        );
    }
}
