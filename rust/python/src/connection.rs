//! Receives calls on one connection · hands them to its shard as commands · owns the few numbers that both share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use streamconductor_core::close::{CloseCode, Ending};
use streamconductor_core::codec::{Role, frame_size};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::lifecycle::Public;
use streamconductor_core::shard::command::Command;
use streamconductor_core::shard::event::Event;

use crate::convert::{Payload, check_channel};
use crate::error;
use crate::link::Link;

/// Sends that need not wait still let other tasks run once in so many.
const IN_A_ROW: u8 = 64;

/// What became of a message; the numbers are those of `streamconductor.connection`.
#[repr(u8)]
enum Answer {
    Sent = 0,
    /// Sent, and it is time that others run.
    SentMany = 1,
    /// The caller must wait for `Writable`.
    MustWait = 2,
    /// The caller must wait for room in the shard's mailbox.
    NoRoom = 3,
    /// The connection is not open.
    NotOpen = 4,
    /// It is neither `str` nor `bytes`.
    NotEncoded = 5,
}

/// The native half of `streamconductor.Connection`, which holds it. Made by the bridge when a connection opens.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct ConnectionHandle {
    pub id: ConnectionId,
    pub gauge: Arc<Gauge>,
    pub link: Arc<Link>,
    in_a_row: AtomicU8,
}

#[pymethods]
impl ConnectionHandle {
    /// The connection's id.
    #[getter]
    fn id(&self) -> String {
        self.id.to_string()
    }

    /// Bytes accepted for sending that are neither written, dropped nor discarded.
    #[getter]
    fn buffered_amount(&self) -> usize {
        self.gauge.buffered()
    }

    /// Round trip of the last ping in seconds; None before the first pong.
    #[getter]
    fn latency(&self) -> Option<f64> {
        self.gauge.latency().map(|latency| latency.as_secs_f64())
    }

    /// Messages dropped by policy.
    #[getter]
    fn dropped(&self) -> u64 {
        self.gauge.dropped()
    }

    /// 0 CONNECTING, 1 OPEN, 2 CLOSING, 3 CLOSED.
    #[getter]
    fn state_number(&self) -> u8 {
        self.gauge.state() as u8
    }

    /// Sends if at most `high_water` bytes are buffered.
    fn try_send(&self, python: Python<'_>, payload: &Bound<'_, PyAny>) -> PyResult<u8> {
        self.check_thread(python, "send")?;
        if self.gauge.state() != Public::Open {
            return Ok(Answer::NotOpen as u8);
        }
        let Some(payload) = Payload::encoded(payload)? else { return Ok(Answer::NotEncoded as u8) };
        let limit = self.link.max_buffered();
        let size = frame_size(self.gauge.role(), payload.bytes().len());
        if size > limit {
            return Err(error::too_big(python, size, limit));
        }
        let high_water = self.link.high_water();
        // What would pass `max_buffered` waits as well, for low water: there it fits, or never will.
        if self.gauge.must_wait(high_water.min(limit - size)) {
            return Ok(Answer::MustWait as u8);
        }
        if self.link.server.must_wait(self.id.shard()) {
            return Ok(Answer::NoRoom as u8);
        }
        self.hand_over(python, &payload, true)?;
        // Only the loop's thread comes here.
        let in_a_row = (self.in_a_row.load(Relaxed) + 1) % IN_A_ROW;
        self.in_a_row.store(in_a_row, Relaxed);
        Ok(if in_a_row == 0 { Answer::SentMany } else { Answer::Sent } as u8)
    }

    /// Sends without waiting; raises `Full` where it would pass `max_buffered`.
    fn send_nowait(&self, python: Python<'_>, payload: &Bound<'_, PyAny>) -> PyResult<u8> {
        self.check_thread(python, "send_nowait")?;
        if self.gauge.state() != Public::Open {
            return Ok(Answer::NotOpen as u8);
        }
        let Some(payload) = Payload::encoded(payload)? else { return Ok(Answer::NotEncoded as u8) };
        let limit = self.link.max_buffered();
        let size = frame_size(self.gauge.role(), payload.bytes().len());
        if size > limit {
            return Err(error::too_big(python, size, limit));
        }
        let buffered = self.gauge.buffered();
        if buffered + size > limit {
            return Err(error::full(python, buffered, size, limit));
        }
        self.hand_over(python, &payload, false)?;
        Ok(Answer::Sent as u8)
    }

    /// Whether more than `low_water` bytes are buffered; if so, one `Writable` will follow.
    fn is_above_low_water(&self) -> bool {
        self.gauge.must_wait(self.link.low_water())
    }

    /// The handler took a message.
    fn taken(&self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        self.check_process(message.py())?;
        let bytes = Payload::of(message)?.bytes().len();
        if self.gauge.taken(Gauge::cost(bytes), self.link.max_inbound()) {
            self.link.tell(self.id.shard(), Command::Resume { connection: self.id });
        }
        Ok(())
    }

    /// Subscribes; `first` is a payload that precedes every publication.
    fn join(&self, python: Python<'_>, channel: &str, first: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.check_thread(python, "subscribe")?;
        check_channel(channel)?;
        if self.gauge.role() == Role::Client {
            return Err(PyTypeError::new_err(
                "a connection that was opened by connect() has no channels; a service's messages come by receiving",
            ));
        }
        let first = match first {
            None => None,
            Some(payload) => {
                let payload = Payload::of(payload)?;
                let limit = self.link.max_buffered();
                let size = frame_size(self.gauge.role(), payload.bytes().len());
                let buffered = self.gauge.buffered();
                if buffered + size > limit {
                    return Err(error::full(python, buffered, size, limit));
                }
                let frame = self.link.frame(python, &self.gauge, &payload);
                self.gauge.sent(frame.len());
                Some(frame)
            }
        };
        let size = first.as_ref().map_or(0, bytes::Bytes::len);
        let channel = self.link.server.registry().join(channel);
        let home = channel.home();
        let (connection, encoding) = (self.id, self.gauge.encoding());
        let command = Command::Subscribe { connection, channel: Arc::clone(&channel), encoding, first };
        self.link.send(python, home, command).map_err(|full| {
            channel.leave();
            self.take_back(size);
            error::overloaded(python, full)
        })
    }

    /// Unsubscribes; never refused. False: there is no such channel, so nothing was told.
    fn part(&self, python: Python<'_>, channel: &str) -> PyResult<bool> {
        self.check_thread(python, "unsubscribe")?;
        let found = self.link.server.registry().find(channel).cloned();
        let is_known = found.is_some();
        if let Some(channel) = found {
            self.link.tell(channel.home(), Command::Unsubscribe { connection: self.id, channel });
        }
        Ok(is_known)
    }

    /// Ends the connection; may be called from any thread. `raised`: the handler raised, and the code is 1011.
    #[pyo3(signature = (code, reason, raised=false))]
    fn end(&self, python: Python<'_>, code: u16, reason: String, raised: bool) -> PyResult<()> {
        self.check_process(python)?;
        let ending = if raised {
            Ending::HandlerRaised
        } else if code == CloseCode::DISCONNECTED.0 {
            Ending::Disconnected { reason }
        } else {
            Ending::Closed { code: CloseCode(code), reason }
        };
        self.link.tell(self.id.shard(), Command::Close { connection: self.id, ending: Box::new(ending) });
        Ok(())
    }

    /// Ends it with 4401 in `seconds`, and no longer when it would have; from any thread.
    fn extend(&self, python: Python<'_>, seconds: f64) -> PyResult<()> {
        self.check_process(python)?;
        let until = self.link.at(seconds);
        let command = Command::Extend { connection: self.id, until };
        self.link.send(python, self.id.shard(), command).map_err(|full| error::overloaded(python, full))
    }

    /// Whether the calling thread is the loop's.
    fn is_on_loop(&self) -> bool {
        self.link.is_on_loop()
    }
}

impl ConnectionHandle {
    /// A handle of a connection.
    pub fn new(id: ConnectionId, gauge: Arc<Gauge>, link: Arc<Link>) -> Self {
        Self { id, gauge, link, in_a_row: AtomicU8::new(0) }
    }

    fn check_process(&self, python: Python<'_>) -> PyResult<()> {
        if self.link.is_orphaned() { Err(error::forked(python)) } else { Ok(()) }
    }

    fn check_thread(&self, python: Python<'_>, call: &str) -> PyResult<()> {
        self.check_process(python)?;
        if self.link.is_on_loop() { Ok(()) } else { Err(error::wrong_thread(python, call)) }
    }

    fn hand_over(&self, python: Python<'_>, payload: &Payload<'_>, awaited: bool) -> PyResult<()> {
        let frame = self.link.frame(python, &self.gauge, payload);
        let size = frame.len();
        self.gauge.sent(size);
        let command = Command::Send { connection: self.id, frame, awaited };
        self.link.send(python, self.id.shard(), command).map_err(|full| {
            self.take_back(size);
            error::overloaded(python, full)
        })
    }

    /// The mailbox refused what was counted already. If the shard has meanwhile written down to low water, it saw
    /// these bytes and woke nobody: then the wake is ours.
    fn take_back(&self, size: usize) {
        if self.gauge.settled(size, self.link.low_water()) {
            let event = Event::Writable { connection: self.id };
            self.link.server.foundations().upward.append(&mut vec![event]);
        }
    }
}

/// Reads an id as Python has it.
pub fn parse_id(text: &str) -> PyResult<ConnectionId> {
    text.parse()
        .map_err(|()| pyo3::exceptions::PyValueError::new_err(format!("{text:?} is no connection id")))
}
