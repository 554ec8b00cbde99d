//! Receives what the routes ask · hands it to the server, its readiness and whoever configures it · owns the
//! seam between HTTP and the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::Value;
use streamconductor_core::channel::{MAX_NAME, key_number};
use streamconductor_core::codec::Kind;
use streamconductor_core::ledger::{Ledger, Level};
use streamconductor_core::shard::command::{Command, Publication};

use crate::driver;
use crate::front::probe;
use crate::mailbox::Class;
use crate::readiness::Readiness;
use crate::server::Server;
use crate::status::StatusExtra;

/// Why a publication was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The channel's shard or the memory budget has no room now.
    #[error("the server is overloaded")]
    Overloaded,
    /// More bytes than may be pending for one connection.
    #[error("the payload is too big")]
    TooBig,
    /// Empty, longer than [`MAX_NAME`] bytes, or with control characters.
    #[error("a channel's name has 1 to {MAX_NAME} bytes and no control characters")]
    BadName,
}

/// What an admin address asks of its server. `livez`, `readyz`, `publish`, `max_payload` and `ledger` are called
/// on the admin thread and must not block; the others run beside it, three at a time and of `reconfigure` one.
pub trait AdminService: Send + Sync + 'static {
    /// Status and JSON body of `/livez`.
    fn livez(&self) -> (u16, String);

    /// Status and JSON body of `/readyz`.
    fn readyz(&self) -> (u16, String);

    /// What `/status` says.
    fn status(&self) -> Value;

    /// What `/metrics` says, as OpenMetrics text.
    fn metrics(&self) -> String;

    /// Bytes of the largest publication; a longer body is refused with 413.
    fn max_payload(&self) -> usize;

    /// The budget that bodies are charged to.
    fn ledger(&self) -> &Ledger;

    /// Publishes, and hands out the number of subscribers known now.
    fn publish(
        &self,
        channel: &str,
        kind: Kind,
        payload: Bytes,
        key: Option<&str>,
    ) -> Result<usize, PublishError>;

    /// Changes the configuration; the error is for people.
    fn reconfigure(&self, changes: Value) -> Result<(), String>;
}

/// Hands out what only the application's side knows of the status.
pub type Extra = Box<dyn Fn() -> StatusExtra + Send + Sync>;

/// Takes changes of the configuration.
pub type Reconfigure = Box<dyn Fn(Value) -> Result<(), String> + Send + Sync>;

/// The service of a [`Server`].
pub struct ServerAdmin {
    server: Arc<Server>,
    readiness: Arc<Readiness>,
    max_payload: AtomicUsize,
    extra: Extra,
    reconfigure: Reconfigure,
}

impl ServerAdmin {
    /// `max_payload` is the server's `max_buffered`: what is longer could reach nobody.
    pub fn new(
        server: Arc<Server>,
        readiness: Arc<Readiness>,
        max_payload: usize,
        extra: Extra,
        reconfigure: Reconfigure,
    ) -> Self {
        Self { server, readiness, max_payload: AtomicUsize::new(max_payload), extra, reconfigure }
    }

    /// Another bound from now on.
    pub fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes, Ordering::Relaxed);
    }
}

impl AdminService for ServerAdmin {
    fn livez(&self) -> (u16, String) {
        probe(&self.readiness, "/livez")
    }

    fn readyz(&self) -> (u16, String) {
        probe(&self.readiness, "/readyz")
    }

    fn status(&self) -> Value {
        crate::status::status(&self.server, &self.readiness, (self.extra)())
    }

    fn metrics(&self) -> String {
        crate::metrics::metrics(&self.server, &self.readiness)
    }

    fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    fn ledger(&self) -> &Ledger {
        &self.server.foundations().ledger
    }

    fn publish(
        &self,
        name: &str,
        kind: Kind,
        payload: Bytes,
        key: Option<&str>,
    ) -> Result<usize, PublishError> {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(PublishError::BadName);
        }
        if payload.len() > self.max_payload() {
            return Err(PublishError::TooBig);
        }
        // Shards take no publications then; unlike a publisher in the application, this one can go elsewhere.
        if self.ledger().level() >= Level::Pausing {
            return Err(PublishError::Overloaded);
        }
        let Some(channel) = self.server.registry().find(name).cloned() else { return Ok(0) };
        let (home, subscribers) = (channel.home(), channel.subscribers());
        let prepared = self.server.compression().publication(&channel, kind, &payload);
        let publication = Publication { kind, payload, key: key.map_or(0, key_number), prepared };
        let command = Command::Publish { channel, publication };
        let bytes = driver::weight(&command);
        self.server
            .append(home, &mut vec![command], bytes, Class::Ordinary)
            .map_err(|_| PublishError::Overloaded)?;
        Ok(subscribers)
    }

    fn reconfigure(&self, changes: Value) -> Result<(), String> {
        (self.reconfigure)(changes)
    }
}
