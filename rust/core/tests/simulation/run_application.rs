//! Receives a turn of a random run · does one thing that an application does · owns its half of the model: what it has
//! sent, subscribed and published.

use std::sync::Arc;

use bytes::Bytes;
use streamconductor_core::channel::Channel;
use streamconductor_core::close::{CloseCode, Ending};
use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::{Compressor, Encoding, Encodings, Prepared};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::handshake::ResponseHeaders;
use streamconductor_core::shard::command::{Admission, Audience, Broadcast, Command, Refused};

use super::run::Run;
use super::world::{CHANNELS, Stage};
use super::{seconds, server_frame};

/// The channel that admissions subscribe to.
const DROPPING: usize = 2;

impl Run {
    pub(super) fn verdict(&mut self) {
        let Some(who) = self.world.any(Stage::Asking) else { return };
        let connection = self.world.peers[who].client.id;
        let shard = connection.shard();
        if self.below(8) == 0 {
            let (reason, headers) = ("no".into(), ResponseHeaders::default());
            let refused = Refused { connection, status: 403, reason, headers };
            self.command(shard, Command::Refuse(Box::new(refused)));
            return self.world.is_over(who);
        }
        let victim = if self.below(4) == 0 { self.world.any(Stage::Open) } else { None };
        let subscribe = if self.below(4) == 0 { vec![self.join(who)] } else { Vec::new() };
        let admission = Admission {
            connection,
            expires_at: None,
            user: (self.below(2) == 0).then(|| "ada".into()),
            priority: [0, 1, 2][self.below(3)],
            subprotocol: None,
            headers: ResponseHeaders::default(),
            victim: victim.map(|victim| self.world.peers[victim].client.id),
            subscribe,
        };
        self.command(shard, Command::Admit(Box::new(admission)));
    }

    /// A join that comes with the admission. When its home hears of it is not known here, so the channel is one
    /// that may have gaps.
    fn join(&mut self, who: usize) -> Arc<Channel> {
        let from = self.world.published[DROPPING];
        self.world.peers[who].spans[DROPPING].push((from, None));
        self.world.server.registry.join(CHANNELS[DROPPING].0)
    }

    pub(super) fn tell(&mut self) {
        let Some(who) = self.world.any(Stage::Open) else { return };
        let size = 1 + self.below(300);
        let awaited = self.below(2) == 0;
        let peer = &self.world.peers[who];
        let mut frame = server_frame(Kind::Text, &vec![b'p'; size]);
        if let Encoding::Deflate(bits) = peer.gauge.as_ref().unwrap().encoding() {
            let mut smaller = Vec::new();
            if Compressor::new(bits).encode_message(&mut smaller, Kind::Text, &vec![b'p'; size]) {
                frame = smaller;
            }
        }
        let frame = Bytes::from(frame);
        let gauge = peer.gauge.as_ref().unwrap();
        if gauge.buffered() + frame.len() > self.world.server.shards[0].limits().marks.max_buffered {
            return;
        }
        gauge.sent(frame.len());
        if awaited {
            let _ = gauge.must_wait(600);
        }
        let connection = peer.client.id;
        self.command(connection.shard(), Command::Send { connection, frame, awaited });
    }

    pub(super) fn subscribe(&mut self) {
        let Some(who) = self.world.any(Stage::Open) else { return };
        let which = self.below(CHANNELS.len());
        let published = self.world.published[which];
        let peer = &mut self.world.peers[who];
        if peer.spans[which].last().is_none_or(|span| span.1.is_some()) {
            peer.spans[which].push((published, None));
        }
        let connection = peer.client.id;
        let channel = self.world.server.registry.join(CHANNELS[which].0);
        let first = (self.below(3) == 0).then(|| Bytes::from(server_frame(Kind::Text, b"first")));
        if let Some(frame) = &first {
            let gauge = self.world.peers[who].gauge.as_ref().unwrap();
            if gauge.buffered() + frame.len() > 2_000 {
                return channel.leave();
            }
            gauge.sent(frame.len());
        }
        // As the application's gauge has it, which may know less than the shard.
        let peer = &self.world.peers[who];
        let known = peer.gauge.as_ref().map(|gauge| gauge.encoding());
        let encoding = if self.below(8) == 0 { Encoding::Raw } else { known.unwrap() };
        self.command(channel.home(), Command::Subscribe { connection, channel, encoding, first });
    }

    pub(super) fn unsubscribe(&mut self) {
        let Some(who) = self.world.any(Stage::Open) else { return };
        let which = self.below(CHANNELS.len());
        if which == DROPPING {
            return;
        }
        let published = self.world.published[which];
        let peer = &mut self.world.peers[who];
        if let Some(span) = peer.spans[which].last_mut().filter(|span| span.1.is_none()) {
            span.1 = Some(published);
        }
        let (connection, channel) = (peer.client.id, Arc::clone(&self.world.channels[which]));
        self.command(channel.home(), Command::Unsubscribe { connection, channel });
    }

    pub(super) fn publish(&mut self) {
        let which = self.below(CHANNELS.len() + 1);
        let (size, count) = (self.below(120), 1 + self.below(6));
        for _ in 0..count {
            let number = self.world.published[which];
            self.world.published[which] += 1;
            let name = CHANNELS.get(which).map_or("b", |channel| channel.0);
            let payload = format!("{name} {number}{}", " ".repeat(size));
            if let Some(channel) = self.world.channels.get(which).cloned() {
                let key = u64::from(number % 3);
                // Whoever publishes may compress for the encodings that it knows of.
                let prepared = (self.below(4) == 0).then(|| self.prepare(channel.encodings(), &payload));
                self.world.server.publish_prepared(&channel, &payload, key, prepared.map(Box::new));
            } else {
                self.broadcast(&payload);
            }
        }
    }

    fn broadcast(&mut self, payload: &str) {
        let prepared = self.prepare(self.world.server.deflating.encodings(), payload);
        let exclude: Vec<_> = self.world.peers.iter().take(1).map(|peer| peer.client.id).collect();
        let is_for_one = self.below(3) == 0;
        for shard in 0..self.world.server.shards.len() {
            let to = if is_for_one { Audience::User("ada".into()) } else { Audience::Everyone };
            let (kind, payload) = (Kind::Text, Bytes::copy_from_slice(payload.as_bytes()));
            let broadcast =
                Broadcast { kind, payload, prepared: prepared.clone(), to, exclude: exclude.clone() };
            self.command(shard, Command::Broadcast(Box::new(broadcast)));
        }
    }

    /// What a caller compresses: for the encodings in use, or for fewer.
    fn prepare(&mut self, encodings: Encodings, payload: &str) -> Prepared {
        let mut prepared = Prepared::default();
        for bits in encodings.windows() {
            let mut frame = Vec::new();
            if self.below(4) > 0
                && Compressor::new(bits).encode_message(&mut frame, Kind::Text, payload.as_bytes())
            {
                prepared.push(bits, frame.into());
            }
        }
        prepared
    }

    pub(super) fn ending(&mut self) {
        let Some(who) = self.world.any(Stage::Open) else { return };
        let ending = match self.below(5) {
            0 => Ending::HandlerRaised,
            1 => {
                let ahead = seconds(self.below(3) as u64);
                let connection = self.world.peers[who].client.id;
                let until = self.world.server.now + ahead;
                return self.command(connection.shard(), Command::Extend { connection, until });
            }
            2 => {
                let shard = self.world.peers[who].client.id.shard();
                let disconnect = Command::Disconnect { user: "ada".into(), reason: "go".into() };
                return self.command(shard, disconnect);
            }
            _ => Ending::Closed { code: CloseCode::NORMAL, reason: String::new() },
        };
        let connection = self.world.peers[who].client.id;
        self.command(connection.shard(), Command::Close { connection, ending: Box::new(ending) });
    }

    pub(super) fn take_messages(&mut self) {
        let count = 1 + self.below(6);
        for _ in 0..count {
            let Some((connection, bytes)) = self.world.inbox.pop_front() else { return };
            let gauge = self.world.peers.iter().find(|peer| peer.client.id == connection);
            let Some(gauge) = gauge.and_then(|peer| peer.gauge.as_ref()) else { continue };
            if gauge.taken(Gauge::cost(bytes), self.world.server.shards[0].limits().max_inbound) {
                self.command(connection.shard(), Command::Resume { connection });
            }
        }
    }
}
