//! Receives events from all shards · hands the Python loop one flat list per drain · owns which Python object
//! stands for which connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use streamconductor_core::close::By;
use streamconductor_core::codec::Kind;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::known::Known;
use streamconductor_core::shard::event::{Closed, Event};

use crate::connection::ConnectionHandle;
use crate::link::Link;
use crate::request::Request;

/// Events in one drain: about a millisecond of Python's time.
const EVENTS: usize = 1_024;

/// What a triple of the list is about; the numbers are those of `streamconductor.server`.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Sort {
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
    bearer_cookie: Option<String>,
}

/// Which Python object stands for what.
#[derive(Default)]
struct Tables {
    connections: HashMap<ConnectionId, Py<PyAny>>,
    /// Arrivals whose connection has not opened yet: their requests.
    arrivals: HashMap<ConnectionId, Py<Request>>,
}

/// What a drain hands over: a flat list of (sort, about whom, what); the connections that are blank and must be made
/// before anything else happens, each with its handle, request, subprotocol and user; whether more is waiting.
pub type Drained<'py> = (Bound<'py, PyList>, Option<Bound<'py, PyList>>, bool);

/// What `Bridge::clear` lets go of; dropped by the caller, without the lock.
pub type Released = (HashMap<ConnectionId, Py<PyAny>>, HashMap<ConnectionId, Py<Request>>);

impl Bridge {
    /// A bridge that knows nobody.
    pub fn new(blank: Py<PyAny>, bearer_cookie: Option<String>) -> Self {
        Self { tables: Mutex::default(), blank, bearer_cookie }
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
        if let Some(failure) = link.server.failure() {
            push(python, &mut flat, Sort::Failed, none(), PyString::new(python, &failure).into_any())?;
        }
        let born = if born.is_empty() { None } else { Some(PyList::new(python, born)?) };
        Ok((PyList::new(python, flat)?, born, drained.more))
    }

    /// The Python object of a connection, if there is one.
    pub fn connection<'py>(&self, python: Python<'py>, id: ConnectionId) -> Option<Bound<'py, PyAny>> {
        self.tables().connections.get(&id).map(|connection| connection.bind(python).clone())
    }

    /// Remembers the Python object of a connection; hands out the one that it replaces.
    pub fn bind(&self, id: ConnectionId, connection: Py<PyAny>) -> Option<Py<PyAny>> {
        self.tables().connections.insert(id, connection)
    }

    /// Forgets a request that was refused: it will neither open nor be withdrawn.
    pub fn refused(&self, id: ConnectionId) -> Option<Py<Request>> {
        self.tables().arrivals.remove(&id)
    }

    /// Lets go of everything: the server has stopped.
    pub fn clear(&self) -> Released {
        let mut tables = self.tables();
        (std::mem::take(&mut tables.connections), std::mem::take(&mut tables.arrivals))
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
                let Some(target) = self.connection(python, connection) else { return Ok(()) };
                let payload = match kind {
                    // The codec has validated it; checking again costs less than an unchecked conversion is worth.
                    Kind::Text => match std::str::from_utf8(&payload) {
                        Ok(text) => PyString::new(python, text).into_any(),
                        Err(_) => return Ok(()),
                    },
                    Kind::Binary => PyBytes::new(python, &payload).into_any(),
                };
                push(python, flat, Sort::Message, target, payload)
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
                let before = self.tables().arrivals.insert(id, request.clone_ref(python));
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
                let forgotten = self.tables().arrivals.remove(&connection);
                drop(forgotten);
                let ticket = Py::new(python, Ticket { _known: known })?.into_bound(python).into_any();
                push(python, flat, Sort::Withdrawn, name(python, connection), ticket)
            }
            Event::Opened(opened) => {
                let id = opened.connection;
                let request = self.tables().arrivals.remove(&id);
                let Some(gauge) = opened.gauge else {
                    let what = (request, opened.subprotocol).into_pyobject(python)?.into_any();
                    return push(python, flat, Sort::Opened, name(python, id), what);
                };
                let handle = Py::new(python, ConnectionHandle { id, gauge, link: Arc::clone(link) })?;
                let connection = self.blank.call0(python)?;
                let birth = (
                    connection.clone_ref(python),
                    handle,
                    request,
                    opened.subprotocol,
                    opened.user.as_deref(),
                );
                born.push(birth.into_pyobject(python)?.into_any());
                let before = self.bind(id, connection.clone_ref(python));
                drop(before);
                let route = opened.route.into_pyobject(python)?.into_any();
                push(python, flat, Sort::Opened, connection.into_bound(python), route)
            }
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

    fn closed<'py>(
        &self,
        python: Python<'py>,
        closed: Closed,
        flat: &mut Vec<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let (request, connection) = {
            let mut tables = self.tables();
            (tables.arrivals.remove(&closed.connection), tables.connections.remove(&closed.connection))
        };
        drop(request);
        let target = match connection {
            Some(connection) => connection.into_bound(python),
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
