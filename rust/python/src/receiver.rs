//! Receives messages from the bridge · hands each to the task that awaits the next · owns those of one connection that
//! nobody has taken.
//!
//! A task that waits for a message waits for this object: it speaks the protocol of asyncio's futures, and is the same
//! one for all messages of a connection. An `asyncio.Future` for each message, the call of the loop that resumes its
//! task, and a coroutine around both cost as much as all else that Python does for a message (docs/performance.md).

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use pyo3::PyTraverseError;
use pyo3::PyVisit;
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::shard::command::Command;

use crate::error;
use crate::link::Link;

/// Messages that are there already still let other tasks run once in so many.
const IN_A_ROW: u8 = 64;

/// A message that nobody has taken.
pub struct Untaken {
    /// `str` or `bytes`.
    pub message: Py<PyAny>,
    /// Bytes of it, as the gauge counts them.
    pub bytes: usize,
}

/// What resumes a task, in the form `run(wakeup, done)`, where `done` is any future that is done.
pub struct Resumption {
    /// `run` of the task's context.
    pub run: Py<PyAny>,
    /// The callback that the task gave.
    pub wakeup: Py<PyAny>,
}

/// How far the one await of the next message has come.
#[derive(Default)]
enum Awaited {
    /// Nobody waits.
    #[default]
    No,
    /// The awaiting coroutine was told to wait; its task will say how it is resumed.
    Asked,
    /// A task waits, which gave this callback.
    By(Py<PyAny>),
    /// A task is about to run, with a message or, without, because the connection has ended.
    Answered(Option<Untaken>),
    /// A task is about to run, because it was cancelled; with the message of `Task.cancel`.
    Cancelled(Option<Py<PyAny>>),
}

/// What is behind the last message.
#[derive(Default)]
enum End {
    /// Nothing yet.
    #[default]
    No,
    /// The connection has ended in peace, and so does iteration.
    Peaceful,
    /// It has ended otherwise; this makes what is raised. An exception that was kept and raised would hold the frames
    /// that it went through, and they the receiver.
    Error(Py<PyAny>),
}

/// The next message of a connection, for `await` and `async for`: text as `str`, binary as `bytes`.
#[pyclass(module = "streamconductor._core")]
pub struct Receiver {
    id: ConnectionId,
    gauge: Arc<Gauge>,
    link: Arc<Link>,
    awaited: Awaited,
    /// The context of the task that waited last, and its `run`: mostly it is the one that waits next.
    context: Option<(Py<PyAny>, Py<PyAny>)>,
    /// What asyncio's protocol sets on a future that a coroutine waits for.
    is_blocking: bool,
    in_a_row: u8,
    /// `None` while there is none, as for most connections most of the time.
    #[expect(clippy::box_collection, reason = "one word instead of four for each connection")]
    untaken: Option<Box<VecDeque<Untaken>>>,
    end: End,
}

impl Receiver {
    /// A connection's receiver, with no message.
    pub fn new(id: ConnectionId, gauge: Arc<Gauge>, link: Arc<Link>) -> Self {
        Self {
            id,
            gauge,
            link,
            awaited: Awaited::No,
            context: None,
            is_blocking: false,
            in_a_row: 0,
            untaken: None,
            end: End::No,
        }
    }

    /// A message has come. The task that waits for it, if one does, must be resumed.
    pub fn deliver(&mut self, python: Python<'_>, message: Untaken) -> Option<Resumption> {
        match (take(&mut self.awaited), &self.context) {
            (Awaited::By(wakeup), Some((_, run))) => {
                self.awaited = Awaited::Answered(Some(message));
                Some(Resumption { run: run.clone_ref(python), wakeup })
            }
            (other, _) => {
                self.awaited = other;
                self.untaken.get_or_insert_default().push_back(message);
                None
            }
        }
    }

    fn next_untaken(&mut self) -> Option<Untaken> {
        let untaken = self.untaken.as_mut()?;
        let message = untaken.pop_front();
        if untaken.is_empty() {
            self.untaken = None;
        }
        message
    }

    /// What an awaiting coroutine gets: `StopIteration` with the message is how a result is returned to it.
    fn hand_out(&self, python: Python<'_>, Untaken { message, bytes }: Untaken) -> PyResult<()> {
        if self.link.is_orphaned() {
            return Err(error::forked(python));
        }
        if self.gauge.taken(Gauge::cost(bytes), self.link.max_inbound()) {
            self.link.tell(self.id.shard(), Command::Resume { connection: self.id });
        }
        // SAFETY: the interpreter is attached, and both are valid objects; the call takes references of its own. No
        // exception is set: a slot of a type is never called with one. pyo3's own way would build a tuple and a
        // closure for each message.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, message.as_ptr()) };
        Ok(())
    }

    fn ended(&self, python: Python<'_>) -> PyResult<()> {
        match &self.end {
            End::No => Ok(()),
            End::Peaceful => Err(PyStopAsyncIteration::new_err(())),
            End::Error(error) => Err(PyErr::from_value(error.bind(python).call0()?)),
        }
    }

    /// The await is over without its result: a message that was meant for it is the next one's.
    fn abandon(&mut self) {
        if let Awaited::Answered(Some(message)) = take(&mut self.awaited) {
            self.untaken.get_or_insert_default().push_front(message);
        }
    }
}

#[pymethods]
impl Receiver {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __await__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        match slf.awaited {
            Awaited::Asked | Awaited::By(_) => Err(PyRuntimeError::new_err(
                "recv is awaited by another task already; one task at a time may receive",
            )),
            // Also by who has its answer: `anext` with a default asks for each step.
            _ => Ok(slf),
        }
    }

    fn __next__(mut slf: PyRefMut<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let python = slf.py();
        match take(&mut slf.awaited) {
            Awaited::Answered(Some(message)) => return slf.hand_out(python, message).map(|()| None),
            Awaited::No | Awaited::Answered(None) => {}
            other => {
                slf.awaited = other;
                return Err(PyRuntimeError::new_err("recv was resumed by somebody else than its connection"));
            }
        }
        if slf.untaken.is_some() {
            slf.in_a_row += 1;
            if slf.in_a_row == IN_A_ROW {
                slf.in_a_row = 0;
                // As `asyncio.sleep(0)`.
                return Ok(Some(python.None()));
            }
            if let Some(message) = slf.next_untaken() {
                return slf.hand_out(python, message).map(|()| None);
            }
        }
        slf.ended(python)?;
        // Only here: what need not wait stays cheap.
        if !slf.link.is_on_loop() {
            return Err(error::wrong_thread(python, "recv"));
        }
        slf.awaited = Awaited::Asked;
        slf.is_blocking = true;
        Ok(Some(slf.into_pyobject(python)?.into_any().unbind()))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &mut self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = traceback;
        self.abandon();
        let value = value.filter(|value| !value.is_none());
        // A class and perhaps a value, or, since Python 3.12, an exception alone.
        Err(match kind.cast::<PyType>() {
            Ok(class) if value.is_none() => PyErr::from_type(class.clone(), ()),
            _ => PyErr::from_value(value.unwrap_or(kind).clone()),
        })
    }

    fn close(&mut self) {
        self.abandon();
    }

    // The protocol of asyncio's futures.

    /// None while no coroutine waits: it is no future then, but something to await.
    #[getter]
    fn _asyncio_future_blocking(&self) -> Option<bool> {
        match self.awaited {
            Awaited::Asked | Awaited::By(_) => Some(self.is_blocking),
            _ => None,
        }
    }

    #[setter(_asyncio_future_blocking)]
    fn set_asyncio_future_blocking(&mut self, is_blocking: bool) {
        self.is_blocking = is_blocking;
    }

    /// The loop, for asyncio, which takes it faster from here than from `get_loop`.
    #[getter]
    fn _loop(&self, python: Python<'_>) -> Py<PyAny> {
        self.link.event_loop().clone_ref(python)
    }

    #[pyo3(signature = (callback, *, context))]
    fn add_done_callback(&mut self, callback: Py<PyAny>, context: &Bound<'_, PyAny>) -> PyResult<()> {
        if !matches!(self.awaited, Awaited::Asked) {
            return Err(PyRuntimeError::new_err(
                "only the task that awaits the next message may add a callback",
            ));
        }
        if !self.context.as_ref().is_some_and(|(last, _)| last.is(context)) {
            let run = context.getattr(intern!(context.py(), "run"))?.unbind();
            self.context = Some((context.clone().unbind(), run));
        }
        self.awaited = Awaited::By(callback);
        Ok(())
    }

    /// Called by the task that waits, when it is cancelled.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        slf.borrow_mut().resume_soon(slf, Awaited::Cancelled(msg))
    }

    /// What the task that is resumed asks for first.
    fn result(&self, python: Python<'_>) -> PyResult<()> {
        match &self.awaited {
            Awaited::Cancelled(None) => Err(CancelledError::new_err(())),
            Awaited::Cancelled(Some(message)) => Err(CancelledError::new_err((message.clone_ref(python),))),
            _ => Ok(()),
        }
    }

    // What the Python half calls.

    /// The connection has ended: behind its last message what `error` makes is raised, or, without it, iteration ends.
    fn end(slf: &Bound<'_, Self>, error: Option<Py<PyAny>>) -> PyResult<()> {
        let mut receiver = slf.borrow_mut();
        receiver.end = error.map_or(End::Peaceful, End::Error);
        receiver.resume_soon(slf, Awaited::Answered(None)).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Awaited::By(wakeup) = &self.awaited {
            visit.call(wakeup)?;
        }
        if let Some((context, run)) = &self.context {
            visit.call(context)?;
            visit.call(run)?;
        }
        if let End::Error(error) = &self.end {
            visit.call(error)?;
        }
        Ok(())
    }

    fn __clear__(&mut self) {
        self.awaited = Awaited::No;
        self.context = None;
        self.end = End::No;
    }
}

impl Receiver {
    /// Has the task that waits resumed in the loop's next round. False: none waits.
    fn resume_soon(&mut self, slf: &Bound<'_, Self>, why: Awaited) -> PyResult<bool> {
        match (take(&mut self.awaited), &self.context) {
            (Awaited::By(wakeup), Some((_, run))) => {
                self.awaited = why;
                let python = slf.py();
                let event_loop = self.link.event_loop().bind(python);
                event_loop.call_method1(intern!(python, "call_soon"), (run, wakeup, slf))?;
                Ok(true)
            }
            (other, _) => {
                self.awaited = other;
                Ok(false)
            }
        }
    }
}
