//! Receives the Python server's calls · hands them to the running native server · owns whether there is one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamconductor_core::channel::{Policy, key_number};
use streamconductor_core::codec::{Role, frame_size};
use streamconductor_core::gauge::Gauge;
use streamconductor_core::handshake::ResponseHeaders;
use streamconductor_core::id::ConnectionId;
use streamconductor_core::lifecycle::Public;
use streamconductor_core::shard::command::{Admission, Audience, Broadcast, Command, Filter, Refused};
use streamconductor_net::doorbell::Doorbell;
use streamconductor_net::readiness::Readiness;
use streamconductor_net::tokens::BearerTokens;
use streamconductor_net::{metrics, status};

use crate::admin::Admin;
use crate::bridge::{Bridge, Drained};
use crate::connection::{ConnectionHandle, parse_id};
use crate::convert::{Payload, check_channel};
use crate::error;
use crate::health::HealthVerdict;
use crate::link::Link;
use crate::outgoing::{OutgoingLink, UpstreamSetting};
use crate::receiver::Receiver;
use crate::request::Request;
use crate::settings::{LimitNumbers, OriginNames, ServerSettings, origins, socket_address};
use crate::site;
use crate::starting::{self, Started};
use crate::view::View;

/// A running server: made by `start`, ended by `stop`.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct Server {
    link: Mutex<Option<Arc<Link>>>,
    bridge: Bridge,
    readiness: Arc<Readiness>,
    doorbell: Arc<Doorbell>,
    tokens: Option<Arc<BearerTokens>>,
    admin: Mutex<Option<Admin>>,
}

#[pymethods]
impl Server {
    /// Binds and starts, for the loop of the calling thread. `schedule` is called once per turn of the loop in which something was sent; `blank` makes
    /// the Python object of each connection that opens, without running any Python code.
    #[staticmethod]
    fn start(
        python: Python<'_>,
        settings: ServerSettings,
        event_loop: Py<PyAny>,
        schedule: Py<PyAny>,
        blank: Py<PyAny>,
        bearer_cookie: Option<String>,
    ) -> PyResult<Self> {
        let is_asked = settings.routes.iter().map(|route| route.is_asked).collect();
        let Started { link, readiness, doorbell, tokens } =
            starting::start(python, settings, event_loop, schedule, bearer_cookie.clone())?;
        Ok(Self {
            link: Mutex::new(Some(link)),
            bridge: Bridge::new(blank, is_asked, bearer_cookie),
            readiness,
            doorbell,
            tokens,
            admin: Mutex::new(None),
        })
    }

    /// The descriptor that is readable while events wait.
    fn fileno(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.doorbell.as_raw_fd()
    }

    /// The addresses that were bound, `(ip, port)`.
    #[getter]
    fn addresses(&self, python: Python<'_>) -> PyResult<Vec<(String, u16)>> {
        let link = self.link(python)?;
        Ok(link.server.addresses().iter().map(|address| (address.ip().to_string(), address.port())).collect())
    }

    /// Begins a link to a service; its news come with what happened.
    fn open_link(&self, python: Python<'_>, upstream: UpstreamSetting) -> PyResult<OutgoingLink> {
        let link = self.link(python)?;
        let upstream = upstream.upstream(python)?;
        Ok(link.outgoing.open(&link.server, &upstream)?)
    }

    /// What happened.
    fn drain<'py>(&self, python: Python<'py>) -> PyResult<Drained<'py>> {
        let link = self.link(python)?;
        link.schedule_is_set();
        self.bridge.drain(python, &link)
    }

    /// Wakes the shards for what was sent since the last call. Belongs at the end of a turn of the loop.
    fn uncork(&self) {
        // Stopped meanwhile: nobody is left to wake.
        if let Some(link) = self.running() {
            link.uncork();
        }
    }

    /// `on_connect` said yes.
    #[pyo3(signature = (request, user, expires_in, priority, subprotocol, headers, subscribe, victim))]
    #[expect(clippy::too_many_arguments, reason = "the fields of streamconductor.Accept")]
    fn admit(
        &self,
        python: Python<'_>,
        request: &Request,
        user: Option<String>,
        expires_in: Option<f64>,
        priority: i64,
        subprotocol: Option<String>,
        headers: Vec<(String, String)>,
        subscribe: Vec<String>,
        victim: Option<&str>,
    ) -> PyResult<()> {
        let link = self.link(python)?;
        let headers =
            ResponseHeaders::checked(headers).map_err(|error| PyValueError::new_err(error.to_string()))?;
        for channel in &subscribe {
            check_channel(channel)?;
        }
        let victim = victim.map(parse_id).transpose()?;
        let mut registry = link.server.registry();
        let subscribe = subscribe.iter().map(|channel| registry.join(channel)).collect();
        drop(registry);
        let connection = request.arrival.connection;
        let admission = Admission {
            connection,
            user: user.map(Into::into),
            expires_at: expires_in.map(|seconds| link.at(seconds)),
            priority,
            subprotocol,
            headers,
            victim,
            subscribe,
        };
        link.tell(connection.shard(), Command::Admit(Box::new(admission)));
        Ok(())
    }

    /// `on_connect` said no.
    fn refuse(
        &self,
        python: Python<'_>,
        request: &Request,
        status: u16,
        reason: String,
        headers: Vec<(String, String)>,
    ) -> PyResult<()> {
        let link = self.link(python)?;
        let headers =
            ResponseHeaders::checked(headers).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let connection = request.arrival.connection;
        link.tell(
            connection.shard(),
            Command::Refuse(Box::new(Refused { connection, status, reason, headers })),
        );
        let forgotten = self.bridge.refused(connection);
        drop(forgotten);
        Ok(())
    }

    /// Publishes; from any thread. Returns the subscribers known now. `waits`: returns None instead of publishing
    /// when the home shard's mailbox is above half, and `Room` will follow.
    #[pyo3(signature = (channel, payload, key=None, waits=false))]
    fn publish(
        &self,
        python: Python<'_>,
        channel: &str,
        payload: &Bound<'_, PyAny>,
        key: Option<&str>,
        waits: bool,
    ) -> PyResult<Option<usize>> {
        let link = self.link(python)?;
        check_channel(channel)?;
        let payload = Payload::of(payload)?;
        check_size(python, &link, payload.bytes().len())?;
        let found = link.server.registry().find(channel).cloned();
        let Some(channel) = found else { return Ok(Some(0)) };
        let home = channel.home();
        if waits && link.server.must_wait(home) {
            return Ok(None);
        }
        let subscribers = channel.subscribers();
        let publication = link.publication(python, &channel, &payload, key.map_or(0, key_number));
        let command = Command::Publish { channel, publication };
        link.send(python, home, command).map_err(|full| error::overloaded(python, full))?;
        Ok(Some(subscribers))
    }

    /// One message to many: to these ids, or to a user, or to everybody; not to the excluded. None: some mailbox is
    /// above half, and `Room` will follow.
    #[pyo3(signature = (payload, to, user, exclude, waits))]
    fn broadcast(
        &self,
        python: Python<'_>,
        payload: &Bound<'_, PyAny>,
        to: Option<Vec<String>>,
        user: Option<String>,
        exclude: Vec<String>,
        waits: bool,
    ) -> PyResult<bool> {
        let link = self.link(python)?;
        let payload = Payload::of(payload)?;
        check_size(python, &link, payload.bytes().len())?;
        let to = to.map(|ids| ids.iter().map(|id| parse_id(id)).collect::<PyResult<Vec<_>>>()).transpose()?;
        let exclude = exclude.iter().map(|id| parse_id(id)).collect::<PyResult<Vec<_>>>()?;
        if waits && (0..link.server.shards()).any(|shard| link.server.must_wait(shard)) {
            return Ok(false);
        }
        let prepared = link.prepare(python, &payload);
        let bytes: Bytes = payload.copy();
        for shard in 0..link.server.shards() {
            let audience = match (&to, &user) {
                (Some(ids), _) => {
                    let here: Vec<ConnectionId> =
                        ids.iter().copied().filter(|id| id.shard() == shard).collect();
                    if here.is_empty() {
                        continue;
                    }
                    Audience::These(here)
                }
                (None, Some(user)) => Audience::User(user.as_str().into()),
                (None, None) => Audience::Everyone,
            };
            let broadcast = Broadcast {
                kind: payload.kind(),
                payload: bytes.clone(),
                prepared: prepared.clone(),
                to: audience,
                exclude: exclude.clone(),
            };
            let command = Command::Broadcast(Box::new(broadcast));
            link.send(python, shard, command).map_err(|full| error::overloaded(python, full))?;
        }
        Ok(true)
    }

    /// Ends all connections of a user with 4403.
    fn disconnect(&self, python: Python<'_>, user: &str, reason: &str) -> PyResult<()> {
        let link = self.link(python)?;
        let user: Arc<str> = user.into();
        link.server.tell_all(|| Command::Disconnect { user: Arc::clone(&user), reason: reason.into() });
        Ok(())
    }

    /// Open connections, as their shards see them now. `first_to_leave`: only the first few of the eviction order.
    #[pyo3(signature = (user=None, channel=None, path=None, first_to_leave=None))]
    fn views(
        &self,
        python: Python<'_>,
        user: Option<String>,
        channel: Option<String>,
        path: Option<String>,
        first_to_leave: Option<usize>,
    ) -> PyResult<Vec<View>> {
        let link = self.link(python)?;
        let channel = match channel {
            None => None,
            Some(name) => match link.server.registry().find(&name) {
                Some(channel) => Some(channel.id()),
                None => return Ok(Vec::new()),
            },
        };
        let filter =
            Filter { user: user.map(Into::into), channel, path: path.map(Into::into), first_to_leave };
        let views = python.detach(|| link.server.list(&filter));
        let now = link.server.now();
        Ok(views.iter().map(|view| View::at(now, view)).collect())
    }

    /// The Python object of an open connection that Python holds already.
    fn bound<'py>(&self, python: Python<'py>, id: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.bridge.connection(python, parse_id(id)?))
    }

    /// Takes hold of a connection that Python does not hold yet: makes its handle and its receiver.
    fn hold(&self, python: Python<'_>, id: &str) -> PyResult<(ConnectionHandle, Receiver)> {
        let link = self.link(python)?;
        let id = parse_id(id)?;
        let gauge = Arc::new(Gauge::new(&link.server.foundations().ledger));
        gauge.set_state(Public::Open);
        link.tell(id.shard(), Command::Hold { connection: id, gauge: Arc::clone(&gauge) });
        let receiver = Receiver::new(id, Arc::clone(&gauge), Arc::clone(&link));
        Ok((ConnectionHandle::new(id, gauge, link), receiver))
    }

    /// Remembers the Python object that was made for a handle.
    fn bind(&self, id: &str, connection: Py<PyAny>) -> PyResult<()> {
        self.bridge.bind(parse_id(id)?, connection);
        Ok(())
    }

    /// What the feeds do, as JSON text, for the status.
    fn set_feeds(&self, python: Python<'_>, feeds: &str) -> PyResult<()> {
        self.link(python)?.desk.set_feeds(feeds);
        Ok(())
    }

    /// `status()` as JSON text.
    fn status(&self, python: Python<'_>) -> PyResult<String> {
        let link = self.link(python)?;
        let status = python.detach(|| status::status(&link.server, &self.readiness, link.desk.extra()));
        Ok(status.to_string())
    }

    /// `metrics()` as OpenMetrics text.
    fn metrics(&self, python: Python<'_>) -> PyResult<String> {
        let link = self.link(python)?;
        Ok(python.detach(|| metrics::metrics(&link.server, &self.readiness)))
    }

    /// Connections, maximum, pending, maximum of pending, ledger used, budget.
    fn pool(&self, python: Python<'_>) -> PyResult<(usize, usize, usize, usize, usize, usize)> {
        let link = self.link(python)?;
        let (connections, pending) = (link.server.pool().connections(), link.server.pool().pending());
        let ledger = &link.server.foundations().ledger;
        Ok((
            connections.used,
            connections.maximum,
            pending.used,
            pending.maximum,
            ledger.used(),
            ledger.budget(),
        ))
    }

    /// The loop runs.
    fn beat(&self) {
        self.readiness.beat();
    }

    /// For how long the loop has not run, in seconds.
    fn stalled(&self) -> f64 {
        self.readiness.stalled().as_secs_f64()
    }

    /// A health check gave its verdict.
    fn record_health(&self, python: Python<'_>, name: String, verdict: HealthVerdict) -> PyResult<()> {
        let at = self.link(python)?.server.now();
        self.readiness.record(name, verdict.given_at(at));
        Ok(())
    }

    /// Reads the keys of bearer tokens anew; with a problem those in force stay.
    fn reload_keys(&self, python: Python<'_>) -> PyResult<()> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        python.detach(|| tokens.reload()).map_err(|error| error::key(python, &error))
    }

    /// Other limits from now on.
    fn reconfigure(
        &self,
        python: Python<'_>,
        limits: LimitNumbers,
        origin_names: Option<OriginNames>,
        stall_limit: Option<f64>,
    ) -> PyResult<()> {
        let link = self.link(python)?;
        let tick = limits.tick();
        let limits = Arc::new(limits.limits(origins(origin_names)?)?);
        link.adopt(&limits);
        if let Some(admin) = &*lock(&self.admin) {
            admin.set_max_payload(limits.marks.max_buffered);
        }
        link.server.registry().set_fallback(Policy { overflow: limits.overflow, high_water: None });
        link.server.reconfigure(&limits, tick);
        self.readiness.set_stall_limit(stall_limit.map(Duration::from_secs_f64));
        Ok(())
    }

    /// Reads the files of certificates anew. Without TLS there is nothing to read.
    fn reload_certificates(&self, python: Python<'_>) -> PyResult<()> {
        let link = self.link(python)?;
        let Some(tls) = link.server.tls() else { return Ok(()) };
        python.detach(|| tls.reload()).map_err(|error| error::tls_file(python, &error))
    }

    /// Sets the policy of a pattern for channels that come into being from now on.
    fn define_channel(
        &self,
        python: Python<'_>,
        pattern: &str,
        overflow_name: Option<&str>,
        high_water: Option<usize>,
    ) -> PyResult<()> {
        let link = self.link(python)?;
        site::define(&mut link.server.registry(), pattern, overflow_name, high_water)
    }

    /// Readiness turns red, upgrades get 503, and all connections are closed, spread over `seconds`.
    fn depart(&self, python: Python<'_>, seconds: f64) -> PyResult<()> {
        let link = self.link(python)?;
        self.readiness.drain();
        link.server.depart(Duration::from_secs_f64(seconds));
        Ok(())
    }

    /// Resets what is left.
    fn abandon(&self, python: Python<'_>) -> PyResult<()> {
        self.link(python)?.server.abandon();
        Ok(())
    }

    /// Stops all threads and waits for them, `patience` seconds at most. False: some did not end.
    fn stop(&self, python: Python<'_>, patience: f64) -> bool {
        let link = lock(&self.link).take();
        let admin = lock(&self.admin).take();
        let ended = python.detach(|| {
            if let Some(link) = &link {
                link.outgoing.stop();
            }
            let patience = Duration::from_secs_f64(patience);
            if let Some(admin) = admin {
                // Long enough for an answer that is being written.
                admin.stop(Duration::from_millis(250).min(patience));
            }
            // Other holders (connections that Python keeps) may still have the link: the threads end all the same.
            link.is_none_or(|link| link.server.stop(patience))
        });
        // Python objects are dropped outside the lock: their finalizers may call back.
        let released = self.bridge.clear();
        drop(released);
        ended
    }

    /// Starts the admin address; returns its port.
    fn start_admin(&self, python: Python<'_>, address: &str, token: Option<String>) -> PyResult<u16> {
        let link = self.link(python)?;
        let address = socket_address(address)?;
        let admin = python
            .detach(|| crate::admin::start(&link, &self.readiness, address, token))
            .map_err(|error| error::start(python, &error))?;
        let port = admin.port();
        *lock(&self.admin) = Some(admin);
        Ok(port)
    }

    /// Whether it runs.
    #[getter]
    fn is_running(&self) -> bool {
        self.running().is_some()
    }
}

impl Server {
    fn running(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone()
    }

    /// The link, while the server runs.
    pub fn link(&self, python: Python<'_>) -> PyResult<Arc<Link>> {
        self.running().ok_or_else(|| error::not_running(python, "this call"))
    }
}

fn check_size(python: Python<'_>, link: &Link, payload: usize) -> PyResult<()> {
    let limit = link.max_buffered();
    let size = frame_size(Role::Server, payload);
    if size > limit { Err(error::too_big(python, size, limit)) } else { Ok(()) }
}

/// Nothing panics while it holds one of these locks in a state worth distrusting, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
