//! Receives the names of PEM files, or none · hands out what a client's handshakes are made by · owns every choice that is
//! left to a client: whom it trusts, versions, the protocol above, what it proves itself with. That it checks at all is none.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::FileError;
use super::certificates::{certified, chain, problem};

/// The setting that names authorities.
const AUTHORITIES: &str = "tls_authorities";

/// The files that a client's TLS is made from; all of them PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustFiles {
    /// Authorities that sign servers' certificates, in place of the system's; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// Our own chain, our certificate first, and its key; `None`: a server that asks gets none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a client's handshakes are made by. Connections that share one take up each other's where the server allows it.
pub struct Trust {
    identified: Arc<ClientConfig>,
    anonymous: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the files, which blocks. An error names the first that cannot be used.
    pub fn load(files: &TrustFiles) -> Result<Self, FileError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(match &files.authorities {
            Some(file) => named(file)?,
            None => systems()?,
        });
        let anonymous = config(&provider, Arc::clone(&roots), None)?;
        let identified = match &files.identity {
            None => Arc::clone(&anonymous),
            Some((certificate, key)) => {
                let certified = certified(certificate, key, &provider)?;
                config(&provider, roots, Some(Arc::new(SingleCertAndKey::from(certified))))?
            }
        };
        Ok(Self { identified, anonymous })
    }

    /// The system's authorities, read once in the life of the process.
    pub(crate) async fn of_the_system() -> Result<Arc<Self>, FileError> {
        static SYSTEM: OnceLock<Arc<Trust>> = OnceLock::new();
        if let Some(trust) = SYSTEM.get() {
            return Ok(Arc::clone(trust));
        }
        // Some hundred files, which would hold up whatever else the runtime does.
        let loading = tokio::task::spawn_blocking(|| Self::load(&TrustFiles::default()));
        let ended = |_| problem(AUTHORITIES, Path::new("(the system's)"), "the runtime ended");
        let trust = loading.await.map_err(ended)??;
        Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(trust))))
    }

    /// What to make a handshake by; our certificate is shown only where `is_identified`.
    pub(crate) fn config(&self, is_identified: bool) -> Arc<ClientConfig> {
        Arc::clone(if is_identified { &self.identified } else { &self.anonymous })
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<ClientConfig>, FileError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        // It has not been seen to fail: ring has the versions.
        .map_err(|error| problem(AUTHORITIES, Path::new(""), error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(identity),
    };
    // A server that speaks HTTP/2 as well must not choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authorities in a file. A long list may hold some that nobody understands; one that is understood must be in it.
fn named(file: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(chain(file, AUTHORITIES)?);
    if usable == 0 {
        return Err(problem(AUTHORITIES, file, "holds no certificate of an authority"));
    }
    Ok(roots)
}

/// The authorities of the system; the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
fn systems() -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        let reason = format!("has no authorities{reason}; name a file of such");
        return Err(problem(AUTHORITIES, Path::new("the system"), reason));
    }
    Ok(roots)
}
