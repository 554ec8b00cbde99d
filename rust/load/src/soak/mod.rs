//! Receives the addresses of a server program · hands out what became of every message of a long run · owns its
//! phases: open, load, stop, settle, compare.
//!
//! ```text
//!                agenda, whims
//!                      ▼
//! mio ─▶ field ─▶ life ─▶ peer ─▶ course ─▶ subscription ─▶ ledger ─▶ report
//!          ▲                         └─▶ account ─▶ books ◀── control (what the server says of each end)
//! ```

mod agenda;
mod books;
mod channels;
mod control;
mod course;
mod field;
mod ledger;
mod life;
mod message;
mod pace;
mod peer;
mod random;
mod report;
mod role;
mod subscription;
mod trend;
mod verdict;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Events;

use crate::failure::Failure;
use crate::transport::Security;
use crate::trust;
use channels::Channels;
use control::Pulse;
use field::{Field, Site};
use verdict::Before;
use watch::Watch;

pub use ledger::Ledger;
pub use report::Report;

/// How long the server program may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long all connections may take to open, and at the end to leave.
const EVERYBODY: Duration = Duration::from_mins(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The server that carries the conversation with its program.
    pub control: SocketAddr,
    /// The server without TLS.
    pub plain: SocketAddr,
    /// The one with TLS, and the file with its certificate, which is trusted. `None`: no connection uses TLS.
    pub tls: Option<(SocketAddr, PathBuf)>,
    /// The server program's process.
    pub process: u32,
    /// Connections held.
    pub connections: usize,
    /// Time under load.
    pub length: Duration,
    /// The server's processor seconds per second that the rate of publications aims at.
    pub load: f64,
    /// Connections a second that do something unexpected.
    pub churn: f64,
    /// MiB an hour that the server's memory may grow, once it is warm.
    pub slope: f64,
    /// What random choices depend on.
    pub seed: u64,
}

/// Runs it. What was wrong with messages, memory or descriptors is in the report and is no error.
///
/// # Errors
/// [`Failure`]: the server program is not there, does not answer or ended.
pub fn run(soak: &Soak) -> Result<Report, Failure> {
    let mut sites = vec![Site { address: soak.plain, security: None }];
    if let Some((address, certificate)) = &soak.tls {
        let trust = trust::trusting("--tls-certificate", certificate).map_err(Failure::Usage)?;
        let security = Security { trust: Arc::new(trust), name: address.ip().into() };
        sites.push(Site { address: *address, security: Some(security) });
    }
    let tls = if sites.len() > 1 { soak.connections / 2 } else { 0 };
    let mut run = Run { field: Field::new(soak.control, sites, soak.seed)?, events: Field::events() };

    run.until(ANSWER, |field| field.control.channels.is_some())?.or_silence("hello")?;
    let channels = Channels::new(run.field.control.channels.take().unwrap_or_default());
    let before = Before::take(soak.process, &run.ask()?)?;

    run.field.populate(soak.connections, channels);
    run.until(EVERYBODY, |field| field.open >= soak.connections || field.ledger.violations > 0)?
        .or_silence("open connections")?;

    run.field.unsettle(soak.churn);
    let mut watch = Watch::begin(soak, &run.field)?;
    while watch.is_on() && run.field.ledger.violations == 0 {
        run.field.turn(&mut run.events)?;
        watch.look(&mut run.field)?;
    }

    run.field.control.tell("stop")?;
    run.until(ANSWER, |field| field.control.finals.is_some())?.or_silence("final numbers")?;
    let finals = run.field.control.finals.take().unwrap_or_default();
    run.field.end(finals);
    // Whatever waits in vain is ended by its own deadline, which is shorter.
    run.until(EVERYBODY, |field| field.occupied() == 0)?.or_silence("the end of every connection")?;
    // Both sides' accounts: what is missing after that is missing.
    run.until(ANSWER, |field| field.books.waiting() == 0)?;
    run.field.books.close(&mut run.field.ledger);

    let deadline = Instant::now() + ANSWER;
    let mut pulse = run.ask()?;
    while !before.is_back(&pulse) && Instant::now() < deadline {
        pulse = run.ask()?;
    }
    verdict::report(soak, tls, &before, &pulse, watch, &mut run.field)
}

/// The field, and the loop that turns it.
struct Run {
    field: Field,
    events: Events,
}

/// Whether something happened in time.
struct InTime(bool);

impl InTime {
    fn or_silence(self, what: &str) -> Result<(), Failure> {
        if self.0 { Ok(()) } else { Err(Failure::Silence(format!("waited in vain for {what}"))) }
    }
}

impl Run {
    fn until(&mut self, most: Duration, holds: impl Fn(&Field) -> bool) -> Result<InTime, Failure> {
        let deadline = Instant::now() + most;
        while !holds(&self.field) {
            if Instant::now() > deadline {
                return Ok(InTime(false));
            }
            self.field.turn(&mut self.events)?;
        }
        Ok(InTime(true))
    }

    /// Asks the server program how it stands.
    fn ask(&mut self) -> Result<Pulse, Failure> {
        self.field.control.pulse = None;
        self.field.control.tell("status")?;
        self.until(ANSWER, |field| field.control.pulse.as_ref().is_some_and(|pulse| pulse.is_answer))?
            .or_silence("status")?;
        self.field.control.pulse.take().ok_or_else(|| Failure::Silence("no status".to_owned()))
    }
}
