//! Receives connections from the kernel · hands each, with a pending place, to the shard with the fewest
//! sockets · owns the pace of accepting.

use std::io;
use std::mem::size_of;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use streamconductor_core::pool::{PendingPlace, Pool};
use streamconductor_core::shard::Peer;
use streamconductor_core::shard::site::Counts;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::inbox::{Accepted, Inbox};
use crate::listener::{Listener, Raw};
use crate::mailbox::Class;

/// How long to wait after the kernel had no descriptor for us: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Sockets accepted in a row before other tasks of the thread get their turn.
const IN_A_ROW: usize = 64;

/// Shared between the acceptor and the shards: somebody waits for a pending place.
#[derive(Default)]
pub struct PlaceWanted {
    waiting: AtomicBool,
    freed: Notify,
}

impl PlaceWanted {
    /// Called by shards after a turn: if the acceptor waits and a place is free, it goes on.
    pub fn check(&self, pool: &Pool) {
        let pending = pool.pending();
        if self.waiting.load(Ordering::Acquire) && pending.used < pending.maximum {
            self.freed.notify_one();
        }
    }
}

/// The one acceptor of a listening socket.
pub struct Acceptor {
    listener: AsyncFd<Listener>,
    inboxes: Arc<[Arc<Inbox>]>,
    pool: Pool,
    wanted: Arc<PlaceWanted>,
    stop: Arc<Notify>,
    /// Descriptors ran out: how often, for metrics and one log line.
    starved: Arc<AtomicU64>,
    counts: Arc<dyn Counts>,
    clock: Clock,
}

impl Acceptor {
    /// An acceptor that has accepted nobody yet.
    #[expect(clippy::too_many_arguments, reason = "each is another's, and there is one caller")]
    pub fn new(
        listener: AsyncFd<Listener>,
        inboxes: Arc<[Arc<Inbox>]>,
        pool: Pool,
        wanted: Arc<PlaceWanted>,
        stop: Arc<Notify>,
        starved: Arc<AtomicU64>,
        counts: Arc<dyn Counts>,
        clock: Clock,
    ) -> Self {
        Self { listener, inboxes, pool, wanted, stop, starved, counts, clock }
    }

    /// Accepts until told to stop.
    pub async fn run(self) {
        let stop = Arc::clone(&self.stop);
        let mut stopped = pin!(stop.notified());
        let mut rounds = pin!(self.round());
        std::future::poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                Poll::Ready(())
            } else {
                rounds.as_mut().poll(context)
            }
        })
        .await;
    }

    async fn round(&self) {
        let mut back_off = BACK_OFF.0;
        let mut accepted = 0;
        loop {
            let next = self.next().await;
            match next {
                Ok(Some((raw, address, place))) => {
                    back_off = BACK_OFF.0;
                    self.hand_over(raw, address, place);
                    accepted += 1;
                    if accepted % IN_A_ROW == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_starved(&error) => {
                    // No descriptor or memory: the peers wait in the backlog. Trying again at once would spin.
                    self.starved.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
                // The peer gave up while it waited, or there was none: no matter.
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// Accepts one. The place comes first, once somebody waits to be accepted: a socket is counted from its first
    /// instant, and nobody has to leave for nobody.
    async fn next(&self) -> io::Result<Option<(Raw, Option<std::net::SocketAddr>, PendingPlace)>> {
        let mut ready = self.listener.readable().await?;
        let place = match self.pool.take_pending() {
            Some(place) => place,
            None if self.listener.get_ref().is_awaited() => self.place().await,
            None => {
                // What is known of the socket is left over from the one before.
                ready.clear_ready();
                return Ok(None);
            }
        };
        match ready.try_io(|listener| listener.get_ref().accept()) {
            Ok(accepted) => accepted.map(|(raw, address)| Some((raw, address, place))),
            Err(_) => Ok(None),
        }
    }

    /// Waits for a pending place. While there is none, the shard with the oldest silent socket frees one.
    async fn place(&self) -> PendingPlace {
        loop {
            if let Some(place) = self.pool.take_pending() {
                return place;
            }
            self.wanted.waiting.store(true, Ordering::Release);
            self.reclaim();
            // Bounded, so that a reclaim that found nothing (all are being admitted) is repeated.
            let _ = tokio::time::timeout(Duration::from_millis(50), self.wanted.freed.notified()).await;
            self.wanted.waiting.store(false, Ordering::Release);
        }
    }

    fn reclaim(&self) {
        // Who has sent no complete head goes before who lingers; among equals the oldest.
        let age = |inbox: &Arc<Inbox>| {
            let headless = inbox.oldest_headless.load(Ordering::Relaxed);
            (headless == u64::MAX, headless.min(inbox.oldest_lingering.load(Ordering::Relaxed)))
        };
        if let Some(inbox) = self.inboxes.iter().min_by_key(|inbox| age(inbox)) {
            inbox.is_reclaimed.store(true, Ordering::Release);
            inbox.alarm.ring();
        }
    }

    fn hand_over(&self, raw: Raw, address: Option<std::net::SocketAddr>, place: PendingPlace) {
        let count = address.map(|address| self.counts.of_address(address.ip()));
        let peer = Peer { address, count };
        let Some(inbox) = self.inboxes.iter().min_by_key(|inbox| inbox.sockets.load(Ordering::Relaxed))
        else {
            return;
        };
        inbox.sockets.fetch_add(1, Ordering::Relaxed);
        let mut batch = vec![Accepted { raw, peer, place }];
        // This mailbox has no limit of its own: the places bound it.
        let _ = inbox.accepted.append(&mut batch, size_of::<Accepted>(), Class::Reserved);
        // The shard says so itself at the end of its turn; until it has had one, this socket would pass for nobody, and
        // younger ones of other shards would be reclaimed in its place.
        inbox.oldest_headless.fetch_min(self.clock.now().as_micros(), Ordering::Relaxed);
    }
}

fn is_starved(error: &io::Error) -> bool {
    const OUT_OF_FILES: i32 = 24; // EMFILE
    const OUT_OF_SYSTEM_FILES: i32 = 23; // ENFILE
    const OUT_OF_BUFFERS: i32 = 105; // ENOBUFS on Linux
    const OUT_OF_MEMORY: i32 = 12; // ENOMEM
    matches!(error.raw_os_error(), Some(OUT_OF_FILES | OUT_OF_SYSTEM_FILES | OUT_OF_BUFFERS | OUT_OF_MEMORY))
}
