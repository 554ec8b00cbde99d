//! Receives a URL and what to say there · hands out an open WebSocket connection that a shard can take over · owns everything
//! in between, within one time limit.
//!
//! ```text
//! url ─▶ target ─▶ proxy? ─▶ reach: socket ─▶ tunnel? ─▶ link: TLS? ─▶ opening ─▶ Dialled ─▶ a shard
//!          ▲                                                             │
//!          └────────────────────────── redirect ─────────────────────────┘
//! ```
//!
//! Whoever drops the future before it is done closes everything that it had opened.

mod dialled;
mod error;
mod head;
mod link;
mod opening;
mod progress;
mod proxy;
mod reach;
mod redirect;
mod refusal;
mod sent;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use streamconductor_core::ledger::Ledger;

pub use crate::tls::{Trust, TrustFiles};
pub use dialled::Dialled;
pub use error::{DialError, Stage};
pub use head::{MAX_HEAD, MAX_HEADERS};
use link::Link;
use opening::Answer;
use progress::Progress;
use proxy::Proxy;
pub use proxy::ProxyChoice;
pub use redirect::MAX_REDIRECTS;
pub use refusal::Refusal;
use sent::Sent;
use target::Target;

/// What to connect to, and how.
#[derive(Clone)]
pub struct Dial {
    /// `ws://` or `wss://`, also written `http://` and `https://`; credentials in it are sent as basic authentication.
    pub url: String,
    /// Further headers, in this order. The server's answers decide nothing about them, but another origin is sent neither
    /// `Authorization` nor `Cookie`, `Proxy-Authorization` and `Host`.
    pub headers: Vec<(String, String)>,
    /// Subprotocols that are offered, the one liked best first.
    pub subprotocols: Vec<String>,
    /// The header `Origin`; `None`: it is not sent, as only browsers must.
    pub origin: Option<String>,
    /// The header `User-Agent`, unless `headers` has it; `None`: it is not sent.
    pub user_agent: Option<String>,
    /// A token that is sent as `Authorization: Bearer`; `None`: none is.
    pub bearer_token: Option<String>,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// Whether and through which proxy.
    pub proxy: ProxyChoice,
    /// Where to connect, if not to what the URL names.
    pub destination: Destination,
    /// Whom to trust for `wss`; `None`: the system's authorities, without a certificate of our own.
    pub trust: Option<Arc<Trust>>,
    /// The name that the server has to prove with its certificate; `None`: the URL's host.
    pub server_hostname: Option<String>,
    /// How long everything together may take, redirects included; `None`: as long as it takes.
    pub open_timeout: Option<Duration>,
}

/// Where to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// To the host and port of the URL.
    #[default]
    Url,
    /// To the first of these addresses that answers, past any proxy.
    Addresses(Vec<SocketAddr>),
    /// To a Unix socket.
    Unix(PathBuf),
}

impl Dial {
    /// A connection to `url`, everything else by default: no further header, no compression, the environment's proxy, the
    /// system's authorities, 5 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            origin: None,
            user_agent: Some(concat!("streamconductor/", env!("CARGO_PKG_VERSION")).to_owned()),
            bearer_token: None,
            compression: false,
            proxy: ProxyChoice::default(),
            destination: Destination::default(),
            trust: None,
            server_hostname: None,
            open_timeout: Some(Duration::from_secs(5)),
        }
    }
}

impl Dial {
    /// Host and port, for people; empty where the URL has none.
    pub fn authority(&self) -> String {
        Target::parse(&self.url).map(|(target, _)| target.authority()).unwrap_or_default()
    }
}

/// Opens a connection. Runs on a Tokio runtime with I/O and time; the socket belongs to that one until
/// [`Dialled::detach`]. TLS is charged to `ledger` for as long as the connection lives.
pub async fn dial(options: &Dial, ledger: &Ledger) -> Result<Dialled, DialError> {
    let (target, user_info) = Target::parse(&options.url)?;
    let progress = Progress::default();
    progress.turn_to(target.authority());
    let course = Course {
        options,
        ledger,
        progress: &progress,
        sent: Sent::new(options, user_info.as_ref())?,
        server_hostname: options.server_hostname.clone(),
        is_identified: true,
    };
    // Before anything is sent, and not only once TLS begins.
    if target.is_secure() || options.server_hostname.is_some() {
        course.server_name(&target)?;
    }
    let run = course.run(target);
    let Some(limit) = options.open_timeout else { return run.await };
    tokio::time::timeout(limit, run).await.unwrap_or_else(|_| {
        Err(DialError::TimedOut { host: progress.host(), limit, stage: progress.stage() })
    })
}

/// The way to a connection, from one target to the next.
struct Course<'a> {
    options: &'a Dial,
    ledger: &'a Ledger,
    progress: &'a Progress,
    sent: Sent,
    /// What the caller said of the first origin.
    server_hostname: Option<String>,
    /// Whether our certificate may be shown.
    is_identified: bool,
}

impl Course<'_> {
    /// Makes one try at a target.
    async fn visit(&self, target: &Target) -> Result<(Link, Answer, Option<SocketAddr>), DialError> {
        let request = self.sent.request(target)?;
        let (mut link, peer) = self.connect(target).await?;
        if target.is_secure() {
            self.progress.reach(Stage::Securing);
            let name = self.server_name(target)?;
            let trust = match &self.options.trust {
                Some(trust) => Arc::clone(trust),
                None => Trust::of_the_system()
                    .await
                    .map_err(|error| DialError::invalid(error.field, error.reason))?,
            };
            let config = trust.config(self.is_identified);
            let secured = link.secure(config, name, self.ledger).await;
            secured.map_err(|reason| DialError::Tls { host: target.authority(), reason })?;
        }
        self.progress.reach(Stage::Opening);
        let host = target.authority();
        let answer = opening::open(&mut link, request, self.sent.offers_compression, &host).await?;
        Ok((link, answer, peer))
    }

    /// A socket that leads to the target.
    async fn connect(&self, target: &Target) -> Result<(Link, Option<SocketAddr>), DialError> {
        let (stream, peer) = match &self.options.destination {
            Destination::Unix(path) => (reach::unix(path, self.progress).await?, None),
            Destination::Addresses(addresses) => {
                let (stream, peer) = reach::any(addresses, self.progress).await?;
                (stream, Some(peer))
            }
            Destination::Url => {
                let variable = |name: &str| std::env::var(name).ok();
                let proxy = Proxy::choose(&self.options.proxy, target, variable)?;
                if let Some(proxy) = proxy {
                    return self.connect_through(&proxy, target).await;
                }
                let (stream, peer) =
                    reach::host(&target.host(), target.address(), target.port(), self.progress).await?;
                (stream, Some(peer))
            }
        };
        Ok((Link::new(stream), peer))
    }

    async fn connect_through(
        &self,
        proxy: &Proxy,
        target: &Target,
    ) -> Result<(Link, Option<SocketAddr>), DialError> {
        self.progress.turn_to(format!("{} through the proxy {}", target.authority(), proxy.shown()));
        let (stream, peer) = reach::host(&proxy.host, proxy.address, proxy.port, self.progress).await?;
        let mut link = Link::new(stream);
        let user_agent = self.options.user_agent.as_deref();
        tunnel::open(&mut link, proxy, target, user_agent, self.progress).await?;
        Ok((link, Some(peer)))
    }

    fn server_name(&self, target: &Target) -> Result<ServerName<'static>, DialError> {
        let (option, name) = match &self.server_hostname {
            Some(name) => ("server_hostname", name.clone()),
            None => ("url", target.host()),
        };
        let invalid =
            |_| DialError::invalid(option, format!("{name:?} is no name that a certificate could prove"));
        ServerName::try_from(name.clone()).map_err(invalid)
    }
}
