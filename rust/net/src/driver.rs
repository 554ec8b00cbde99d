//! Receives readiness, mailboxes and the time · calls the shard and hands on what it says · owns one thread.
//!
//! A turn first takes in everything that is there (sockets, forwards, commands, bytes, deadlines), then lets
//! the shard write, so that what gathered for a connection goes out in one write.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use streamconductor_core::channel::ById;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::ledger::{Ledger, Level};
use streamconductor_core::pool::Pool;
use streamconductor_core::shard::Shard;
use streamconductor_core::shard::command::{Audience, Command, Forward};
use streamconductor_core::shard::event::Event;
use streamconductor_core::time::Timestamp;
use tokio::runtime::{Builder, LocalOptions};

use crate::acceptor::PlaceWanted;
use crate::clock::Clock;
use crate::inbox::{Accepted, Inbox};
use crate::mailbox::{Class, Drained};
use crate::outgoing::Connected;
use crate::sockets::{Read, Sockets};
use crate::stream::Stream;
use crate::tls::Tls;
use crate::upstream::{Life, Watcher};
use crate::upward::Upward;

/// How long a turn may write before it looks at everything else again.
const TURN: Duration = Duration::from_millis(1);
/// Commands taken in one turn.
const COMMANDS: usize = 8_192;
/// Forwards taken in one turn.
const FORWARDS: usize = 4_096;
/// Sockets accepted in one turn.
const ACCEPTS: usize = 512;
/// Sockets that are ready at once, above which each is read a quarter at a time.
const CROWD: usize = 32;
/// Bytes read at once; one buffer for all sockets of the shard.
const SCRATCH: usize = 64 * 1024;

/// What a driver needs beside its shard.
pub struct Surroundings {
    pub number: usize,
    pub inboxes: Arc<[Arc<Inbox>]>,
    pub upward: Arc<Upward>,
    pub pool: Pool,
    pub ledger: Ledger,
    pub wanted: Arc<PlaceWanted>,
    pub clock: Clock,
    /// `None`: the sockets' bytes are plain.
    pub tls: Option<Arc<Tls>>,
}

/// Runs a shard on the current thread until it has been told to stop and is empty.
pub fn run(
    surroundings: Surroundings,
    make: impl FnOnce(Sockets) -> Shard<Sockets>,
    beside: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        beside()?;
        let Some(inbox) = surroundings.inboxes.get(surroundings.number).cloned() else { return Ok(()) };
        let shard = make(Sockets::new(inbox.alarm.clone()));
        let driver = Driver::new(shard, inbox, surroundings);
        // As a task of its own, and not as the future that `block_on` polls: waking that one from its own
        // thread costs a write to an eventfd each time. Unconstrained: Tokio's budget of 128 operations is
        // meant for tasks with one socket; ours bounds its turns itself.
        let task = tokio::task::spawn_local(tokio::task::unconstrained(driver.drive()));
        // The task ends by itself, and a panic in it is passed on to the thread's owner.
        task.await.map_err(io::Error::other)
    })
}

struct Driver {
    shard: Shard<Sockets>,
    inbox: Arc<Inbox>,
    surroundings: Surroundings,
    /// Publications, joins and leaves that came while they could not be taken, in their order. Their bytes go on
    /// counting against the mailbox that they came from.
    held: VecDeque<Command>,
    scratch: Box<[u8]>,
    ready: Vec<u32>,
    /// Places whose bytes wait because the ledger is at 90 %.
    unread: Vec<u32>,
    commands: Vec<Command>,
    forwards: Vec<(usize, Forward)>,
    accepted: Vec<Accepted>,
    connected: Vec<Connected>,
    /// Who waits for the end of a connection of ours, by its id.
    watchers: ById<Watcher>,
    upward: Vec<Event>,
    is_stopping: bool,
}

impl Driver {
    fn new(shard: Shard<Sockets>, inbox: Arc<Inbox>, surroundings: Surroundings) -> Self {
        Self {
            shard,
            inbox,
            held: VecDeque::new(),
            surroundings,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            ready: Vec::new(),
            unread: Vec::new(),
            commands: Vec::new(),
            forwards: Vec::new(),
            accepted: Vec::new(),
            connected: Vec::new(),
            watchers: ById::default(),
            upward: Vec::new(),
            is_stopping: false,
        }
    }

    async fn drive(mut self) {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed = None;
        let mut next_tick = None;
        let inbox = Arc::clone(&self.inbox);
        loop {
            let is_more = self.turn(&mut next_tick);
            if self.is_stopping {
                return;
            }
            if is_more {
                self.yield_now().await;
                continue;
            }
            if armed != next_tick {
                armed = next_tick;
                if let Some(at) = next_tick {
                    sleep.as_mut().reset(self.surroundings.clock.instant(at).into());
                }
            }
            let mut rung = pin!(inbox.alarm.rung());
            let mut has_slept = false;
            std::future::poll_fn(|context| {
                let is_due = armed.is_some() && sleep.as_mut().poll(context).is_ready();
                if rung.as_mut().poll(context).is_ready() || is_due {
                    return Poll::Ready(());
                }
                has_slept = true;
                Poll::Pending
            })
            .await;
            if has_slept {
                // What rang behind the ring that woke this task, such as the acceptor's behind a socket's.
                self.inbox.alarm.silence();
            } else {
                // The kernel is asked, and the acceptor runs, only while this task does not: sockets with more to
                // read than one turn takes would otherwise keep everybody else from being heard.
                self.yield_now().await;
            }
        }
    }

    /// Lets the kernel be asked and the acceptor run, before a turn that takes in all that they bring.
    async fn yield_now(&self) {
        tokio::task::yield_now().await;
        // What rang meanwhile is looked at in the turn that follows: one behind it would find nothing, and ask the
        // kernel in vain.
        self.inbox.alarm.silence();
    }

    /// One turn. True: there is more to do, at once.
    fn turn(&mut self, next_tick: &mut Option<Timestamp>) -> bool {
        let started = Instant::now();
        let now = self.surroundings.clock.now();
        let level = self.surroundings.ledger.level();
        let mut is_more = self.take_accepted(now);
        is_more |= self.take_connected(now);
        if self.inbox.is_reclaimed.swap(false, Ordering::AcqRel) {
            self.shard.command(Command::Reclaim, now);
        }
        // Commands are collected before forwards and done after them: whatever made the application give a
        // command had been forwarded before, and is seen here.
        let commands = self.inbox.commands.drain(&mut self.commands, COMMANDS);
        let are_forwards_left = self.take_forwards(now);
        is_more |= are_forwards_left;
        is_more |= self.do_commands(commands, level, are_forwards_left, now);
        if next_tick.is_some_and(|at| at <= now) {
            self.shard.tick(now);
        }
        is_more |= self.read_sockets(level, started, now);
        is_more |= self.shard.work(now, &mut || started.elapsed() < TURN);
        self.hand_on();
        *next_tick = self.shard.next_tick(now);
        self.publish(started);
        is_more
    }

    fn take_accepted(&mut self, now: Timestamp) -> bool {
        let drained = self.inbox.accepted.drain(&mut self.accepted, ACCEPTS);
        let mut accepted = std::mem::take(&mut self.accepted);
        for Accepted { raw, peer, place } in accepted.drain(..) {
            let stream = Stream::from(raw);
            let Some(tls) = &self.surroundings.tls else {
                let id = self.shard.accepted(peer, place, now);
                self.shard.wire.insert(id.index(), stream, None);
                continue;
            };
            if let Some(encryption) = tls.begin(&self.surroundings.ledger) {
                let id = self.shard.accepted_for_tls(peer, place, now);
                self.shard.wire.insert(id.index(), stream, Some(encryption));
            }
        }
        self.accepted = accepted;
        drained.more
    }

    fn take_connected(&mut self, now: Timestamp) -> bool {
        let drained = self.inbox.connected.drain(&mut self.connected, ACCEPTS);
        let mut connected = std::mem::take(&mut self.connected);
        for Connected { socket, encryption, read_ahead, connection, watcher } in connected.drain(..) {
            let id = self.shard.connected(connection, now);
            let index = id.index();
            if let Some(watcher) = watcher {
                // It may have given up meanwhile: then it does not want to know.
                let _ = watcher.send(Life::Opened(id));
                self.watchers.insert(id.as_u64(), watcher);
            }
            self.shard.wire.insert(index, Stream::from(socket), encryption);
            if !read_ahead.is_empty() {
                self.shard.bytes(index, &mut Vec::from(read_ahead), now);
            }
        }
        self.connected = connected;
        drained.more
    }

    fn take_forwards(&mut self, now: Timestamp) -> bool {
        let drained = self.inbox.forwards.drain(&mut self.forwards, FORWARDS);
        let mut forwards = std::mem::take(&mut self.forwards);
        if self.inbox.settle(forwards.len()) {
            // Nobody else tells the peers that they may go on with what they have set aside.
            self.surroundings.inboxes.iter().for_each(|peer| peer.alarm.ring());
        }
        for (from, forward) in forwards.drain(..) {
            self.shard.forwarded(from, forward, now);
        }
        self.forwards = forwards;
        drained.more
    }

    /// Does the commands that were collected. While a peer is far behind with our forwards, or the ledger is at 90 %, what concerns
    /// channels waits, in its order; the rest is done.
    fn do_commands(
        &mut self,
        drained: Drained,
        level: Level,
        are_forwards_left: bool,
        now: Timestamp,
    ) -> bool {
        let number = self.surroundings.number;
        // Forwards that are left may be the joins that a publication here must follow.
        let is_held_up = level >= Level::Pausing
            || are_forwards_left
            || self.shard.is_behind()
            || self
                .surroundings
                .inboxes
                .iter()
                .enumerate()
                .any(|(peer, inbox)| peer != number && inbox.is_behind());
        let is_room = !is_held_up && !self.held.is_empty() && self.take_held(now);
        let mut sets_aside = is_held_up || !self.held.is_empty();
        let mut commands = std::mem::take(&mut self.commands);
        let mut kept = 0;
        for command in commands.drain(..) {
            // Behind publications that took their time to compress, everybody else is looked at first.
            sets_aside |= self.shard.has_compressed_enough();
            if sets_aside && concerns_channels(&command) {
                kept += weight(&command);
                self.held.push_back(command);
            } else if let Command::Stop = command {
                self.is_stopping = true;
            } else {
                self.shard.command(command, now);
            }
        }
        if kept > 0 {
            self.inbox.commands.keep(kept);
        }
        self.commands = commands;
        if drained.room || is_room {
            self.surroundings.upward.tell_room();
        }
        drained.more || (!is_held_up && !self.held.is_empty())
    }

    /// Does what was set aside, as much as in any turn. True: a producer waits for the room that this made.
    fn take_held(&mut self, now: Timestamp) -> bool {
        let mut done = 0;
        for _ in 0..COMMANDS {
            if self.shard.has_compressed_enough() {
                break;
            }
            let Some(command) = self.held.pop_front() else { break };
            done += weight(&command);
            self.shard.command(command, now);
        }
        self.inbox.commands.let_go(done)
    }

    /// Reads and writes where the kernel says one can, until the turn is over; who was not looked at comes first
    /// in the next.
    fn read_sockets(&mut self, level: Level, started: Instant, now: Timestamp) -> bool {
        self.shard.wire.take_ready(&mut self.ready);
        let is_paused = level >= Level::Pausing;
        if !is_paused {
            self.ready.append(&mut self.unread);
        }
        let mut ready = std::mem::take(&mut self.ready);
        // With many at the door each gets less, so that the last one waits no longer.
        let most = if ready.len() > CROWD { SCRATCH / 4 } else { SCRATCH };
        let mut done = 0;
        for index in &ready {
            done += 1;
            self.shard.wire.begin(*index);
            if self.shard.wire.became_writable(*index) {
                self.shard.writable(*index, now);
            }
            // Handshakes, probes and sockets that are closing go on at 90 % of the budget: they hold next to nothing,
            // and who asks whether we live must hear it.
            if is_paused && self.shard.delivers(*index) {
                if !self.unread.contains(index) {
                    self.unread.push(*index);
                }
            } else {
                self.read(*index, most, now);
            }
            if started.elapsed() >= TURN {
                break;
            }
        }
        ready.drain(..done);
        // What came ready meanwhile is behind them in the list.
        self.ready = ready;
        !self.ready.is_empty()
    }

    fn read(&mut self, index: u32, most: usize, now: Timestamp) {
        let is_more = match self.shard.wire.read(index, &mut self.scratch, most) {
            Read::Nothing => return,
            Read::Ended => return self.shard.ended(index, now),
            Read::Bytes(count, more) => {
                self.hand_over(index, count, now);
                more
            }
            Read::Heard(more) => {
                self.shard.heard(index, now);
                more
            }
            Read::Secured(secured, count, more) => {
                self.shard.secured(index, secured);
                self.hand_over(index, count, now);
                more
            }
            Read::Unsecured => {
                self.shard.unsecured(index, now);
                true
            }
        };
        if is_more {
            self.shard.wire.look_again(index);
        } else {
            self.shard.wire.watch(index);
        }
    }

    fn hand_over(&mut self, index: u32, count: usize, now: Timestamp) {
        if let Some(bytes) = self.scratch.get_mut(..count).filter(|bytes| !bytes.is_empty()) {
            self.shard.bytes(index, bytes, now);
        }
    }

    /// Hands events to the application and forwards to the peers, each in one batch.
    fn hand_on(&mut self) {
        self.hand_forwards();
        // Behind the forwards: what the application does upon an event must not overtake what caused the event,
        // such as a publication by a connection that has just been subscribed.
        std::mem::swap(&mut self.upward, self.shard.events());
        if self.watchers.is_empty() {
            self.surroundings.upward.append(&mut self.upward);
        } else {
            self.hand_endings();
        }
    }

    /// The same where some of the endings are waited for: the application finds each before what follows from it.
    fn hand_endings(&mut self) {
        let mut endings = Vec::new();
        for event in &self.upward {
            if let Event::Closed(closed) = event
                && let Some(watcher) = self.watchers.remove(&closed.connection.as_u64())
            {
                endings.push((watcher, Life::Closed(closed.code, closed.by)));
            }
        }
        self.surroundings.upward.append(&mut self.upward);
        for (watcher, life) in endings {
            let _ = watcher.send(life);
        }
    }

    fn hand_forwards(&mut self) {
        if self.shard.forwards().is_empty() {
            return;
        }
        let number = self.surroundings.number;
        // One batch per peer: appended in order, woken once.
        for (peer, inbox) in self.surroundings.inboxes.iter().enumerate() {
            let mut batch: Vec<_> = self
                .shard
                .forwards()
                .extract_if(.., |(to, _)| *to == peer)
                .map(|(_, forward)| (number, forward))
                .collect();
            if !batch.is_empty() {
                inbox.owed.fetch_add(batch.len(), Ordering::Relaxed);
                let bytes = batch.len() * size_of::<(usize, Forward)>();
                // Without a limit of its own: `owed` bounds it through the publishers.
                let _ = inbox.forwards.append(&mut batch, bytes, Class::Reserved);
            }
        }
    }

    /// What others read of this shard.
    fn publish(&mut self, started: Instant) {
        let coming = self.inbox.accepted.len();
        let dialled = self.inbox.connected.len();
        self.inbox.sockets.store(self.shard.sockets() + coming + dialled, Ordering::Relaxed);
        if coming == 0 {
            // Otherwise the acceptor has said it, and the turn that takes them in is next.
            let oldest = self.shard.oldest_headless_at().map_or(u64::MAX, Timestamp::as_micros);
            self.inbox.oldest_headless.store(oldest, Ordering::Relaxed);
        }
        let oldest = self.shard.oldest_lingering_at().map_or(u64::MAX, Timestamp::as_micros);
        self.inbox.oldest_lingering.store(oldest, Ordering::Relaxed);
        let is_behind = self.shard.is_behind();
        if self.inbox.is_telling.swap(is_behind, Ordering::Relaxed) && !is_behind {
            // Nobody else tells the peers that they may go on with what they have set aside.
            self.surroundings.inboxes.iter().for_each(|peer| peer.alarm.ring());
        }
        self.surroundings.wanted.check(&self.surroundings.pool);
        let turn = started.elapsed();
        let stats = self.shard.stats();
        stats.turns += 1;
        stats.longest_turn = stats.longest_turn.max(turn);
    }
}

fn concerns_channels(command: &Command) -> bool {
    matches!(
        command,
        Command::Publish { .. }
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::Broadcast(_)
    )
}

/// Real bytes of a command.
pub fn weight(command: &Command) -> usize {
    let payload = match command {
        Command::Send { frame, .. } | Command::Subscribe { first: Some(frame), .. } => frame.len(),
        Command::Publish { publication, .. } => {
            let prepared = publication.prepared.as_ref();
            publication.payload.len() + prepared.map_or(0, |prepared| prepared.real_bytes())
        }
        Command::Broadcast(broadcast) => {
            let named = match &broadcast.to {
                Audience::These(ids) => ids.len(),
                _ => 0,
            };
            let payload = broadcast.payload.len() + broadcast.prepared.real_bytes();
            payload + (named + broadcast.exclude.len()) * size_of::<ConnectionId>() + 64
        }
        Command::Admit(admission) => 128 + admission.subscribe.len() * size_of::<usize>(),
        Command::Refuse(_) | Command::Close { .. } => 128,
        _ => 0,
    };
    size_of::<Command>() + payload
}
