//! Receives what the admin address asks of the application · hands it to the Python loop and waits for the answer ·
//! owns the way there and back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use serde_json::Value;
use streamconductor_net::admin::{AdminServer, ServerAdmin};
use streamconductor_net::readiness::Readiness;
use streamconductor_net::server::StartError;
use streamconductor_net::status::StatusExtra;

use crate::link::Link;

/// How long the admin address waits for the Python loop.
const PATIENCE: Duration = Duration::from_secs(2);

/// What only the Python side knows, and what is asked of it.
#[derive(Default)]
pub struct Desk {
    feeds: Mutex<Value>,
    changes: Mutex<Vec<Change>>,
}

/// A change of the configuration that waits for the Python loop.
struct Change {
    fields: String,
    /// Set when whoever asked has given up: what was answered with an error must not happen later.
    is_void: Arc<AtomicBool>,
    answer: SyncSender<Result<(), String>>,
}

/// Takes the loop's answer to a change.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct Answer(SyncSender<Result<(), String>>);

#[pymethods]
impl Answer {
    /// None: done; else what is wrong.
    fn give(&self, error: Option<String>) {
        // Whoever asked may have given up.
        let _ = self.0.try_send(error.map_or(Ok(()), Err));
    }
}

impl Desk {
    /// The feeds, as JSON text.
    pub fn set_feeds(&self, feeds: &str) {
        *lock(&self.feeds) = serde_json::from_str(feeds).unwrap_or_default();
    }

    /// What the status says beside what the native half knows.
    pub fn extra(&self) -> StatusExtra {
        StatusExtra { feeds: lock(&self.feeds).clone() }
    }

    /// The changes that wait: fields as JSON text, and where the answer goes.
    pub fn take_changes(&self) -> Vec<(String, Answer)> {
        let changes = lock(&self.changes).drain(..).collect::<Vec<_>>();
        changes
            .into_iter()
            .filter(|change| !change.is_void.swap(true, Ordering::AcqRel))
            .map(|change| (change.fields, Answer(change.answer)))
            .collect()
    }

    fn ask(&self, fields: &Value) -> (Arc<AtomicBool>, Receiver<Result<(), String>>) {
        let (answer, answered) = sync_channel(1);
        let is_void = Arc::new(AtomicBool::new(false));
        let change = Change { fields: fields.to_string(), is_void: Arc::clone(&is_void), answer };
        lock(&self.changes).push(change);
        (is_void, answered)
    }
}

/// A running admin address.
pub struct Admin {
    server: AdminServer,
    service: Arc<ServerAdmin>,
}

impl Admin {
    /// The port that was bound.
    pub fn port(&self) -> u16 {
        self.server.address().port()
    }

    /// Publications up to this many bytes from now on.
    pub fn set_max_payload(&self, bytes: usize) {
        self.service.set_max_payload(bytes);
    }

    /// Ends its thread; requests under way get `patience`.
    pub fn stop(&self, patience: Duration) {
        self.server.stop(patience);
    }
}

/// Starts the admin address of a running server.
pub fn start(
    link: &Arc<Link>,
    readiness: &Arc<Readiness>,
    address: SocketAddr,
    token: Option<String>,
) -> Result<Admin, StartError> {
    let (desk, upward) = (Arc::clone(&link.desk), Arc::clone(&link.server.foundations().upward));
    let reconfigure = move |fields: Value| {
        let (is_void, answered) = desk.ask(&fields);
        upward.tell_room();
        if let Ok(answer) = answered.recv_timeout(PATIENCE) {
            return answer;
        }
        if is_void.swap(true, Ordering::AcqRel) {
            // The loop took it up in this very moment: its answer is on the way.
            return answered.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("it may still happen".to_owned()));
        }
        Err(format!("the Python loop did not answer within {PATIENCE:?}; nothing was changed"))
    };
    let desk = Arc::clone(&link.desk);
    let service = Arc::new(ServerAdmin::new(
        Arc::clone(&link.server),
        Arc::clone(readiness),
        link.max_buffered(),
        Box::new(move || desk.extra()),
        Box::new(reconfigure),
    ));
    let server = AdminServer::start(address, token, Arc::clone(&service) as Arc<_>)?;
    Ok(Admin { server, service })
}

/// Nothing panics while it holds one of these locks, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
