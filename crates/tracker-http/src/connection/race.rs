//! Connects TCP to the first of several addresses that answers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest time that an address is tried before the next one is tried in parallel: the
/// "Connection Attempt Delay" of RFC 8305, section 5.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

type TcpAttempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to one of the addresses. They are tried in their order, with IPv4 and IPv6 alternating.
///
/// The next address is tried when one fails, or in parallel after a delay. The delay is at most 250
/// ms, and short enough that every address is tried within the first half of `limit`.
///
/// # Errors
///
/// Each address with its error, if all fail.
///
/// # Cancel safety
///
/// Cancel safe: dropping the future ends the attempts.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let half_shares = u32::try_from(addresses.len())
        .unwrap_or(u32::MAX)
        .max(1)
        .saturating_mul(2);
    let attempt_delay = CONNECTION_ATTEMPT_DELAY.min(limit / half_shares);
    let mut untried = alternate_families(addresses).into_iter();
    let mut in_flight: Vec<(SocketAddr, TcpAttempt)> = Vec::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = untried.next() {
            in_flight.push((address, Box::pin(TcpStream::connect(address))));
        }
        if in_flight.is_empty() {
            return Err(failures);
        }
        let finished = if untried.len() > 0 {
            timeout(attempt_delay, first_finished(&mut in_flight))
                .await
                .ok()
        } else {
            Some(first_finished(&mut in_flight).await)
        };
        match finished {
            Some((_, Ok(stream))) => return Ok(stream),
            Some((address, Err(error))) => failures.push((address, error)),
            None => {}
        }
    }
}

/// Waits for the first attempt that finishes, and removes it.
async fn first_finished(
    in_flight: &mut Vec<(SocketAddr, TcpAttempt)>,
) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for index in 0..in_flight.len() {
            let (address, attempt) = &mut in_flight[index];
            if let Poll::Ready(finished) = attempt.as_mut().poll(cx) {
                let address = *address;
                drop(in_flight.swap_remove(index));
                return Poll::Ready((address, finished));
            }
        }
        Poll::Pending
    })
    .await
}

/// Alternates the address families, beginning with the family of the first address (RFC 8305,
/// section 4).
fn alternate_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == preferred);
    let mut ordered = Vec::with_capacity(addresses.len());
    for index in 0..first.len().max(second.len()) {
        ordered.extend(first.get(index));
        ordered.extend(second.get(index));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_no_address_is_lost() {
        let order = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|text| text.parse().unwrap()).collect();
            alternate_families(&addresses)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), [""; 0]);
        assert_eq!(
            order(&["1.1.1.1:1", "1.1.1.2:1"]),
            ["1.1.1.1:1", "1.1.1.2:1"]
        );
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "1.1.1.1:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1"]
        );
        assert_eq!(
            order(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]),
            ["1.1.1.1:1", "[::1]:1", "[::2]:1"]
        );
    }
}
