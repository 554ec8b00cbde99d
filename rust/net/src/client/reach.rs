//! Receives a host and a port, or a path · hands out a connected socket · owns the order in which addresses are tried
//! (happy eyeballs, RFC 8305): the families in turn, each a little after the one before, the first that answers wins.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::error::{DialError, Stage};
use super::progress::Progress;
use crate::stream::Stream;

/// How long an address is waited for before the next one is tried as well (RFC 8305 §5).
const APART: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

type Attempt = Pin<Box<dyn Future<Output = (SocketAddr, io::Result<TcpStream>)> + Send>>;

/// Connects to a host.
pub async fn host(
    host: &str,
    address: Option<IpAddr>,
    port: u16,
    progress: &Progress,
) -> Result<(Stream, SocketAddr), DialError> {
    if let Some(address) = address {
        return any(&[SocketAddr::new(address, port)], progress).await;
    }
    progress.reach(Stage::Resolving);
    let failed = |reason: String| DialError::Resolution { host: host.to_owned(), reason };
    let found = lookup_host((host, port)).await.map_err(|error| failed(error.to_string()))?;
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    any(&found, progress).await
}

/// Connects to the first of these addresses that answers.
pub async fn any(addresses: &[SocketAddr], progress: &Progress) -> Result<(Stream, SocketAddr), DialError> {
    if addresses.is_empty() {
        return Err(DialError::invalid("addresses", "names none; name one, or leave it to the URL"));
    }
    progress.reach(Stage::Connecting);
    let mut left = interleaved(addresses);
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    loop {
        if let Some(address) = left.pop_front() {
            attempts.push(Box::pin(async move { (address, TcpStream::connect(address).await) }));
        }
        if attempts.is_empty() {
            return Err(DialError::unreachable(&progress.host(), failures.join("; ")));
        }
        let ended = if left.is_empty() {
            Some(first(&mut attempts).await)
        } else {
            tokio::time::timeout(APART, first(&mut attempts)).await.ok()
        };
        match ended {
            // Nobody has answered yet: the next one is tried as well.
            None => {}
            Some((address, Err(error))) => failures.push(format!("{address}: {error}")),
            // The other attempts end with this function.
            Some((address, Ok(stream))) => {
                let stream = Stream::from(stream);
                stream.set_options().map_err(|error| {
                    DialError::unreachable(&progress.host(), format!("{address}: {error}"))
                })?;
                return Ok((stream, address));
            }
        }
    }
}

/// Connects to a Unix socket.
pub async fn unix(path: &Path, progress: &Progress) -> Result<Stream, DialError> {
    progress.reach(Stage::Connecting);
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| DialError::unreachable(&progress.host(), format!("{}: {error}", path.display())))?;
    Ok(Stream::from(stream))
}

/// What comes of the first attempt that ends, which is taken out.
async fn first(attempts: &mut Vec<Attempt>) -> (SocketAddr, io::Result<TcpStream>) {
    std::future::poll_fn(|context| {
        for position in 0..attempts.len() {
            let polled = attempts.get_mut(position).map(|attempt| attempt.as_mut().poll(context));
            if let Some(Poll::Ready(ended)) = polled {
                drop(attempts.swap_remove(position));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// The families in turn, beginning with that of the first address, which the system prefers (RFC 8305 §4).
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let is_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let of = |is_ipv6: bool| addresses.iter().copied().filter(move |one| one.is_ipv6() == is_ipv6);
    let (mut preferred, mut others) = (of(is_first), of(!is_first));
    let mut order = VecDeque::new();
    while order.len() < MAX_ADDRESSES {
        let two = [preferred.next(), others.next()];
        if two == [None, None] {
            break;
        }
        order.extend(two.into_iter().flatten());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_the_systems_first_choice_stays_first() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = of(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let wanted = of(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(Vec::from(interleaved(&given)), wanted);
        let given = of(&["1.1.1.1:1", "[::1]:1"]);
        assert_eq!(Vec::from(interleaved(&given)), given);
        assert_eq!(interleaved(&vec!["1.1.1.1:1".parse().unwrap(); 100]).len(), MAX_ADDRESSES);
    }
}
