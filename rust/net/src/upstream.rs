//! Receives where a service is and how to come back to it · dials, and hands what opened to a shard · owns the life of each
//! link: one connection at a time, and another when it has ended.
//!
//! All of it runs on a thread of its own and asks nobody: a link whose application is blocked comes back all the same.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use streamconductor_core::close::{By, CloseCode, Ending};
use streamconductor_core::deflate::Agreement;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::lifecycle::State;
use streamconductor_core::pool::Slot;
use streamconductor_core::redial::{Endpoints, Policy, Redial, Step, Why};
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::{Peer, outgoing};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::{Dial, DialError, Dialled, dial};
use crate::outgoing::{Connected, seed};
use crate::server::Server;

/// How soon a link that found no slot free looks again: its own last connection may still wait for the peer's end.
const LOOK: Duration = Duration::from_millis(10);

/// One address of a service.
#[derive(Clone)]
pub struct Endpoint {
    /// How it is reached.
    pub dial: Dial,
    /// How often it is chosen among the others; 0: only where no other may be.
    pub weight: u32,
}

/// What an upstream is.
pub struct Terms {
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// How its links come back.
    pub policy: Policy,
    /// Whether they come back at all.
    pub reconnects: bool,
}

/// What the application is told of a link.
#[derive(Debug)]
pub enum News {
    /// The attempt came to nothing.
    Failed {
        /// Why.
        error: DialError,
        /// How long until the next.
        wait: Duration,
    },
    /// The server has closed with 4401: the next attempt waits for another token, [`Link::renew`].
    TokenWanted,
    /// It is over.
    Ended {
        /// Why.
        why: Why,
        /// What the last attempt came to; `None`: it was opened.
        error: Option<DialError>,
    },
}

/// Called with the number of a link and its news, on the dialling thread. Must not block.
pub type Tell = Arc<dyn Fn(u64, News) + Send + Sync>;

/// What a shard tells a link of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The shard has it, under this id.
    Opened(ConnectionId),
    /// It has ended.
    Closed(CloseCode, By),
}

/// Where a shard sends it.
pub type Watcher = UnboundedSender<Life>;

enum Order {
    Renew(String),
    Stop,
}

/// The thread that dials for an engine, started with it.
pub struct Dialler {
    handle: Handle,
    over: Arc<Notify>,
    server: Arc<Server>,
    tell: Tell,
    numbers: AtomicU64,
}

/// A service, with the state of its endpoints, which all links to it share.
#[derive(Clone)]
pub struct Upstream {
    terms: Arc<Terms>,
    endpoints: Arc<Mutex<Endpoints>>,
}

/// One link, for as long as this is held.
pub struct Link {
    number: u64,
    orders: UnboundedSender<Order>,
}

impl Upstream {
    /// A service that nobody has called yet.
    pub fn new(terms: Terms) -> Self {
        let weights = terms.endpoints.iter().map(|endpoint| endpoint.weight);
        let endpoints = Arc::new(Mutex::new(Endpoints::new(weights)));
        Self { terms: Arc::new(terms), endpoints }
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialler {
    /// Starts the thread. What it opens lives on the shards of `server`.
    pub fn start(server: Arc<Server>, tell: Tell) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let over = Arc::new(Notify::new());
        let is_over = Arc::clone(&over);
        std::thread::Builder::new().name("streamconductor-dial".to_owned()).spawn(move || {
            runtime.block_on(is_over.notified());
            // Resolving a name may take as long as it likes, and is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, over, server, tell, numbers: AtomicU64::default() })
    }

    /// Begins a link; its first attempt is made at once.
    pub fn open(&self, upstream: &Upstream) -> io::Result<Link> {
        let number = self.numbers.fetch_add(1, Relaxed);
        let (orders, received) = unbounded_channel();
        let chance = u64::from_le_bytes(first_eight(seed()?));
        let course = Course {
            number,
            upstream: upstream.clone(),
            server: Arc::clone(&self.server),
            tell: Arc::clone(&self.tell),
            attempts: 0,
            redial: Redial::new(upstream.terms.policy.clone(), chance),
            orders: received,
            token: None,
            connection: None,
            life: None,
            error: None,
        };
        self.handle.spawn(course.run());
        Ok(Link { number, orders })
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.over.notify_one();
    }
}

impl Link {
    /// Its number, which its news come with.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The token of further attempts.
    pub fn renew(&self, token: String) {
        // It has ended where nobody listens.
        let _ = self.orders.send(Order::Renew(token));
    }

    /// Ends it: an attempt is given up, a connection is closed with 1000.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }
}

/// The life of one link.
struct Course {
    number: u64,
    upstream: Upstream,
    server: Arc<Server>,
    tell: Tell,
    attempts: u32,
    redial: Redial,
    orders: UnboundedReceiver<Order>,
    /// In place of the endpoints' own.
    token: Option<String>,
    connection: Option<ConnectionId>,
    /// What the shard says of the connection.
    life: Option<UnboundedReceiver<Life>>,
    /// What the last attempt came to.
    error: Option<DialError>,
}

impl Course {
    async fn run(mut self) {
        let mut step = self.redial.start(&mut self.upstream.endpoints(), self.server.now());
        loop {
            step = match step {
                Step::Dial { endpoint, refresh } => self.attempt(endpoint, refresh).await,
                Step::Wait { until } => {
                    let at = self.server.foundations().clock.instant(until);
                    tokio::select! {
                        order = self.orders.recv() => self.obey(order),
                        () = tokio::time::sleep_until(at.into()) => {
                            self.redial.tick(&mut self.upstream.endpoints(), self.server.now())
                        }
                    }
                }
                Step::Hold => {
                    tokio::select! {
                        life = heard(self.life.as_mut()) => self.lived(life),
                        order = self.orders.recv() => self.obey(order),
                    }
                }
                Step::Close => self.close().await,
                Step::Ended(why) => {
                    let error = self.error.take();
                    return (self.tell)(self.number, News::Ended { why, error });
                }
            };
        }
    }

    fn obey(&mut self, order: Option<Order>) -> Step {
        if let Some(Order::Renew(token)) = order {
            self.token = Some(token);
            return self.redial.step();
        }
        self.redial.stop(&mut self.upstream.endpoints(), self.server.now())
    }

    async fn attempt(&mut self, endpoint: usize, refresh: bool) -> Step {
        if refresh {
            (self.tell)(self.number, News::TokenWanted);
            match self.orders.recv().await {
                Some(Order::Renew(token)) => self.token = Some(token),
                order => return self.obey(order),
            }
        }
        let slot = loop {
            if let Some(slot) = self.server.pool().take_slot() {
                break slot;
            }
            if let Err(step) = self.unless_stopped(tokio::time::sleep(LOOK)).await {
                return step;
            }
        };
        self.attempts += 1;
        // With the link's number in its upper half the connection that comes of it says whose it is.
        let number = (self.number << 32) | u64::from(self.attempts);
        let Some(chosen) = self.upstream.terms.endpoints.get(endpoint) else {
            return self.redial.stop(&mut self.upstream.endpoints(), self.server.now());
        };
        let mut options = chosen.dial.clone();
        if let Some(token) = &self.token {
            options.bearer_token = Some(token.clone());
        }
        let server = Arc::clone(&self.server);
        let result = match self.unless_stopped(dial(&options, &server.foundations().ledger)).await {
            Ok(result) => result,
            Err(step) => return step,
        };
        match result.and_then(|dialled| self.hand_over(number, slot, dialled, &options)) {
            Ok(()) => {
                self.error = None;
                self.redial.established(&mut self.upstream.endpoints(), self.server.now())
            }
            Err(error) => self.failed(error),
        }
    }

    /// What work comes to; or, where it is given up because the link is to stop, the step that follows.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Step> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Ok(result),
                order = self.orders.recv() => {
                    let is_over = !matches!(order, Some(Order::Renew(_)));
                    let step = self.obey(order);
                    if is_over {
                        return Err(step);
                    }
                }
            }
        }
    }

    fn failed(&mut self, error: DialError) -> Step {
        let now = self.server.now();
        let mut step = self.redial.failed(error.failure(), &mut self.upstream.endpoints(), now);
        if !self.upstream.terms.reconnects && !matches!(step, Step::Ended(_)) {
            step = self.redial.stop(&mut self.upstream.endpoints(), now);
        }
        match step {
            Step::Wait { until } => {
                let wait = until.since(now);
                (self.tell)(self.number, News::Failed { error, wait });
            }
            _ => self.error = Some(error),
        }
        step
    }

    /// Gives what was opened to a shard.
    fn hand_over(
        &mut self,
        dial: u64,
        slot: Slot,
        dialled: Dialled,
        options: &Dial,
    ) -> Result<(), DialError> {
        let lost = |error: io::Error| DialError::Unreachable {
            host: options.authority(),
            reason: error.to_string(),
        };
        let connection = outgoing::Connected {
            dial,
            slot,
            peer: Peer { address: dialled.peer, count: None },
            path: dialled.path().into(),
            route: 0,
            subprotocol: dialled.subprotocol.clone(),
            compression: dialled.agreement.map(Agreement::encoding),
            seed: seed().map_err(lost)?,
        };
        let detached = dialled.detach().map_err(lost)?;
        let (watcher, life) = unbounded_channel();
        self.life = Some(life);
        self.server.take_over(Connected {
            socket: detached.socket,
            encryption: detached.encryption,
            read_ahead: detached.read_ahead,
            connection,
            watcher: Some(watcher),
        });
        Ok(())
    }

    fn lived(&mut self, life: Option<Life>) -> Step {
        match life {
            Some(Life::Opened(id)) => {
                self.connection = Some(id);
                self.redial.step()
            }
            Some(Life::Closed(code, by)) => self.closed(code, by),
            // Its shard has gone.
            None => self.closed(CloseCode::ABNORMAL, By::Application),
        }
    }

    fn closed(&mut self, code: CloseCode, by: By) -> Step {
        (self.connection, self.life) = (None, None);
        let now = self.server.now();
        if self.redial.state() == State::Ending || !self.upstream.terms.reconnects {
            return self.redial.closed(code, By::Application, now);
        }
        if by == By::Application {
            // This connection was to end, and not the link.
            return self.redial.closed(CloseCode::GOING_AWAY, By::Server, now);
        }
        self.redial.closed(code, by, now)
    }

    /// Closes the connection and waits for its end, which `close_timeout` bounds.
    async fn close(&mut self) -> Step {
        loop {
            if let Some(connection) = self.connection.take() {
                let ending = Box::new(Ending::Closed { code: CloseCode::NORMAL, reason: String::new() });
                self.server.tell(connection.shard(), Command::Close { connection, ending });
            }
            match heard(self.life.as_mut()).await {
                Some(Life::Opened(id)) => self.connection = Some(id),
                other => return self.lived(other),
            }
        }
    }
}

async fn heard(life: Option<&mut UnboundedReceiver<Life>>) -> Option<Life> {
    life?.recv().await
}

fn first_eight(seed: [u8; 32]) -> [u8; 8] {
    std::array::from_fn(|at| seed.get(at).copied().unwrap_or_default())
}
