//! Receives seeds · lets two shards that are connected talk, stall, pause and close as chance has it, in pieces of any size
//! · owns the proof that every message arrives once and in order or is accounted for, and that no trace stays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod simulation;

use std::time::Duration;

use proptest::prelude::*;
use simulation::{Pair, Random, Room, millis, seconds};
use streamconductor_core::close::CloseCode;
use streamconductor_core::codec::Kind;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::lifecycle::Public;
use streamconductor_core::shard::command::Command;

const INTERVAL: Duration = Duration::from_millis(500);

/// One end's account of what it has sent and what the other got.
#[derive(Default)]
struct Account {
    sent: Vec<String>,
    got: Vec<String>,
}

struct Run {
    pair: Pair,
    random: Random,
    to_far: Account,
    to_near: Account,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let compression = random.one_in(2);
        let pair = Pair::new(|setup| {
            setup.limits.compression = compression;
            setup.limits.max_inbound = 600;
            setup.limits.ping_interval = Some(INTERVAL);
            setup.limits.ping_timeout = INTERVAL * 2;
            setup.limits.write_timeout = Some(INTERVAL * 4);
            setup.limits.close_timeout = seconds(2);
        });
        Self { pair, random, to_far: Account::default(), to_near: Account::default() }
    }

    fn step(&mut self) {
        let number = self.to_far.sent.len() + self.to_near.sent.len();
        let text = format!("{number} {}", "m".repeat(self.random.below(300)));
        match self.random.below(12) {
            0..=2
                if self.pair.our_gauge.state() == Public::Open && self.pair.our_gauge.buffered() < 3_000 =>
            {
                self.pair.tell(Kind::Text, text.as_bytes(), true);
                self.to_far.sent.push(text);
            }
            3..=5
                if self.pair.their_gauge.state() == Public::Open
                    && self.pair.their_gauge.buffered() < 3_000 =>
            {
                self.pair.answer(Kind::Text, text.as_bytes());
                self.to_near.sent.push(text);
            }
            6 | 7 => {
                let most = 1 + self.random.below(200);
                self.pair.carry(most);
            }
            8 => {
                let time = millis(self.random.below(400) as u64);
                self.pair.pass(time);
            }
            9 => self.room(),
            10 => self.take(),
            _ => {}
        }
        self.hear();
    }

    fn room(&mut self) {
        let room = match self.random.below(3) {
            0 => Room::Blocked,
            1 => Room::Bytes(1 + self.random.below(40)),
            _ => Room::All,
        };
        let Pair { near, far, ours, theirs, .. } = &mut self.pair;
        let (server, client) = if self.random.one_in(2) { (near, ours) } else { (far, theirs) };
        if room == Room::Blocked { client.set_room(room) } else { server.unblock(client, room) }
    }

    fn hear(&mut self) {
        let Pair { near, far, ours, theirs, .. } = &mut self.pair;
        self.to_near.got.extend(near.heard(ours));
        self.to_far.got.extend(far.heard(theirs));
    }

    /// The application takes what it has at either end.
    fn take(&mut self) {
        let all = |gauge: &Gauge| gauge.taken(gauge.inbound(), 600);
        if all(&self.pair.our_gauge) {
            self.pair.near.command(0, Command::Resume { connection: self.pair.ours.id });
        }
        if all(&self.pair.their_gauge) {
            self.pair.far.command(0, Command::Resume { connection: self.pair.theirs.id });
        }
    }

    fn check(&self) {
        for account in [&self.to_near, &self.to_far] {
            assert!(account.sent.starts_with(&account.got), "{:?} of {:?}", account.got, account.sent);
        }
    }

    /// Somebody closes; whatever is in the way goes out of it, unless nothing gets through any more.
    fn finish(&mut self) {
        let is_cut = self.random.one_in(4);
        self.pair.is_cut = is_cut;
        let was_open = [&self.pair.our_gauge, &self.pair.their_gauge].map(|one| one.state() == Public::Open);
        let who = self.random.below(3);
        if !is_cut && who != 2 {
            for _ in 0..20 {
                let Pair { near, far, ours, theirs, .. } = &mut self.pair;
                near.unblock(ours, Room::All);
                far.unblock(theirs, Room::All);
                self.pair.settle();
                self.take();
                self.hear();
            }
            if was_open == [true; 2] {
                assert_eq!(self.to_near.got, self.to_near.sent);
                assert_eq!(self.to_far.got, self.to_far.sent);
            }
        }
        if who == 0 {
            self.pair.close_near(CloseCode::NORMAL, "enough");
        } else {
            self.pair.close_far(CloseCode::NORMAL, "enough");
        }
        for _ in 0..40 {
            self.pair.pass(millis(200));
            self.take();
            self.hear();
        }
        self.check();
        let (near, far) = (self.pair.our_end(), self.pair.their_end());
        assert_eq!(near.received.0, self.to_near.got.len() as u64);
        assert_eq!(far.received.0, self.to_far.got.len() as u64);
        assert!(near.sent.0 <= self.to_far.sent.len() as u64 && near.sent.0 >= far.received.0);
        assert!(self.pair.ours.released().is_some() && !self.pair.ours.is_shut());
        self.pair.check_traces();
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..150 {
        run.step();
        run.check();
    }
    run.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_both_ends_do_messages_arrive_in_order_and_nothing_stays(seed: u64) {
        run(seed);
    }
}
