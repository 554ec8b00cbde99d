//! Receives events from all shards · hands the Python loop one flat list per drain · owns which Python object
//! stands for which connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use streamconductor_core::channel::ById;
use streamconductor_core::close::By;
use streamconductor_core::codec::Kind;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::known::Known;
use streamconductor_core::shard::event::{Closed, Event, Opening};

use crate::connection::ConnectionHandle;
use crate::link::Link;
use crate::outgoing;
use crate::receiver::{Receiver, Resumption, Untaken};
use crate::request::Request;

/// Events in one drain: about a millisecond of Python's time.
const EVENTS: usize = 1_024;

/// What a triple of the list is about; the numbers are those of `streamconductor.server`.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Sort {
    /// For a route's function.
    Message = 0,
    Arrived = 1,
    Withdrawn = 2,
    Opened = 3,
    Writable = 4,
    Backpressure = 5,
    Closed = 6,
    OriginRefused = 7,
    Departed = 8,
    Room = 9,
    Failed = 10,
    Reconfigure = 11,
    Refused = 12,
    ForwardingIgnored = 13,
    /// A task waits for the message that its connection has: about whom is what runs it, and what is its callback.
    Resumed = 14,
    /// A link has opened a connection: which, and by which attempt.
    Connected = 15,
    /// What became of a link.
    Told = 16,
}

/// Held by Python until it has finished with a connection: its handler and `on_close` have ended.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct Ticket {
    _known: Known,
}

/// Turns events into Python objects.
///
/// Its lock is only ever held for a look at the tables: Python code that ran under it (a finalizer of an object
/// that goes) could come back here, or be waited for by whoever holds the interpreter and wants the lock.
pub struct Bridge {
    tables: Mutex<Tables>,
    /// Makes a `streamconductor.Connection` that nothing is known of. Runs no Python code: a thread that the
    /// interpreter ends while it waits in such code would be unwound through the frames here.
    blank: Py<PyAny>,
    /// By route: whether its messages are asked for. Else its function gets them.
    is_asked: Vec<bool>,
    bearer_cookie: Option<String>,
}

/// Which Python object stands for what.
#[derive(Default)]
struct Tables {
    connections: ById<Held>,
    /// Arrivals whose connection has not opened yet: their requests.
    arrivals: ById<Py<Request>>,
}

/// A connection that Python holds.
pub struct Held {
    connection: Py<PyAny>,
    /// `None`: nobody asks for its messages.
    receiver: Option<Py<Receiver>>,
}

/// Where a message goes.
enum Target<'py> {
    Asked(Bound<'py, Receiver>),
    Function(Bound<'py, PyAny>),
}

/// What a drain hands over: a flat list of (sort, about whom, what); the connections that are blank and must be made
/// before anything else happens, each with its handle, receiver, request, subprotocol and user; whether more is waiting.
pub type Drained<'py> = (Bound<'py, PyList>, Option<Bound<'py, PyList>>, bool);

/// What `Bridge::clear` lets go of; dropped by the caller, without the lock.
pub struct Released {
    _tables: Tables,
}

impl Bridge {
    /// A bridge that knows nobody.
    pub fn new(blank: Py<PyAny>, is_asked: Vec<bool>, bearer_cookie: Option<String>) -> Self {
        Self { tables: Mutex::default(), blank, is_asked, bearer_cookie }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drains the mailbox once.
    pub fn drain<'py>(&self, python: Python<'py>, link: &Arc<Link>) -> PyResult<Drained<'py>> {
        let upward = &link.server.foundations().upward;
        let mut events = Vec::new();
        let drained = upward.drain(&mut events, EVENTS);
        let mut flat: Vec<Bound<'py, PyAny>> = Vec::with_capacity(events.len() * 3);
        let mut born = Vec::new();
        for event in events {
            let complete = flat.len();
            if let Err(error) = self.convert(python, link, event, &mut flat, &mut born) {
                // One event that cannot be told must not take the others with it.
                flat.truncate(complete);
                error.write_unraisable(python, None);
            }
        }
        let none = || python.None().into_bound(python);
        if upward.take_room() {
            push(python, &mut flat, Sort::Room, none(), none())?;
        }
        for (fields, answer) in link.desk.take_changes() {
            let what = (fields, Py::new(python, answer)?).into_pyobject(python)?.into_any();
            push(python, &mut flat, Sort::Reconfigure, none(), what)?;
        }
        for (number, news) in link.outgoing.take_news() {
            let what = outgoing::told(python, number, news)?.into_any();
            push(python, &mut flat, Sort::Told, none(), what)?;
        }
        if let Some(failure) = link.server.failure() {
            push(python, &mut flat, Sort::Failed, none(), PyString::new(python, &failure).into_any())?;
        }
        let born = if born.is_empty() { None } else { Some(PyList::new(python, born)?) };
        Ok((PyList::new(python, flat)?, born, drained.more))
    }

    /// The Python object of a connection, if there is one.
    pub fn connection<'py>(&self, python: Python<'py>, id: ConnectionId) -> Option<Bound<'py, PyAny>> {
        self.tables().connections.get(&id.as_u64()).map(|held| held.connection.bind(python).clone())
    }

    /// Remembers the object that was made for a connection of a push route; hands out the one that it replaces.
    pub fn bind(&self, id: ConnectionId, connection: Py<PyAny>) -> Option<Held> {
        self.tables().connections.insert(id.as_u64(), Held { connection, receiver: None })
    }

    fn target<'py>(&self, python: Python<'py>, id: ConnectionId) -> Option<Target<'py>> {
        self.tables().connections.get(&id.as_u64()).map(|held| match &held.receiver {
            Some(receiver) => Target::Asked(receiver.bind(python).clone()),
            None => Target::Function(held.connection.bind(python).clone()),
        })
    }

    /// Forgets a request that was refused: it will neither open nor be withdrawn.
    pub fn refused(&self, id: ConnectionId) -> Option<Py<Request>> {
        self.tables().arrivals.remove(&id.as_u64())
    }

    /// Lets go of everything: the server has stopped.
    pub fn clear(&self) -> Released {
        Released { _tables: std::mem::take(&mut *self.tables()) }
    }

    fn convert<'py>(
        &self,
        python: Python<'py>,
        link: &Arc<Link>,
        event: Event,
        flat: &mut Vec<Bound<'py, PyAny>>,
        born: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let none = || python.None().into_bound(python);
        match event {
            Event::Message { connection, kind, payload } => {
                // Unbound means that Python has let go of it: the message is for nobody.
                let Some(target) = self.target(python, connection) else { return Ok(()) };
                let bytes = payload.len();
                let message = match kind {
                    Kind::Text => PyString::from_bytes(python, &payload)?.into_any(),
                    Kind::Binary => PyBytes::new(python, &payload).into_any(),
                };
                match target {
                    Target::Function(target) => push(python, flat, Sort::Message, target, message),
                    Target::Asked(receiver) => {
                        let untaken = Untaken { message: message.unbind(), bytes };
                        let Some(Resumption { run, wakeup }) = receiver.borrow_mut().deliver(python, untaken)
                        else {
                            return Ok(());
                        };
                        push(python, flat, Sort::Resumed, run.into_bound(python), wakeup.into_bound(python))
                    }
                }
            }
            Event::Writable { connection } => match self.connection(python, connection) {
                Some(target) => push(python, flat, Sort::Writable, target, none()),
                None => Ok(()),
            },
            Event::Backpressure { connection, above, buffered, dropped } => {
                let Some(target) = self.connection(python, connection) else { return Ok(()) };
                let what = (above, buffered, dropped).into_pyobject(python)?.into_any();
                push(python, flat, Sort::Backpressure, target, what)
            }
            Event::Arrived(arrival) => {
                let id = arrival.connection;
                let asks = arrival.asks;
                let request = Request { arrival: *arrival, bearer_cookie: self.bearer_cookie.clone() };
                let request = Py::new(python, request)?;
                let before = self.tables().arrivals.insert(id.as_u64(), request.clone_ref(python));
                drop(before);
                if asks {
                    push(
                        python,
                        flat,
                        Sort::Arrived,
                        name(python, id),
                        request.into_bound(python).into_any(),
                    )?;
                }
                Ok(())
            }
            Event::Withdrawn { connection, known } => {
                let forgotten = self.tables().arrivals.remove(&connection.as_u64());
                drop(forgotten);
                let ticket = Py::new(python, Ticket { _known: known })?.into_bound(python).into_any();
                push(python, flat, Sort::Withdrawn, name(python, connection), ticket)
            }
            Event::Opened(opened) => self.opened(python, link, *opened, flat, born),
            Event::Closed(closed) => self.closed(python, *closed, flat),
            Event::OriginRefused { origin } => {
                push(python, flat, Sort::OriginRefused, none(), PyString::new(python, &origin).into_any())
            }
            Event::Refused(notice) => {
                let address = notice.address.map(|address| address.to_string());
                let what = (notice.outcome, notice.status, &*notice.reason, address, notice.others);
                push(python, flat, Sort::Refused, none(), what.into_pyobject(python)?.into_any())
            }
            Event::ForwardingIgnored { address } => {
                let address = address.map(|address| address.to_string());
                push(python, flat, Sort::ForwardingIgnored, none(), address.into_pyobject(python)?.into_any())
            }
            Event::Departed => push(python, flat, Sort::Departed, none(), none()),
        }
    }

    fn opened<'py>(
        &self,
        python: Python<'py>,
        link: &Arc<Link>,
        opened: Opening,
        flat: &mut Vec<Bound<'py, PyAny>>,
        born: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let id = opened.connection;
        let request = self.tables().arrivals.remove(&id.as_u64());
        let Some(gauge) = opened.gauge else {
            let what = (request, opened.subprotocol).into_pyobject(python)?.into_any();
            return push(python, flat, Sort::Opened, name(python, id), what);
        };
        let receiver = Receiver::new(id, Arc::clone(&gauge), Arc::clone(link));
        let receiver = Py::new(python, receiver)?;
        let handle = Py::new(python, ConnectionHandle::new(id, gauge, Arc::clone(link)))?;
        let connection = self.blank.call0(python)?;
        let birth = (
            connection.clone_ref(python),
            handle,
            receiver.clone_ref(python),
            request,
            opened.subprotocol,
            opened.user.as_deref(),
        );
        born.push(birth.into_pyobject(python)?.into_any());
        let is_asked = self.is_asked.get(opened.route).copied().unwrap_or_default();
        let receiver = is_asked.then_some(receiver);
        let held = Held { connection: connection.clone_ref(python), receiver };
        let before = self.tables().connections.insert(id.as_u64(), held);
        drop(before);
        let connection = connection.into_bound(python);
        if let Some(dial) = opened.dial {
            let dial = dial.into_pyobject(python)?.into_any();
            return push(python, flat, Sort::Connected, connection, dial);
        }
        let route = opened.route.into_pyobject(python)?.into_any();
        push(python, flat, Sort::Opened, connection, route)
    }

    fn closed<'py>(
        &self,
        python: Python<'py>,
        closed: Closed,
        flat: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let (request, connection) = {
            let mut tables = self.tables();
            let id = closed.connection.as_u64();
            (tables.arrivals.remove(&id), tables.connections.remove(&id))
        };
        drop(request);
        let target = match connection {
            Some(held) => held.connection.into_bound(python),
            None => name(python, closed.connection),
        };
        let by = match closed.by {
            By::Peer => "peer",
            By::Application => "application",
            By::Server => "server",
        };
        let ticket = closed.known.map(|known| Py::new(python, Ticket { _known: known })).transpose()?;
        let what = (
            closed.code.0,
            closed.reason,
            closed.ending,
            by,
            closed.duration.as_secs_f64(),
            closed.received,
            closed.sent,
            closed.dropped,
            ticket,
        );
        push(python, flat, Sort::Closed, target, what.into_pyobject(python)?.into_any())
    }
}

fn name(python: Python<'_>, id: ConnectionId) -> Bound<'_, PyAny> {
    PyString::new(python, &id.to_string()).into_any()
}

fn push<'py>(
    python: Python<'py>,
    flat: &mut Vec<Bound<'py, PyAny>>,
    sort: Sort,
    target: Bound<'py, PyAny>,
    what: Bound<'py, PyAny>,
) -> PyResult<()> {
    flat.push((sort as u8).into_pyobject(python)?.into_any());
    flat.push(target);
    flat.push(what);
    Ok(())
}
