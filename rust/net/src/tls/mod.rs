//! Receives the names of PEM files · hands each new socket the encryption it begins with · owns the terms in force, and
//! their renewal when the files change.
//!
//! ```text
//! files ──▶ certificates ──▶ terms (rustls::ServerConfig, swapped whole) ──▶ encryption, one per connection
//! socket ──▶ stream ──▶ encryption ──▶ plain bytes ──▶ shard        and back
//! ```

mod certificates;
mod encryption;
mod role;
mod stream;
mod subject;
mod terms;
#[cfg(test)]
mod tests;
mod trust;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use serde::Serialize;
use streamconductor_core::ledger::Ledger;

pub use encryption::Encryption;
pub(crate) use stream::{INCOMING, Incoming, Scratch, Tls as Secure};
use terms::Terms;
pub use trust::{Trust, TrustFiles};

/// The files that TLS is served from; all of them PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// One chain each, the server's own certificate first.
    pub certificates: Vec<PathBuf>,
    /// The private key of each certificate.
    pub keys: Vec<PathBuf>,
    /// Authorities that sign client certificates; `None`: no client is asked for one.
    pub authorities: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub requires_client: bool,
}

/// Why files cannot be served from. It names the setting and the file, and nothing of what is in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {file}: {reason}", file = file.display())]
pub struct FileError {
    /// The name of the setting in `Config`.
    pub field: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What a server says of its TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many certificates it has.
    pub certificates: usize,
    /// When the first of them runs out, in seconds since 1970.
    pub not_after: u64,
    /// Times that the files were read anew and taken.
    pub reloads: u64,
    /// Times that they were read anew and what was in force stayed.
    pub reload_failures: u64,
    /// Why the last reload failed; `None` once one has succeeded.
    pub last_failure: Option<String>,
}

/// The TLS of one server.
pub struct Tls {
    files: Files,
    /// Locked to copy or replace a pointer and a few numbers; files are read outside.
    state: Mutex<State>,
    /// Held while the files are read, so that of two reloads the later one wins.
    reloading: Mutex<()>,
}

struct State {
    terms: Terms,
    report: Report,
}

impl Tls {
    /// Reads the files. An error names the first that cannot be used.
    pub fn load(files: Files) -> Result<Self, FileError> {
        let terms = Terms::read(&files, None)?;
        let report =
            Report { certificates: terms.certificates, not_after: terms.not_after, ..Report::default() };
        Ok(Self { files, state: Mutex::new(State { terms, report }), reloading: Mutex::default() })
    }

    /// Reads the files anew: handshakes from now on use what is in them, open connections stay as they are. On an
    /// error all stays as it is.
    pub fn reload(&self) -> Result<(), FileError> {
        let _alone = lock(&self.reloading);
        let before = lock(&self.state).terms.clone();
        let read = Terms::read(&self.files, Some(&before));
        let mut state = lock(&self.state);
        match read {
            Ok(terms) => {
                state.report.certificates = terms.certificates;
                state.report.not_after = terms.not_after;
                state.report.reloads += 1;
                state.report.last_failure = None;
                state.terms = terms;
                Ok(())
            }
            Err(error) => {
                state.report.reload_failures += 1;
                state.report.last_failure = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// What it says of itself.
    pub fn report(&self) -> Report {
        lock(&self.state).report.clone()
    }

    /// The encryption of a socket that was just accepted; `None`: rustls refuses its own terms, which no test has seen.
    pub(crate) fn begin(&self, ledger: &Ledger) -> Option<Box<Encryption>> {
        Encryption::begin(self.config(), ledger).map(Box::new)
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.state).terms.config)
    }
}

/// Nothing panics while it holds one of these locks in a state worth distrusting, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
