//! Receives what Python wants to be connected with · hands the native links their terms, and Python what becomes of them ·
//! owns the translation both ways.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use streamconductor_core::redial::{Policy, Why};
use streamconductor_net::client::{Destination, Dial, DialError, ProxyChoice, Trust, TrustFiles};
use streamconductor_net::server::Server;
use streamconductor_net::upstream::{Dialler, Endpoint, Link, News, Terms, Upstream};

use crate::error;
use crate::settings::socket_address;

/// One endpoint, as `connect` was called.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct EndpointSetting {
    url: String,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    origin: Option<String>,
    user_agent: Option<String>,
    bearer_token: Option<String>,
    compression: bool,
    /// True: what the environment names; False: none; text: that one.
    proxy: ProxySetting,
    unix_socket: Option<PathBuf>,
    addresses: Option<Vec<String>>,
    tls_authorities: Option<PathBuf>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    server_hostname: Option<String>,
    open_timeout: f64,
    weight: u32,
}

#[derive(FromPyObject)]
enum ProxySetting {
    Environment(bool),
    At(String),
}

/// A service, as `connect` or a pool was called.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct UpstreamSetting {
    endpoints: Vec<EndpointSetting>,
    ping_interval: Option<f64>,
    reconnects: bool,
}

impl UpstreamSetting {
    /// Reads the files that are named.
    pub fn upstream(self, python: Python<'_>) -> PyResult<Upstream> {
        let endpoints = self
            .endpoints
            .into_iter()
            .map(|setting| setting.endpoint(python))
            .collect::<PyResult<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(PyValueError::new_err("there is no endpoint to connect to; name at least one URL"));
        }
        let policy = Policy::for_interval(self.ping_interval.map(Duration::from_secs_f64));
        Ok(Upstream::new(Terms { endpoints, policy, reconnects: self.reconnects }))
    }
}

impl EndpointSetting {
    fn endpoint(self, python: Python<'_>) -> PyResult<Endpoint> {
        let mut dial = Dial::new(self.url);
        dial.headers = self.headers;
        dial.subprotocols = self.subprotocols;
        dial.origin = self.origin;
        dial.user_agent = self.user_agent.or(dial.user_agent).filter(|agent| !agent.is_empty());
        dial.bearer_token = self.bearer_token;
        dial.compression = self.compression;
        dial.proxy = match self.proxy {
            ProxySetting::Environment(true) => ProxyChoice::Environment,
            ProxySetting::Environment(false) => ProxyChoice::Direct,
            ProxySetting::At(url) => ProxyChoice::At(url),
        };
        dial.destination = match (self.unix_socket, self.addresses) {
            (Some(path), _) => Destination::Unix(path),
            (None, Some(addresses)) => {
                let addresses = addresses.iter().map(|text| socket_address(text)).collect::<PyResult<_>>()?;
                Destination::Addresses(addresses)
            }
            (None, None) => Destination::Url,
        };
        let identity = self.tls_certificate.zip(self.tls_key);
        if self.tls_authorities.is_some() || identity.is_some() {
            let files = TrustFiles { authorities: self.tls_authorities, identity };
            let trust = python.detach(|| Trust::load(&files));
            dial.trust = Some(Arc::new(trust.map_err(|error| error::tls_file(python, &error))?));
        }
        dial.server_hostname = self.server_hostname;
        dial.open_timeout = Some(Duration::from_secs_f64(self.open_timeout));
        Ok(Endpoint { dial, weight: self.weight })
    }
}

/// The links of an engine, and what has become of them since Python last asked.
#[derive(Default)]
pub struct Outgoing {
    dialler: Mutex<Option<Dialler>>,
    news: Arc<Mutex<Vec<(u64, News)>>>,
}

/// One link; it is stopped when this is dropped.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct OutgoingLink(Link);

#[pymethods]
impl OutgoingLink {
    /// The number that its news, and in their upper half its connections, come with.
    #[getter]
    fn number(&self) -> u64 {
        self.0.number()
    }

    /// Gives up an attempt, closes a connection, and does not come back.
    fn stop(&self) {
        self.0.stop();
    }

    /// The bearer token of further attempts.
    fn renew(&self, token: String) {
        self.0.renew(token);
    }
}

impl Outgoing {
    /// Begins a link. The thread that dials is started with the first.
    pub fn open(&self, server: &Arc<Server>, upstream: &Upstream) -> std::io::Result<OutgoingLink> {
        let mut dialler = lock(&self.dialler);
        if dialler.is_none() {
            let (news, upward) = (Arc::clone(&self.news), Arc::clone(&server.foundations().upward));
            let tell = move |link, told| {
                lock(&news).push((link, told));
                upward.ring();
            };
            *dialler = Some(Dialler::start(Arc::clone(server), Arc::new(tell))?);
        }
        let Some(dialler) = dialler.as_ref() else { return Err(std::io::ErrorKind::NotConnected.into()) };
        dialler.open(upstream).map(OutgoingLink)
    }

    /// What has become of links since the last call.
    pub fn take_news(&self) -> Vec<(u64, News)> {
        std::mem::take(&mut lock(&self.news))
    }

    /// Ends the thread that dials; what is under way is given up.
    pub fn stop(&self) {
        let dialler = lock(&self.dialler).take();
        drop(dialler);
    }
}

/// News as Python has them: the link's number, what happened, and about it what there is to say.
pub fn told(python: Python<'_>, link: u64, news: News) -> PyResult<Bound<'_, PyTuple>> {
    match news {
        News::Failed { error, wait } => {
            (link, "failed", failure(python, &error)?, wait.as_secs_f64()).into_pyobject(python)
        }
        News::TokenWanted => (link, "token_wanted").into_pyobject(python),
        News::Ended { why, error } => {
            let (why, code) = match why {
                Why::Stopped => ("stopped", None),
                Why::Closed(code) => ("closed", Some(code.0)),
                Why::Refused(_) => ("refused", None),
            };
            let error = error.map(|error| failure(python, &error)).transpose()?;
            (link, "ended", why, code, error).into_pyobject(python)
        }
    }
}

/// Kind, words, status, seconds of `Retry-After`, headers and body.
fn failure<'py>(python: Python<'py>, error: &DialError) -> PyResult<Bound<'py, PyTuple>> {
    let kind = match error {
        DialError::Invalid { .. } => "invalid",
        DialError::Resolution { .. } | DialError::Unreachable { .. } => "unreachable",
        DialError::TimedOut { .. } => "timed_out",
        DialError::Tls { .. } => "tls",
        DialError::ProxyRefused { .. } => "proxy",
        DialError::Status(_) => "status",
        DialError::BadAnswer { .. } => "bad_answer",
        DialError::Redirect { .. } | DialError::TooManyRedirects { .. } => "redirect",
    };
    let words = error.to_string();
    let DialError::Status(refusal) = error else {
        return (kind, words, python.None(), python.None(), python.None(), python.None())
            .into_pyobject(python);
    };
    let headers: Vec<(&str, String)> = refusal
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.iter().map(|byte| char::from(*byte)).collect()))
        .collect();
    let retry_after = refusal.retry_after.map(|time| time.as_secs_f64());
    let body = PyBytes::new(python, &refusal.body);
    (kind, words, refusal.status, retry_after, headers, body).into_pyobject(python)
}

/// Nothing panics while it holds one of these locks, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
