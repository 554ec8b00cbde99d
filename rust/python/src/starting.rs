//! Receives the settings of a Python server · hands back what runs, and what others of it need · owns the order in which
//! its parts come into being.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use streamconductor_core::config::Origins;
use streamconductor_core::ledger::Ledger;
use streamconductor_core::shard::site::Site;
use streamconductor_net::clock::Clock;
use streamconductor_net::counts::Counts;
use streamconductor_net::doorbell::Doorbell;
use streamconductor_net::front::Front;
use streamconductor_net::readiness::Readiness;
use streamconductor_net::server::{Foundations, Server, Settings};
use streamconductor_net::tls::Tls;
use streamconductor_net::tokens::BearerTokens;
use streamconductor_net::upward::Upward;

use crate::error;
use crate::link::Link;
use crate::settings::{ServerSettings, origins};
use crate::site;

/// A server that has just begun to run.
pub struct Started {
    pub link: Arc<Link>,
    pub readiness: Arc<Readiness>,
    pub doorbell: Arc<Doorbell>,
    pub tokens: Option<Arc<BearerTokens>>,
}

/// Reads what is to be read, binds, and starts the threads. `schedule` is called once per turn of the loop in which
/// something was sent.
pub fn start(
    python: Python<'_>,
    settings: ServerSettings,
    event_loop: Py<PyAny>,
    schedule: Py<PyAny>,
    bearer_cookie: Option<String>,
) -> PyResult<Started> {
    let clock = Clock::start();
    let ledger = Ledger::new(settings.limits.limits(Origins::Same)?.memory_budget);
    let doorbell = Arc::new(Doorbell::new()?);
    let upward = Arc::new(Upward::new(&ledger, Arc::clone(&doorbell)));
    let readiness = Arc::new(Readiness::new(
        clock,
        ledger.clone(),
        Duration::from_secs_f64(settings.beat_interval),
        settings.stall_limit.map(Duration::from_secs_f64),
    ));
    let addresses = settings.listen_on()?;
    let tick = settings.limits.tick();
    let limits = settings.limits.limits(origins(settings.origins)?)?;
    let front = Front { readiness: Arc::clone(&readiness), assets: site::assets(settings.assets)? };
    let tokens = settings.tokens.map(|tokens| site::tokens(tokens, bearer_cookie)).transpose();
    let tokens = tokens.map_err(|error| error::key(python, &error))?.map(Arc::new);
    let (router, routes) = site::routes(settings.routes)?;
    let site = Site {
        router,
        routes,
        asks: settings.asks,
        reports_closes: settings.reports_closes,
        reports_backpressure: settings.reports_backpressure,
        has_pool_policy: settings.has_pool_policy,
        tokens: tokens.clone().map(|tokens| tokens as Arc<_>),
        plain: Arc::new(front),
        counts: Arc::new(Counts::default()),
    };
    let registry = site::registry(settings.threads, limits.overflow, &settings.channels)?;
    let tls = settings.tls.map(|files| python.detach(|| Tls::load(files.files()))).transpose();
    let tls = tls.map_err(|error| error::tls_file(python, &error))?;
    let settings_of_net = Settings {
        addresses,
        backlog: settings.backlog,
        threads: settings.threads,
        tick,
        limits: limits.clone(),
        tls: tls.map(Arc::new),
    };
    let foundations = Foundations { clock, ledger, upward };
    let server = python
        .detach(|| Server::start(settings_of_net, Arc::new(site), registry, foundations))
        .map_err(|error| error::start(python, &error))?;
    let link = Link::new(server, event_loop, schedule);
    link.adopt(&limits);
    Ok(Started { link, readiness, doorbell, tokens })
}
