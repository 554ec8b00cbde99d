//! Receives settings and a site · hands out a running server: threads, inboxes, the door up · owns their
//! beginning and their end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use streamconductor_core::channel::Registry;
use streamconductor_core::config::Limits;
use streamconductor_core::deflate::InUse;
use streamconductor_core::known::KnownCount;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::pool::{Candidates, Pool};
use streamconductor_core::shard::command::{Command, Filter};
use streamconductor_core::shard::site::{Counts, Site};
use streamconductor_core::shard::view::ConnectionView;
use streamconductor_core::shard::{Shard, Shared};
use streamconductor_core::stats::Stats;
use streamconductor_core::time::Timestamp;
use tokio::sync::Notify;

use crate::acceptor::{Acceptor, PlaceWanted};
use crate::clock::Clock;
use crate::compression::Compression;
use crate::driver::{self, Surroundings};
use crate::inbox::Inbox;
use crate::listener::{Address, Listener};
use crate::mailbox::{Class, Full};
use crate::tls::Tls;
use crate::upward::Upward;

/// What a server is started with.
pub struct Settings {
    /// Where to listen; empty: nowhere, for outgoing connections alone. Port 0 of a second address becomes the port of the first.
    pub addresses: Vec<Address>,
    /// The kernel's queue of connections that nobody has accepted.
    pub backlog: u32,
    /// How many shards.
    pub threads: usize,
    /// The wheel's tick.
    pub tick: Duration,
    /// All limits.
    pub limits: Limits,
    /// What every address speaks; `None`: plain.
    pub tls: Option<Arc<Tls>>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address, as text.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The parts that exist before the server starts and that others hold, too.
#[derive(Clone)]
pub struct Foundations {
    /// The server's clock.
    pub clock: Clock,
    /// The memory budget.
    pub ledger: Ledger,
    /// The door up.
    pub upward: Arc<Upward>,
}

/// What all shards have counted.
pub struct Counted {
    /// The sums.
    pub stats: Stats,
    /// Shards that did not answer in time: their part is as old as their last answer.
    pub missing: usize,
}

/// A running server.
pub struct Server {
    inboxes: Arc<[Arc<Inbox>]>,
    foundations: Foundations,
    pool: Pool,
    known: KnownCount,
    compression: Compression,
    deflating: InUse,
    registry: Mutex<Registry>,
    addresses: Vec<SocketAddr>,
    starved: Arc<AtomicU64>,
    tls: Option<Arc<Tls>>,
    stop_accepting: Arc<Notify>,
    running: Arc<Running>,
    /// What each shard has reported last.
    last: Mutex<Vec<Stats>>,
    /// The process whose threads these are.
    process: u32,
}

/// The threads that still run, and what became of those that failed.
#[derive(Default)]
struct Running {
    threads: Mutex<(usize, Option<String>)>,
    ended: Condvar,
}

impl Server {
    /// Binds every address, if there are any ([`outgoing`](crate::outgoing) needs none), then starts one thread per shard. The acceptors run beside the first shard.
    pub fn start(
        settings: Settings,
        site: Arc<Site>,
        registry: Registry,
        foundations: Foundations,
    ) -> Result<Self, StartError> {
        let (listeners, addresses) = bind(&settings)?;
        let ledger = &foundations.ledger;
        let shards = settings.threads.max(1);
        let max_buffered = settings.limits.marks.max_buffered;
        let inbox = |_| Arc::new(Inbox::new(max_buffered, ledger));
        let inboxes: Arc<[Arc<Inbox>]> = (0..shards).map(inbox).collect();
        let (candidates, publishers) = Candidates::new(shards);
        let shared = Shared {
            site,
            pool: Pool::new(settings.limits.max_connections, settings.limits.max_pending),
            ledger: ledger.clone(),
            deflating: InUse::default(),
            candidates,
            known: KnownCount::default(),
            shards,
        };
        let server = Self {
            inboxes: Arc::clone(&inboxes),
            pool: shared.pool.clone(),
            known: shared.known.clone(),
            compression: Compression::new(ledger, settings.limits.compression_threshold),
            deflating: shared.deflating.clone(),
            registry: Mutex::new(registry),
            addresses,
            starved: Arc::default(),
            tls: settings.tls,
            stop_accepting: Arc::default(),
            running: Arc::default(),
            last: Mutex::default(),
            process: std::process::id(),
            foundations,
        };
        let wanted = Arc::new(PlaceWanted::default());
        let mut listeners = Some(listeners);
        let limits = Arc::new(settings.limits);
        for (number, publisher) in publishers.into_iter().enumerate() {
            let surroundings = Surroundings {
                number,
                inboxes: Arc::clone(&inboxes),
                upward: Arc::clone(&server.foundations.upward),
                pool: shared.pool.clone(),
                ledger: server.foundations.ledger.clone(),
                wanted: Arc::clone(&wanted),
                clock: server.foundations.clock,
                tls: server.tls.clone(),
            };
            let counts = Arc::clone(&shared.site.counts);
            let (shared, limits, tick) = (shared.clone(), Arc::clone(&limits), settings.tick);
            let make = move |sockets| Shard::new(number, shared, publisher, limits, tick, sockets);
            let acceptors = server.acceptors(listeners.take().unwrap_or_default(), &wanted, &counts);
            let beside = move || {
                for acceptor in acceptors {
                    tokio::task::spawn_local(acceptor()?.run());
                }
                Ok(())
            };
            server.spawn(number, move || driver::run(surroundings, make, beside))?;
        }
        Ok(server)
    }

    /// Acceptors that come into being on the thread that will run them.
    fn acceptors(
        &self,
        listeners: Vec<Listener>,
        wanted: &Arc<PlaceWanted>,
        counts: &Arc<dyn Counts>,
    ) -> Vec<impl FnOnce() -> io::Result<Acceptor> + Send + use<>> {
        listeners
            .into_iter()
            .map(|listener| {
                let (inboxes, pool) = (Arc::clone(&self.inboxes), self.pool.clone());
                let (wanted, stop) = (Arc::clone(wanted), Arc::clone(&self.stop_accepting));
                let (starved, counts) = (Arc::clone(&self.starved), Arc::clone(counts));
                let clock = self.foundations.clock;
                move || {
                    let listener = listener.drive()?;
                    Ok(Acceptor::new(listener, inboxes, pool, wanted, stop, starved, counts, clock))
                }
            })
            .collect()
    }

    fn spawn(
        &self,
        number: usize,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StartError> {
        let running = Arc::clone(&self.running);
        let upward = Arc::clone(&self.foundations.upward);
        lock(&running.threads).0 += 1;
        let guarded = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("shard {number}: {error}")),
                Err(_) => Some(format!("shard {number} panicked")),
            };
            let mut threads = lock(&running.threads);
            threads.0 -= 1;
            if failure.is_some() {
                threads.1 = failure;
                upward.tell_room();
            }
            running.ended.notify_all();
        };
        let spawned = std::thread::Builder::new().name(format!("streamconductor-{number}")).spawn(guarded);
        if let Err(error) = spawned {
            lock(&self.running.threads).0 -= 1;
            self.stop(Duration::from_secs(1));
            return Err(StartError::Thread(error));
        }
        Ok(())
    }

    /// The addresses that were bound; empty for Unix sockets.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// Slots and pending places.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The clock, the ledger and the door up.
    pub fn foundations(&self) -> &Foundations {
        &self.foundations
    }

    /// Connections that the application was told of and has not finished with.
    pub fn known(&self) -> &KnownCount {
        &self.known
    }

    /// Compresses on the threads of callers.
    pub fn compression(&self) -> &Compression {
        &self.compression
    }

    /// Open connections that take deflated messages.
    pub fn deflating(&self) -> &InUse {
        &self.deflating
    }

    /// How often the kernel had no descriptor for an accept.
    pub fn starved(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }

    /// Its TLS; `None`: it is plain.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// The channels. Locked for a look-up; never by a shard.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Hands a batch of commands to a shard, with one wake; all of them or none.
    pub fn append(
        &self,
        shard: usize,
        batch: &mut Vec<Command>,
        bytes: usize,
        class: Class,
    ) -> Result<(), Full> {
        let Some(inbox) = self.inboxes.get(shard) else {
            batch.clear();
            return Ok(());
        };
        inbox.commands.append(batch, bytes, class)
    }

    /// The inbox of the shard with the fewest sockets.
    pub(crate) fn least_loaded(&self) -> Option<&Inbox> {
        self.inboxes.iter().min_by_key(|inbox| inbox.sockets.load(Ordering::Relaxed)).map(|inbox| &**inbox)
    }

    /// Puts one command into a shard's mailbox and leaves the shard asleep: [`Server::ring`] must follow.
    pub fn post(&self, shard: usize, command: Command, bytes: usize, class: Class) -> Result<(), Full> {
        match self.inboxes.get(shard) {
            Some(inbox) => inbox.commands.post(command, bytes, class),
            None => Ok(()),
        }
    }

    /// Wakes a shard that has commands.
    pub fn ring(&self, shard: usize) {
        if let Some(inbox) = self.inboxes.get(shard) {
            inbox.commands.ring();
        }
    }

    /// Hands over one command that is never refused.
    pub fn tell(&self, shard: usize, command: Command) {
        let bytes = driver::weight(&command);
        // Reserved commands are never refused.
        let _ = self.append(shard, &mut vec![command], bytes, Class::Reserved);
    }

    /// Hands a command to every shard.
    pub fn tell_all(&self, make: impl Fn() -> Command) {
        for shard in 0..self.shards() {
            self.tell(shard, make());
        }
    }

    /// Whether a publisher that can wait should: the shard's commands are above half of their bound.
    pub fn must_wait(&self, shard: usize) -> bool {
        self.inboxes.get(shard).is_some_and(|inbox| inbox.commands.must_wait())
    }

    /// Asks every shard and waits for the answers, which takes about a turn; those that do not come within
    /// `patience` are left out. Must not be called from a shard's thread.
    fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        make: impl Fn(usize, Sender<T>) -> Command,
    ) -> Vec<T> {
        let (answer, answers) = mpsc::channel();
        for shard in 0..self.shards() {
            self.tell(shard, make(shard, answer.clone()));
        }
        drop(answer);
        let deadline = Instant::now() + patience;
        let mut all = Vec::with_capacity(self.shards());
        while let Ok(one) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            all.push(one);
        }
        all
    }

    /// The connections that a filter means.
    pub fn list(&self, filter: &Filter) -> Vec<ConnectionView> {
        let mut all: Vec<ConnectionView> = self
            .ask(Duration::from_secs(1), |_, answers| Command::List {
                filter: filter.clone(),
                // Nobody waits any more: the answer is for nobody.
                answer: Box::new(move |views| drop(answers.send(views))),
            })
            .into_iter()
            .flatten()
            .collect();
        all.sort_unstable_by_key(|view| view.connection);
        all
    }

    /// What all shards have counted. Of a shard that does not answer within a second, what it said last: sums must
    /// not go back.
    pub fn stats(&self) -> Counted {
        let all = self.ask(Duration::from_secs(1), |shard, answers| {
            Command::Report(Box::new(move |stats| drop(answers.send((shard, stats)))))
        });
        let missing = self.shards().saturating_sub(all.len());
        let mut last = lock(&self.last);
        last.resize_with(self.shards(), Stats::default);
        for (shard, stats) in all {
            if let Some(place) = last.get_mut(shard) {
                *place = stats;
            }
        }
        let mut sum = Stats::default();
        last.iter().for_each(|one| sum.merge(one));
        sum.compressed.merge(self.compression.compressed());
        Counted { stats: sum, missing }
    }

    /// Times that shards were woken for commands.
    pub fn wakes(&self) -> u64 {
        self.inboxes.iter().map(|inbox| inbox.commands.status().wakes).sum()
    }

    /// Other limits from now on, on every shard.
    pub fn reconfigure(&self, limits: &Arc<Limits>, tick: Duration) {
        self.pool.set_maxima(limits.max_connections, limits.max_pending);
        self.foundations.ledger.set_budget(limits.memory_budget);
        self.inboxes.iter().for_each(|inbox| inbox.adopt(limits.marks.max_buffered));
        self.compression.set_threshold(limits.compression_threshold);
        self.tell_all(|| Command::Reconfigure { limits: Arc::clone(limits), tick });
    }

    /// Closes all connections, spread over `duration`; the listener goes on to serve probes.
    pub fn depart(&self, duration: Duration) {
        let until = self.foundations.clock.now() + duration;
        self.tell_all(|| Command::Depart { until });
    }

    /// Resets what is left.
    pub fn abandon(&self) {
        self.tell_all(|| Command::Abandon);
    }

    /// Stops all threads and waits for them. False: some did not end within `patience`.
    pub fn stop(&self, patience: Duration) -> bool {
        if std::process::id() != self.process {
            // A fork's child has none of the threads, and one of them may have held a lock when it was copied.
            return true;
        }
        self.stop_accepting.notify_waiters();
        self.tell_all(|| Command::Stop);
        let deadline = Instant::now() + patience;
        let mut threads = lock(&self.running.threads);
        while threads.0 > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            threads =
                self.running.ended.wait_timeout(threads, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Why a thread ended that should not have.
    pub fn failure(&self) -> Option<String> {
        lock(&self.running.threads).1.clone()
    }

    /// The time on the server's clock.
    pub fn now(&self) -> Timestamp {
        self.foundations.clock.now()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

/// Nothing panics while it holds one of these locks in a state worth distrusting, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(settings: &Settings) -> Result<(Vec<Listener>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::new();
    let mut bound: Vec<SocketAddr> = Vec::new();
    for address in &settings.addresses {
        let mut address = address.clone();
        if let (Address::Tcp(tcp), Some(first)) = (&mut address, bound.first())
            && tcp.port() == 0
        {
            tcp.set_port(first.port());
        }
        let listener = Listener::bind(&address, settings.backlog).map_err(|error| {
            let address = match &address {
                Address::Tcp(tcp) => tcp.to_string(),
                Address::Unix(path) => path.display().to_string(),
            };
            StartError::Bind { address, error }
        })?;
        bound.extend(listener.local_address());
        listeners.push(listener);
    }
    Ok((listeners, bound))
}
