//! Receives a socket whose opening handshake is done, and frames for it · hands the shard an open connection, and frames
//! that are masked · owns what a connection that we opened has beside the others: its keys, and its end.
//!
//! It is a connection like any other, with three differences. What goes out is masked, each frame with a key of its own.
//! It subscribes to nothing: a publication is encoded once for all who get it, and a mask would make a copy for each. And
//! in the end we wait for the server to end TCP, so that the waiting for lost segments is its business (RFC 6455 §7.1.1).

use std::sync::Arc;

use bytes::Bytes;

use crate::close::{CloseCode, Ending};
use crate::codec::{Control, ControlFrame, MaskingKeys, Role, close_frame, control_frame, masked};
use crate::deflate::Encoding;
use crate::gauge::Gauge;
use crate::id::ConnectionId;
use crate::lifecycle::{Event as Happened, State};
use crate::pool::Slot;
use crate::shard::Shard;
use crate::shard::admission::first_ping;
use crate::shard::connection::{Connection, Identity, Peer};
use crate::shard::event::{Event, Opening};
use crate::time::Timestamp;
use crate::wire::Wire;

/// A connection that the dialler has opened: its 101 has come, and no byte behind it has been looked at.
pub struct Connected {
    /// The number by which whoever dialled knows this attempt; it comes back in `Opened`.
    pub dial: u64,
    /// Its slot, taken before the dialling began, so that the pool's maximum holds for attempts as well.
    pub slot: Slot,
    /// The server's address; `None` on a Unix socket.
    pub peer: Peer,
    /// The path that was asked for, for lists.
    pub path: Arc<str>,
    /// Which of the site's routes says what becomes of its messages.
    pub route: usize,
    /// What the server selected.
    pub subprotocol: Option<String>,
    /// How what we send is compressed, if permessage-deflate was agreed at all; then what comes may be compressed, too,
    /// each message with a window of its own. So `server_no_context_takeover` has to be among what was agreed.
    pub compression: Option<Encoding>,
    /// 32 bytes that nobody can foresee, for the masking keys of this connection alone.
    pub seed: [u8; 32],
}

/// What only a connection that we opened has.
pub struct Outgoing {
    keys: MaskingKeys,
}

impl<W: Wire> Shard<W> {
    /// A connection that was opened by us. The driver registers its socket under the id's index, and then hands over
    /// what was read ahead, by [`Shard::bytes`]. During a shutdown it is closed again at once.
    pub fn connected(&mut self, connected: Connected, now: Timestamp) -> ConnectionId {
        let Connected { dial, slot, peer, path, route, subprotocol, compression, seed } = connected;
        let id = self.places.insert(self.number, |id| Connection::connected(id, peer, slot, now));
        let index = id.index();
        self.stats.connected += 1;
        self.count_state(None, State::Connecting);
        self.apply(index, Happened::Connected);
        let gauge = Arc::new(Gauge::with_role(&self.shared.ledger, Role::Client));
        // As many as there are slots, so it needs no bound of its own.
        let known = self.shared.known.take(usize::MAX);
        let Some(connection) = self.places.get_mut(index) else { return id };
        connection.outgoing = Some(Box::new(Outgoing { keys: MaskingKeys::new(seed) }));
        connection.known = known;
        if let Some(encoding) = compression {
            connection.codec.accept_compressed();
            connection.encoding = encoding;
        }
        connection.heartbeat.next_ping = first_ping(id, now, self.limits.ping_interval);
        // In no index: neither a broadcast nor an eviction is about it.
        let identity = Identity {
            user: None,
            counted: None,
            user_place: 0,
            path,
            path_place: 0,
            is_indexed: false,
            priority: 0,
            route,
        };
        connection.identity = Some(Box::new(identity));
        gauge.set_state(connection.state.public());
        gauge.set_encoding(connection.encoding);
        connection.gauge = Some(Arc::clone(&gauge));
        self.arm(index);
        let (dial, gauge) = (Some(dial), Some(gauge));
        let opening = Opening { connection: id, subprotocol, user: None, route, gauge, dial };
        self.events.push(Event::Opened(Box::new(opening)));
        if self.departures.is_some() {
            self.close(index, Ending::Shutdown, now);
        }
        id
    }

    /// Both Closes are exchanged: the ending is told, and the socket stays for the server to end it.
    pub(super) fn part(&mut self, index: u32, now: Timestamp) {
        self.settle_end(index, now);
        self.apply(index, Happened::CloseAnswered);
        let Some(connection) = self.places.get_mut(index) else { return };
        connection.clocks.closing = now;
        connection.reading.is_stopped = false;
        self.wire.set_reading(index, true);
        self.arm(index);
    }
}

impl Connection {
    /// Whether we opened it.
    pub fn is_outgoing(&self) -> bool {
        self.outgoing.is_some()
    }

    /// A ping or a pong.
    #[inline]
    pub fn control(&mut self, control: Control, payload: &[u8]) -> ControlFrame {
        // Apart, so that a server's pings cost what they would without clients.
        if self.is_outgoing() {
            self.masked_control(control, payload)
        } else {
            control_frame(control, payload, None)
        }
    }

    #[cold]
    #[inline(never)]
    fn masked_control(&mut self, control: Control, payload: &[u8]) -> ControlFrame {
        control_frame(control, payload, self.mask())
    }

    /// The key for the next frame, if it needs one.
    pub fn mask(&mut self) -> Option<[u8; 4]> {
        self.outgoing.as_mut().map(|outgoing| outgoing.keys.next_key())
    }

    /// The Close that tells the peer of an ending.
    pub fn farewell(&mut self, ending: &Ending) -> ControlFrame {
        let code = self.code_of(ending);
        close_frame(Some(code), &ending.reason(), self.mask())
    }

    /// The code of an ending. 1012 announces a server's return: who leaves a server says that he is going away.
    pub fn code_of(&self, ending: &Ending) -> CloseCode {
        match ending.code() {
            CloseCode::SERVICE_RESTART
                if self.is_outgoing() && !matches!(ending, Ending::PeerClosed { .. }) =>
            {
                CloseCode::GOING_AWAY
            }
            code => code,
        }
    }

    /// A private frame as it goes out. The application has counted the bytes that it handed over; a key for which it left
    /// no room is counted here.
    #[cold]
    pub fn disguise(&mut self, frame: Bytes) -> Bytes {
        let Some(key) = self.mask() else { return frame };
        let before = frame.len();
        let frame = masked(frame, key);
        if let Some(gauge) = &self.gauge {
            gauge.sent(frame.len() - before);
        }
        frame
    }
}
