//! Receives the verdict of `on_connect` · hands out the 101 and the opened connection · owns the way from the
//! verdict to open.

use std::sync::Arc;

use crate::deflate::{Agreement, negotiate};
use crate::gauge::Gauge;
use crate::handshake::{Refusal, switching_protocols};
use crate::id::ConnectionId;
use crate::lifecycle::{Event as Happened, State};
use crate::pool::{PendingPlace, Slot};
use crate::shard::Shard;
use crate::shard::command::{Admission, Forward, Refused};
use crate::shard::connection::{Holds, Identity};
use crate::shard::event::{Event, Opening};
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::{Wire, Wrote};

impl<W: Wire> Shard<W> {
    /// `on_connect` said yes.
    pub(super) fn admit(&mut self, mut admission: Box<Admission>, now: Timestamp) {
        let Some(index) = self.admitting(admission.connection) else { return };
        if let Some(opening) = self.places.get_mut(index).and_then(|one| one.opening.as_mut()) {
            // What the application does not say is as the token has it.
            admission.user = admission.user.take().or(opening.user.take());
            admission.expires_at = admission.expires_at.or(opening.expires_at);
        }
        let limit = self.limits.max_connections_per_user;
        // Counted even where there is no limit: one may be set later, and then it is about all who are there.
        let count = admission.user.as_ref().map(|user| self.shared.site.counts.of_user(user));
        let Ok(counted) = count.map_or(Ok(None), |count| count.take(limit).map(Some).ok_or(())) else {
            let reason = "too many connections of this user (max_connections_per_user)";
            let refusal = Refusal::new(429, reason).retry_after(self.limits.retry_after);
            return self.refuse(index, &refusal, Outcome::User, now);
        };
        let Some(connection) = self.places.get_mut(index) else { return };
        if let Some(opening) = &mut connection.opening {
            opening.counted = counted;
        }
        if matches!(connection.holds, Holds::Slot(_)) {
            return self.open(index, *admission, now);
        }
        let (newcomer, priority, victim) = (admission.connection, admission.priority, admission.victim);
        if let Some(opening) = &mut connection.opening {
            opening.admission = Some(admission);
        }
        self.make_room(newcomer, priority, victim, now);
    }

    /// Nobody is asked: the route alone decides.
    pub(super) fn admit_unasked(&mut self, index: u32, now: Timestamp) {
        if let Some(connection) = self.places.get(index) {
            let admission = Admission {
                connection: connection.id,
                user: None,
                expires_at: None,
                priority: 0,
                subprotocol: None,
                headers: crate::handshake::ResponseHeaders::default(),
                victim: None,
                subscribe: Vec::new(),
            };
            self.admit(Box::new(admission), now);
        }
    }

    /// `on_connect` said no, or raised.
    pub(super) fn refuse_admission(&mut self, refused: Refused, now: Timestamp) {
        let Some(index) = self.admitting(refused.connection) else { return };
        let outcome = match refused.status {
            500 => Outcome::Raised,
            503 => Outcome::Full,
            _ => Outcome::Rejected,
        };
        // The application has given its verdict: it is not told to withdraw.
        if let Some(connection) = self.places.get_mut(index) {
            connection.known = None;
        }
        let mut refusal = Refusal::new(refused.status, refused.reason);
        refusal.headers = refused.headers;
        if refused.status == 503
            && !refusal.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
        {
            refusal = refusal.retry_after(self.limits.retry_after);
        }
        if outcome != Outcome::Raised {
            // What the application said to its client is between the two; what it raised, it has logged.
            self.note_refusal(index, outcome, refusal.status, "".into(), now);
        }
        self.turn_away(index, &refusal, outcome, now);
    }

    /// A slot for somebody who was admitted without one has been found, or not.
    pub(super) fn vacated(
        &mut self,
        newcomer: ConnectionId,
        slot: Option<Slot>,
        place: Option<PendingPlace>,
        now: Timestamp,
    ) {
        // Gone meanwhile: dropping the slot gives it back.
        let Some(index) = self.admitting(newcomer) else { return };
        let Some(connection) = self.places.get_mut(index) else { return };
        if let Some(place) = place {
            connection.holds = Holds::Place(place);
        }
        // The victim may have gone by itself, and its slot with it.
        let Some(slot) = slot.or_else(|| self.shared.pool.take_slot()) else {
            return self.refuse_full(index, "all connections are taken, and nobody leaves for this one", now);
        };
        if matches!(connection.holds, Holds::Slot(_)) {
            return;
        }
        connection.holds = Holds::Slot(slot);
        if let Some(admission) = connection.opening.as_mut().and_then(|opening| opening.admission.take()) {
            self.open(index, *admission, now);
        }
    }

    fn admitting(&mut self, id: ConnectionId) -> Option<u32> {
        let index = self.places.find(id);
        let is_waiting = |index: &u32| {
            self.places.get(*index).is_some_and(|connection| connection.state == State::Admitting)
                && !self.is_answering(*index)
        };
        let found = index.filter(is_waiting);
        if found.is_none() {
            self.stats.stale += 1;
        }
        found
    }

    /// Writes the 101; from here on there are frames.
    fn open(&mut self, index: u32, mut admission: Admission, now: Timestamp) {
        let Some(connection) = self.places.get_mut(index) else { return };
        let Some(opening) = &mut connection.opening else { return };
        let Some(request) = &opening.request else { return };
        let subprotocol = admission.subprotocol.take().or(opening.subprotocol.take());
        let offers = || request.header_values("sec-websocket-extensions");
        let agreed = if self.limits.compression { negotiate(offers()) } else { None };
        let switched = switching_protocols(request, subprotocol.as_deref(), agreed, &admission.headers);
        let answer = match switched {
            Ok(answer) => answer,
            Err(error) => {
                let refusal = Refusal::new(500, format!("cannot switch protocols: {error}"));
                return self.refuse(index, &refusal, Outcome::Raised, now);
            }
        };
        let path: Arc<str> = request.path().into();
        let route = opening.route;
        let counted = opening.counted.take();
        let wrote = self.wire.write(index, &[std::io::IoSlice::new(&answer)]);
        if wrote != Wrote::Took(answer.len()) {
            // A fresh socket has room for a few hundred bytes; one that has none is broken or hostile.
            self.count_handshake(Outcome::Aborted);
            self.withdraw(index);
            return self.vanish(index, Happened::Reset, now);
        }
        self.count_handshake(Outcome::Accepted);
        self.apply(index, Happened::Admitted);
        let user = admission.user.take().map(|user| {
            let place = self.by_user.entry(Arc::clone(&user)).or_default().join(index);
            (user, place)
        });
        let (user, user_place) = user.map_or((None, 0), |(user, place)| (Some(user), place));
        let path_place = self.by_path.entry(Arc::clone(&path)).or_default().join(index);
        let Some(connection) = self.places.get_mut(index) else { return };
        let id = connection.id;
        connection.opening = None;
        if let Some(encoding) = agreed.map(Agreement::encoding) {
            connection.codec.accept_compressed();
            connection.encoding = encoding;
            self.shared.deflating.opened(encoding);
        }
        let encoding = connection.encoding;
        connection.clocks.last_message = now;
        connection.clocks.expires_at = admission.expires_at.unwrap_or(Timestamp::NEVER);
        connection.heartbeat.next_ping = first_ping(id, now, self.limits.ping_interval);
        connection.identity = Some(Box::new(Identity {
            user,
            counted,
            user_place,
            path,
            path_place,
            is_indexed: true,
            priority: admission.priority,
            route,
        }));
        let is_held = self.shared.site.routes.get(route).is_some_and(|route| route.held);
        connection.gauge = is_held.then(|| Arc::new(Gauge::new(&self.shared.ledger)));
        if let Some(gauge) = &connection.gauge {
            gauge.set_state(connection.state.public());
            gauge.set_encoding(encoding);
        }
        let opened = Opening {
            connection: id,
            subprotocol,
            user: connection.user(),
            route,
            gauge: connection.gauge.clone(),
            dial: None,
        };
        let key = self.eviction_key(index);
        if let Some(key) = key {
            self.eviction.insert(index, id.generation(), key);
        }
        self.arm(index);
        let is_known = self.places.get(index).is_some_and(|connection| connection.known.is_some());
        if is_known {
            self.events.push(Event::Opened(Box::new(opened)));
        }
        if !is_held
            && !self.shared.site.reports_closes
            && let Some(connection) = self.places.get_mut(index)
        {
            // It was asked for its verdict and has nothing more to do with this one.
            connection.known = None;
        }
        for channel in std::mem::take(&mut admission.subscribe) {
            if channel.home() == self.number {
                self.subscribe(id, channel, encoding, None, now);
            } else {
                let home = channel.home();
                self.forwards.push((home, Forward::Subscribe { connection: id, channel, encoding }));
            }
        }
    }
}

/// Spreads the first pings over the second half of the interval, so that a burst of newcomers does not
/// become a burst of pings for ever; never later than one interval, which the promise counts on.
pub(super) fn first_ping(
    id: ConnectionId,
    now: Timestamp,
    interval: Option<std::time::Duration>,
) -> Timestamp {
    match interval {
        None => Timestamp::NEVER,
        Some(interval) => {
            let spread = (id.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u32;
            now + interval / 2 + interval.saturating_mul(spread) / 512
        }
    }
}
