//! Receives readiness from the system and the time · hands both to the connections and opens new ones · owns every
//! place, its connection, the agenda, and the count of everything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::agenda::{Agenda, Entry, Step};
use super::books::Books;
use super::channels::Channels;
use super::control::Control;
use super::course::{Intent, Then};
use super::ledger::Ledger;
use super::life::{Life, Whim};
use super::peer::End;
use super::random::Random;
use super::role::Role;
use crate::failure::Failure;
use crate::transport::{Scratch, Security, Transport};

const EVENTS: usize = 1024;
const CONTROL: Token = Token(usize::MAX);

/// Connections that may be opening at once: each has five seconds for its part of the handshake, on whatever the
/// machine leaves to both sides.
const OPENING: usize = 16;

/// What the kernel holds for somebody who stalls: little, so that a stall reaches the server soon, but more than a
/// segment on loopback (64 KiB), or the window opens in steps of the persist timer, and whoever reads is slow too.
const STALLED_BUFFER: usize = 96 * 1024;

/// How often it is looked for what is overdue.
const SWEEP: Duration = Duration::from_secs(1);

/// Neither side is late by so much on a machine that has a core for each.
const SLOW_TURN: Duration = Duration::from_millis(400);

/// How much sooner something is overdue once the run has failed.
const HURRY: Duration = Duration::from_secs(12);

/// Echoes sent at once, at most, and the milliseconds between two such times.
const ECHOES: usize = 8;
const ECHO_PAUSE: (u64, u64) = (50, 250);

/// One server: where it listens, and what TLS needs when that is there.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) security: Option<Security>,
}

/// Where one connection after the other lives.
#[derive(Debug)]
struct Place {
    role: Role,
    site: usize,
    life: Option<Life>,
    is_open: bool,
    /// The channels that its connection wants when it is open.
    wanted: Vec<u8>,
}

/// Everything that is going on.
#[derive(Debug)]
pub(crate) struct Field {
    poll: Poll,
    scratch: Scratch,
    sites: Vec<Site>,
    places: Vec<Place>,
    agenda: Agenda,
    random: Random,
    channels: Channels,
    pub(crate) control: Control,
    pub(crate) ledger: Ledger,
    pub(crate) books: Books,
    identities: u64,
    /// Places that have not opened their first connection.
    unopened: usize,
    opening: usize,
    /// Connections open now.
    pub(crate) open: usize,
    /// Between two whims; `None`: nobody has any.
    whims: Option<Duration>,
    next_whim: Instant,
    next_sweep: Instant,
    last_turn: Instant,
    /// The longest turn since somebody looked.
    pub(crate) longest_turn: Duration,
    /// By server and channel, where every subscription ends; set: everybody leaves.
    finals: Option<Vec<Vec<u64>>>,
}

impl Field {
    pub(crate) fn new(control: SocketAddr, sites: Vec<Site>, seed: u64) -> Result<Self, Failure> {
        let (poll, now) = (Poll::new()?, Instant::now());
        let mut control = Control::connect(control)?;
        let stream = &mut control.peer.transport.stream;
        poll.registry().register(stream, CONTROL, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            poll,
            scratch: Scratch::new(),
            sites,
            places: Vec::new(),
            agenda: Agenda::default(),
            random: Random::new(seed),
            channels: Channels::new(Vec::new()),
            control,
            ledger: Ledger::default(),
            books: Books::default(),
            identities: 0,
            unopened: 0,
            opening: 0,
            open: 0,
            whims: None,
            next_whim: now,
            next_sweep: now,
            last_turn: now,
            longest_turn: Duration::ZERO,
            finals: None,
        })
    }

    /// Makes places and begins to open their connections.
    pub(crate) fn populate(&mut self, connections: usize, channels: Channels) {
        self.channels = channels;
        // Even places on one server, odd ones on the other; a role's places alternate.
        let servers = self.sites.len();
        let place = |number: usize| Place {
            role: Role::of(number),
            site: number % servers,
            life: None,
            is_open: false,
            wanted: Vec::new(),
        };
        self.places = (0..connections).map(place).collect();
        self.unopened = connections;
    }

    /// From now on so many connections a second do something unexpected.
    pub(crate) fn unsettle(&mut self, per_second: f64) {
        self.whims = (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second));
        self.next_whim = Instant::now();
    }

    /// Everybody leaves and nobody comes any more; `finals`: where every subscription ends.
    pub(crate) fn end(&mut self, finals: Vec<Vec<u64>>) {
        self.whims = None;
        self.finals = Some(finals);
        for place in 0..self.places.len() {
            self.step(place, Step::Resume);
        }
    }

    /// Places that still have a connection.
    pub(crate) fn occupied(&self) -> usize {
        self.places.iter().filter(|place| place.life.is_some()).count()
    }

    /// Takes everything that is ready once, and waits for it at most a little.
    pub(crate) fn turn(&mut self, events: &mut Events) -> Result<(), Failure> {
        match self.poll.poll(events, Some(Duration::from_millis(10))) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &*events {
            if event.token() == CONTROL {
                self.control.ready(event.is_writable(), &mut self.scratch)?;
                for closing in self.control.closings.drain(..) {
                    self.books.told(closing, &mut self.ledger);
                }
            } else {
                self.ready(event);
            }
        }
        let now = Instant::now();
        let turn = now - self.last_turn;
        self.longest_turn = self.longest_turn.max(turn);
        self.last_turn = now;
        self.held_up(turn, now);
        self.pass_time(now);
        Ok(())
    }

    /// One side did not run for so long: to the server that was a stall of everybody, though nobody had planned it, or
    /// it came too late itself.
    pub(crate) fn held_up(&mut self, time: Duration, now: Instant) {
        if time > SLOW_TURN {
            let lives = self.places.iter_mut().filter_map(|place| place.life.as_mut());
            lives.for_each(|life| life.was_held_up(time, now));
        }
    }

    pub(crate) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    fn ready(&mut self, event: &Event) {
        let Token(number) = event.token();
        self.act(number, |life, world| {
            if event.is_writable() {
                life.peer.writable()?;
            }
            world.read(life, event.is_read_closed())?;
            Ok(None)
        });
    }

    /// What the time brings: steps, newcomers, whims, and what is overdue.
    fn pass_time(&mut self, now: Instant) {
        while let Some(entry) = self.agenda.due(now) {
            let current = self.places.get(entry.place).and_then(|place| place.life.as_ref());
            if entry.step == Step::Open {
                self.open(entry.place, now);
            } else if entry.identity == current.map(|life| life.identity) {
                self.step(entry.place, entry.step);
            }
        }
        while self.unopened > 0 && self.opening < OPENING {
            self.unopened -= 1;
            self.open(self.places.len() - self.unopened - 1, now);
        }
        if let Some(interval) = self.whims {
            while self.next_whim <= now {
                self.next_whim += interval;
                self.whim(now);
            }
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP;
            for number in 0..self.places.len() {
                self.sweep(number, now);
            }
        }
    }

    /// What a connection has planned.
    fn step(&mut self, number: usize, step: Step) {
        let now = Instant::now();
        let is_ending = self.finals.is_some();
        self.act(number, |life, world| match step {
            Step::Open => Ok(None),
            Step::Send if !life.is_free() || is_ending => Ok(None),
            Step::Send => {
                life.send(1 + world.random.below(ECHOES), world.channels, world.ledger)?;
                Ok(Some((world.random.millis(ECHO_PAUSE.0, ECHO_PAUSE.1), Step::Send)))
            }
            Step::Stall if is_ending => Ok(None),
            Step::Stall if !life.is_free() => Ok(Some((world.random.millis(200, 500), Step::Stall))),
            Step::Stall => Ok(Some((life.stall(world.random), Step::Resume))),
            Step::Resume if !life.is_paused => Ok(None),
            Step::Resume => {
                let next = life.resume(world.random, world.ledger);
                world.read(life, true)?;
                Ok(next)
            }
            Step::Leave if !life.is_free() => Ok(None),
            Step::Leave => life.leave(Then::Close, &[], now).map(|()| None),
            Step::Ask => {
                life.ask()?;
                Ok(life.ask_again())
            }
        });
    }

    /// Somebody does something unexpected.
    fn whim(&mut self, now: Instant) {
        let number = self.random.below(self.places.len());
        let Some(place) = self.places.get_mut(number).filter(|place| !place.role.stalls()) else { return };
        if !place.life.as_ref().is_some_and(Life::is_free) {
            return;
        }
        let whim = Whim::of(place.role, &mut self.random);
        if matches!(whim, Whim::Reset | Whim::Vanish) {
            self.abandon(number, whim == Whim::Reset, now);
            return;
        }
        self.act(number, |life, world| match whim {
            Whim::Move => life.leave(Then::Move, &[], now).map(|()| None),
            Whim::Leave => life.leave(Then::Close, &[], now).map(|()| None),
            Whim::Close => life.close(now).map(|()| None),
            Whim::Pause => Ok(Some((life.stall(world.random), Step::Resume))),
            Whim::Reset | Whim::Vanish => Ok(None),
        });
    }

    /// Ends what waits in vain.
    fn sweep(&mut self, number: usize, now: Instant) {
        let place = self.places.get(number);
        let Some(life) = place.and_then(|place| place.life.as_ref()) else { return };
        // What is wrong is known already, so nobody waits long for what may be lost with it.
        let is_over = self.finals.is_some() && self.ledger.violations > 0;
        let sooner = if is_over { HURRY } else { Duration::ZERO };
        if life.due.is_some_and(|due| due <= now + sooner) {
            life.course.overdue(&mut self.ledger);
            self.abandon(number, true, now);
        }
    }

    /// Lets a connection do something, then whatever had waited for that, and enters what it plans.
    fn act(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Life, &mut World<'_>) -> Result<Option<(Duration, Step)>, End>,
    ) {
        let now = Instant::now();
        let Some(place) = self.places.get_mut(number) else { return };
        let Some(life) = &mut place.life else { return };
        let mut world = World {
            scratch: &mut self.scratch,
            channels: &self.channels,
            random: &mut self.random,
            ledger: &mut self.ledger,
        };
        let identity = life.identity;
        let mut plans = [None; 3];
        let [acted, opened, advanced] = &mut plans;
        let result = act(life, &mut world).and_then(|plan| {
            *acted = plan;
            if !place.is_open && life.peer.is_open() {
                place.is_open = true;
                self.opening -= 1;
                self.open += 1;
                world.ledger.opened += 1;
                *opened = life.opened(&place.wanted, world.channels, world.random, now)?;
            }
            let World { channels, random, ledger, .. } = world;
            *advanced = life.advance(|| channels.choose(place.role, random), channels, ledger, now)?;
            if let Some(finals) = self.finals.as_ref().filter(|_| life.is_free()) {
                let ends = finals.get(place.site).map_or(&[][..], Vec::as_slice);
                life.leave(Then::Close, ends, now)?;
                // What was left may be complete already.
                life.advance(Vec::new, channels, ledger, now)?;
            }
            Ok(())
        });
        for (after, step) in plans.into_iter().flatten() {
            self.agenda.add(Entry { at: now + after, place: number, identity: Some(identity), step });
        }
        if let Err(end) = result {
            match life.ended(&end, &mut self.ledger, now) {
                Some(account) => self.books.ended(identity, account, &mut self.ledger),
                None => self.books.forget(identity),
            }
            self.vacate(number, now);
        }
    }

    fn abandon(&mut self, number: usize, is_reset: bool, now: Instant) {
        let Some(life) = self.places.get_mut(number).and_then(|place| place.life.take()) else { return };
        let identity = life.identity;
        let account = life.abandon(is_reset, &mut self.ledger);
        self.books.ended(identity, account, &mut self.ledger);
        self.vacate(number, now);
    }

    /// A place's connection is gone; the next one comes soon.
    fn vacate(&mut self, number: usize, now: Instant) {
        let Some(place) = self.places.get_mut(number) else { return };
        place.life = None;
        if std::mem::take(&mut place.is_open) {
            self.open -= 1;
        } else {
            self.opening -= 1;
        }
        let at = now + self.random.millis(0, 300);
        self.agenda.add(Entry { at, place: number, identity: None, step: Step::Open });
    }

    /// A place opens a connection.
    fn open(&mut self, number: usize, now: Instant) {
        let Some(place) = self.places.get_mut(number).filter(|place| place.life.is_none()) else { return };
        if self.finals.is_some() {
            return;
        }
        let Some(site) = self.sites.get(place.site) else { return };
        self.identities += 1;
        place.wanted = self.channels.choose(place.role, &mut self.random);
        let buffer = place.role.stalls().then_some(STALLED_BUFFER);
        let opened = Transport::connect(site.address, site.security.as_ref(), None, buffer).and_then(
            |mut transport| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut transport.stream, Token(number), interest)?;
                Ok(transport)
            },
        );
        match opened {
            Ok(transport) => {
                let mut life = Life::new(self.identities, place.role, &place.wanted, transport, now);
                if place.role == Role::Push {
                    life.is_subscribed(&place.wanted, &self.channels);
                }
                place.life = Some(life);
                self.opening += 1;
            }
            Err(error) => {
                self.ledger.violation(|| format!("place {number}: no connection: {error}"));
                let at = now + SWEEP;
                self.agenda.add(Entry { at, place: number, identity: None, step: Step::Open });
            }
        }
    }
}

/// What a connection needs of the field while it acts.
struct World<'f> {
    scratch: &'f mut Scratch,
    channels: &'f Channels,
    random: &'f mut Random,
    ledger: &'f mut Ledger,
}

impl World<'_> {
    /// Reads what there is, unless the connection stalls.
    fn read(&mut self, life: &mut Life, to_the_end: bool) -> Result<(), End> {
        if life.is_paused && life.course.intent != Intent::Opening {
            return Ok(());
        }
        let Life { peer, course, .. } = life;
        peer.readable(self.scratch, to_the_end, |payload| course.message(payload, self.channels, self.ledger))
    }
}
