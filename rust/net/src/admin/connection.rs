//! Receives one accepted socket · hands its requests to the routes · owns its deadlines and its orderly end.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use super::guard::Guard;
use super::service::AdminService;
use super::{Stop, routes, until_stopped};

/// How long a head may take, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(5);
/// From the end of the head until the peer has taken the answer.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes of a request head; above it 431.
const MAX_HEAD: usize = 16 * 1024;
/// Header lines; above it 431.
const MAX_HEADERS: usize = 100;
/// How much and how long we discard behind an answer that the peer may still be sending a body to.
const LINGER: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// What all connections share.
pub struct Context {
    pub guard: Guard,
    pub service: Arc<dyn AdminService>,
    /// Lets one change of the configuration at a time wait for the application.
    pub changes: Semaphore,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub peer: IpAddr,
    pub local: IpAddr,
}

/// Serves requests until the peer leaves, a deadline passes or the server stops.
pub async fn serve(stream: TcpStream, peer: SocketAddr, context: Rc<Context>, mut stop: Stop) {
    // Fails when the peer is gone already.
    let Ok(local) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let ends = Ends { peer: peer.ip().to_canonical(), local: local.ip().to_canonical() };
    let deadline = Rc::new(Cell::new(Instant::now() + REQUEST));
    let service = service_fn(|request| {
        deadline.set(Instant::now() + REQUEST);
        let context = Rc::clone(&context);
        Box::pin(async move { Ok::<_, Infallible>(routes::answer(&context, ends, request).await) })
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let has_ended = {
        let mut stopped = pin!(stop.wait_for(Option::is_some));
        let mut sleep = pin!(sleep_until(deadline.get()));
        let mut is_leaving = false;
        poll_fn(|task| {
            if !is_leaving && stopped.as_mut().poll(task).is_ready() {
                is_leaving = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            // Every request moves the deadline; the timer follows when it fires.
            while sleep.as_mut().poll(task).is_ready() {
                if deadline.get() <= Instant::now() {
                    return Poll::Ready(false);
                }
                sleep.as_mut().reset(deadline.get());
            }
            // An error is the peer's doing, and answered already where it can be.
            connection.poll_without_shutdown(task).map(|_| true)
        })
        .await
    };
    if has_ended {
        let stream = connection.into_parts().io.into_inner();
        until_stopped(stop, timeout(LINGER.1, linger(stream))).await;
    }
}

/// Ends our direction and discards what still comes: closing with unread bytes would reset the connection, and
/// the peer could lose the answer.
async fn linger(stream: TcpStream) {
    if SockRef::from(&stream).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let (mut buffer, mut left) = ([0; 4_096], LINGER.0);
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => left = left.saturating_sub(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
