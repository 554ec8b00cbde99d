//! Receives the first bytes of a socket · hands out an answer, or a request for admission · owns the way from
//! accept to the verdict.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::handshake::{
    Forwarding, Origin, Refusal, Request, Upgrade, Verdict, forwarding, judge, refusal_response,
};
use crate::ledger::Level;
use crate::lifecycle::{Event as Happened, State};
use crate::shard::Shard;
use crate::shard::connection::{Holds, LINGER_BYTES};
use crate::shard::event::{Arrival, Event};
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::Wire;

impl<W: Wire> Shard<W> {
    /// Bytes of a request head.
    pub(super) fn head(&mut self, index: u32, input: &[u8], now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let Some(opening) = &mut connection.opening else { return };
        match opening.reader.read(input) {
            Ok(None) => {}
            Ok(Some(mut request)) => {
                request.secure = opening.secured.is_some();
                self.requested(index, request, now);
            }
            Err(refusal) => self.refuse(index, &refusal, Outcome::Malformed, now),
        }
    }

    fn requested(&mut self, index: u32, mut request: Request, now: Timestamp) {
        let Some(connection) = self.places.get(index) else { return };
        match forwarding(&request, &self.limits.trusted_proxies, connection.peer.address) {
            Ok(Forwarding::Direct) => {}
            Ok(Forwarding::Ignored) => {
                let peer = connection.peer.address.map(|address| address.ip());
                self.report_forwarding(peer);
            }
            Ok(Forwarding::Client { address, secure }) => {
                request.secure = secure.unwrap_or(request.secure);
                self.name_client(index, address);
            }
            Err(refusal) => return self.refuse(index, &refusal, Outcome::Malformed, now),
        }
        let Some(connection) = self.places.get(index) else { return };
        let is_loopback = connection.peer.address.is_none_or(|address| address.ip().is_loopback());
        let site = Arc::clone(&self.shared.site);
        let verdict =
            judge(&request, &site.router, &self.limits.origins, is_loopback, &|path| site.plain.knows(path));
        match verdict {
            Verdict::Plain { head_only } => {
                let answer = site.plain.answer(&request, head_only);
                self.count_handshake(Outcome::Plain);
                self.answer(index, answer, Happened::PlainAnswered, now);
            }
            Verdict::Refused(refusal) => {
                let outcome = if refusal.status == 403 { Outcome::Origin } else { Outcome::Malformed };
                // Origins are told one by one, with the line to paste.
                if !(outcome == Outcome::Origin && self.report_origin(&request)) {
                    self.note_refusal(index, outcome, refusal.status, refusal.reason.clone(), now);
                }
                self.count_handshake(outcome);
                let answer = refusal_response(&refusal, request.method() == "HEAD");
                self.answer(index, answer.into(), Happened::Refused, now);
            }
            Verdict::Upgrade(upgrade) => self.upgrade(index, request, upgrade, now),
        }
    }

    /// A trusted proxy has said who the client is: from here on it is counted, and shown, as that one.
    fn name_client(&mut self, index: u32, address: Option<SocketAddr>) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let (before, after) = (connection.peer.address, address);
        connection.peer.address = after;
        if let Some(address) = after
            && before.map(|before| before.ip()) != Some(address.ip())
        {
            connection.peer.count = Some(self.shared.site.counts.of_address(address.ip()));
        }
    }

    /// A valid upgrade: takes a slot, then asks whoever decides.
    fn upgrade(&mut self, index: u32, request: Request, upgrade: Upgrade, now: Timestamp) {
        if self.departures.is_some() {
            return self.refuse_full(index, "the server is shutting down", now);
        }
        if self.shared.ledger.level() >= Level::Refusing {
            return self.refuse_full(index, "the memory budget is nearly used up (memory_budget)", now);
        }
        let Some(connection) = self.places.get_mut(index) else { return };
        if let Some((rate, address)) = self.limits.max_handshake_rate.zip(connection.peer.address)
            && !self.shared.site.counts.take_handshake(address.ip(), rate, now)
        {
            let reason = "too many handshakes from this address (max_handshake_rate)";
            let refusal = Refusal::new(429, reason).retry_after(self.limits.retry_after);
            return self.refuse(index, &refusal, Outcome::Rate, now);
        }
        let limit = self.limits.max_connections_per_address;
        // Counted even where there is no limit: one may be set later, and then it is about all who are there.
        if let Some(count) = connection.peer.count.clone() {
            let Some(place) = count.take(limit) else {
                let reason = "too many connections from this address (max_connections_per_address)";
                let refusal = Refusal::new(429, reason).retry_after(self.limits.retry_after);
                return self.refuse(index, &refusal, Outcome::Address, now);
            };
            connection.address_place = Some(place);
        }
        // Behind the bounds that cost nothing: a signature is the dearest thing that a stranger may ask for.
        let claimed = match self.claim(&request, now) {
            Ok(claimed) => claimed,
            Err(refusal) => return self.refuse(index, &refusal, Outcome::Token, now),
        };
        let slot = self.shared.pool.take_slot();
        let may_evict = self.may_evict();
        if slot.is_none() && !may_evict {
            return self.refuse_full(index, "all connections are taken (max_connections)", now);
        }
        let site = Arc::clone(&self.shared.site);
        let is_held = site.routes.get(upgrade.route).is_some_and(|route| route.held);
        let known = (site.asks || is_held || site.reports_closes).then(|| self.take_known());
        let Ok(known) = known.map_or(Ok(None), |known| known.map(Some).ok_or(())) else {
            return self.refuse_full(index, "the application has not finished with earlier connections", now);
        };
        self.apply(index, Happened::UpgradeRequested);
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.known = known;
        let has_slot = slot.is_some();
        if let Some(slot) = slot {
            connection.holds = Holds::Slot(slot);
        }
        let arrival = Arrival {
            connection: connection.id,
            request: request.clone(),
            route: upgrade.route,
            parameters: upgrade.parameters,
            address: connection.peer.address,
            client_certificate: connection
                .opening
                .as_ref()
                .and_then(|opening| opening.secured.as_ref()?.subject.clone()),
            has_slot,
            asks: site.asks,
            claims: claimed.as_ref().map(|claimed| claimed.claims.clone()),
        };
        if let Some(opening) = &mut connection.opening {
            opening.request = Some(request);
            opening.route = upgrade.route;
            opening.subprotocol = upgrade.subprotocol;
            if let Some(claimed) = claimed {
                opening.user = claimed.user;
                opening.expires_at = Some(claimed.expires_at);
            }
        }
        if connection.known.is_some() {
            self.events.push(Event::Arrived(Box::new(arrival)));
        }
        if !site.asks {
            self.admit_unasked(index, now);
        }
    }

    /// Bytes before the 101: nothing may be pipelined (H16).
    pub(super) fn too_early(&mut self, index: u32, now: Timestamp) {
        let refusal = Refusal::new(400, "bytes before the handshake was answered");
        self.refuse(index, &refusal, Outcome::Malformed, now);
    }

    /// 503 with `Retry-After`.
    pub(super) fn refuse_full(&mut self, index: u32, reason: &'static str, now: Timestamp) {
        let refusal = Refusal::new(503, reason).retry_after(self.limits.retry_after);
        self.refuse(index, &refusal, Outcome::Full, now);
    }

    /// Answers with a status and lets the socket linger. Who is being answered already is not answered twice.
    pub(super) fn refuse(&mut self, index: u32, refusal: &Refusal, outcome: Outcome, now: Timestamp) {
        if !self.is_answering(index) {
            self.note_refusal(index, outcome, refusal.status, refusal.reason.clone(), now);
            self.turn_away(index, refusal, outcome, now);
        }
    }

    /// As `refuse`, of which the operator need not be told by the server.
    pub(super) fn turn_away(&mut self, index: u32, refusal: &Refusal, outcome: Outcome, now: Timestamp) {
        self.count_handshake(outcome);
        self.withdraw(index);
        let answer = refusal_response(refusal, false);
        self.answer(index, answer.into(), Happened::Refused, now);
    }

    /// Tells the application to stop thinking about somebody who asked.
    pub(super) fn withdraw(&mut self, index: u32) {
        let Some(connection) = self.places.get_mut(index) else { return };
        if connection.state == State::Admitting
            && let Some(known) = connection.known.take()
        {
            self.events.push(Event::Withdrawn { connection: connection.id, known });
        }
    }

    /// Shuts writing and waits for the peer to end, on a pending place.
    pub(super) fn start_linger(&mut self, index: u32, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.opening = None;
        connection.clocks.closing = now;
        connection.address_place = None;
        let id = connection.id;
        // The slot goes back only after writing was shut and a pending place was found: until then it is a
        // connection, and afterwards the socket must be counted somewhere.
        self.wire.shut_down(index);
        if !matches!(connection.holds, Holds::Place(_)) {
            connection.holds = match self.shared.pool.take_pending() {
                Some(place) => Holds::Place(place),
                None => Holds::Nothing,
            };
        }
        if matches!(connection.holds, Holds::Place(_)) {
            self.forget_lingered();
            self.lingering.push_back(id);
            self.arm(index);
            self.wire.set_reading(index, true);
        } else {
            self.vanish(index, Happened::SocketEnded, now);
        }
    }

    /// Takes those off the list that have gone. Nobody lingers for more than a second, so this keeps it short.
    fn forget_lingered(&mut self) {
        while self.lingering.front().is_some_and(|id| self.places.find(*id).is_none()) {
            self.lingering.pop_front();
        }
    }

    /// Bytes after writing was shut are discarded, up to a bound.
    pub(super) fn linger(&mut self, index: u32, bytes: usize, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.traffic.lingered += bytes;
        if connection.traffic.lingered > LINGER_BYTES {
            self.vanish(index, Happened::Reset, now);
        }
    }

    /// Frees one pending place: the oldest socket without a complete head, else the oldest that lingers.
    pub(super) fn reclaim(&mut self, now: Timestamp) {
        if let Some(index) = self.oldest_headless().and_then(|id| self.places.find(id)) {
            self.abort_handshake(index);
            return self.vanish(index, Happened::Reset, now);
        }
        while let Some(id) = self.lingering.pop_front() {
            if let Some(index) = self.places.find(id) {
                return self.vanish(index, Happened::Reset, now);
            }
        }
    }

    /// The oldest socket without a complete head. Who got further or went away is forgotten on the way.
    pub(super) fn oldest_headless(&mut self) -> Option<crate::id::ConnectionId> {
        while let Some(id) = self.headless.front().copied() {
            let still = self.places.find(id).and_then(|index| self.places.get(index));
            if still.is_some_and(|connection| matches!(connection.state, State::Tls | State::Head)) {
                return Some(id);
            }
            self.headless.pop_front();
        }
        None
    }

    /// When the oldest lingering socket began to linger.
    pub fn oldest_lingering_at(&mut self) -> Option<Timestamp> {
        self.forget_lingered();
        let index = self.lingering.front()?.index();
        self.places.get(index).map(|connection| connection.clocks.closing)
    }

    /// When the oldest socket without a complete head was accepted.
    pub fn oldest_headless_at(&mut self) -> Option<Timestamp> {
        let index = self.oldest_headless()?.index();
        self.places.get(index).map(|connection| connection.clocks.accepted)
    }

    pub(super) fn count_handshake(&mut self, outcome: Outcome) {
        if let Some(count) = self.stats.handshakes.get_mut(outcome as usize) {
            *count += 1;
        }
    }

    /// Each refused origin is told to the operator once, so that the line to paste can be logged. False: there is none
    /// to tell.
    fn report_origin(&mut self, request: &Request) -> bool {
        const REMEMBERED: usize = 64;
        let Some(origin) = request.origin().and_then(|origin| std::str::from_utf8(origin).ok()) else {
            return false;
        };
        // In normal form only: a path or a query, which no origin has, may hold what must not be shown.
        let parsed = Origin::parse(origin).map(|origin| origin.to_string());
        let Some(origin) = parsed.or_else(|| (origin == "null").then(|| origin.to_owned())) else {
            return false;
        };
        if self.refused_origins.len() < REMEMBERED && !self.refused_origins.contains(&origin) {
            self.refused_origins.push(origin.clone());
            self.events.push(Event::OriginRefused { origin });
        }
        true
    }
}
