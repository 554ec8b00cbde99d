//! Receives refusals of the native half · hands out the package's exceptions · owns the one mapping between them.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use streamconductor_net::mailbox::Full as MailboxFull;
use streamconductor_net::server::StartError;
use streamconductor_net::tls::FileError;

fn class<'py>(
    python: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<Bound<'py, PyType>> {
    cell.import(python, "streamconductor.errors", name).cloned()
}

macro_rules! exception {
    ($function:ident, $name:literal) => {
        fn $function(python: Python<'_>) -> PyResult<Bound<'_, PyType>> {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            class(python, &CLASS, $name)
        }
    };
}

exception!(full_class, "Full");
exception!(overloaded_class, "Overloaded");
exception!(too_big_class, "MessageTooBig");
exception!(wrong_thread_class, "WrongThread");
exception!(bind_class, "BindError");
exception!(not_running_class, "NotRunning");
exception!(forked_class, "ForkedProcess");
exception!(config_class, "ConfigError");

/// `send_nowait` would pass `max_buffered`.
pub fn full(python: Python<'_>, buffered: usize, size: usize, limit: usize) -> PyErr {
    raise(full_class(python), |class| class.call1((buffered, size, limit)))
}

/// A mailbox has no room.
pub fn overloaded(python: Python<'_>, full: MailboxFull) -> PyErr {
    raise(overloaded_class(python), |class| class.call1((full.held, full.limit)))
}

/// A payload that no connection may ever get.
pub fn too_big(python: Python<'_>, size: usize, limit: usize) -> PyErr {
    raise(too_big_class(python), |class| class.call1((size, limit)))
}

/// A call from a thread that is not the loop's.
pub fn wrong_thread(python: Python<'_>, call: &str) -> PyErr {
    raise(wrong_thread_class(python), |class| class.call1((call,)))
}

/// The server does not run.
pub fn not_running(python: Python<'_>, call: &str) -> PyErr {
    raise(not_running_class(python), |class| class.call1((call,)))
}

/// A handle that a child process inherited.
pub fn forked(python: Python<'_>) -> PyErr {
    raise(forked_class(python), |class| class.call0())
}

/// Files that TLS cannot be served from: the setting, the file, and why.
pub fn tls_file(python: Python<'_>, error: &FileError) -> PyErr {
    raise(config_class(python), |class| class.call1(([error.to_string()],)))
}

/// A server that did not start.
pub fn start(python: Python<'_>, error: &StartError) -> PyErr {
    match error {
        StartError::Bind { address, error } => {
            let number = error.raw_os_error().unwrap_or_default();
            raise(bind_class(python), |class| class.call1((number, error.to_string(), address)))
        }
        StartError::Thread(_) => pyo3::exceptions::PyRuntimeError::new_err(error.to_string()),
    }
}

fn raise<'py>(
    class: PyResult<Bound<'py, PyType>>,
    make: impl FnOnce(&Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>>,
) -> PyErr {
    // If the exception itself cannot be made, the reason for that is what is raised.
    match class.and_then(|class| make(&class)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}
