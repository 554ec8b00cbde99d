//! Receives PEM files · hands out chains with their keys, and the one that fits a client's SNI · owns what is checked of
//! each: that it can be read, and that key and certificate belong together.

use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::FileError;

/// Large enough for any chain, small enough to be read at a wrong path by mistake.
const MAX_FILE: u64 = 1024 * 1024;

/// The setting that a file was named by.
type Field = &'static str;

/// The certificates of a server. The first one serves clients that name no host, or one that nobody has.
#[derive(Debug)]
pub struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    /// Reads pairs of a chain and its key.
    pub fn read<'a>(
        pairs: impl Iterator<Item = (&'a Path, &'a Path)>,
        provider: &CryptoProvider,
    ) -> Result<Self, FileError> {
        let all: Result<Vec<_>, _> = pairs.map(|(chain, key)| certified(chain, key, provider)).collect();
        Ok(Self(all?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first of them runs out, in seconds since 1970.
    pub fn not_after(&self) -> u64 {
        self.0.iter().filter_map(|one| not_after(one.cert.first()?)).min().unwrap_or_default()
    }

    /// The certificate for a host name: webpki's own rule for exact and `*.` names decides, so that no client is shown
    /// one that it would have to refuse.
    fn for_name(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = ServerName::try_from(name).ok()?;
        self.0.iter().find(|one| {
            one.cert
                .first()
                .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
                .is_some_and(|certificate| verify_server_name(&certificate, &name).is_ok())
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // With one there is nothing to choose, and most servers have one.
        let named = hello.server_name().filter(|_| self.len() > 1).and_then(|name| self.for_name(name));
        named.or_else(|| self.0.first()).cloned()
    }
}

/// The authorities of client certificates.
pub fn authorities(file: &Path) -> Result<Arc<RootCertStore>, FileError> {
    const FIELD: Field = "tls_client_authorities";
    let mut roots = RootCertStore::empty();
    for certificate in chain(file, FIELD)? {
        let refused = |error| problem(FIELD, file, format!("holds what is no authority: {error}"));
        roots.add(certificate).map_err(refused)?;
    }
    Ok(Arc::new(roots))
}

pub fn certified(
    chain_file: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, FileError> {
    const CERTIFICATE: Field = "tls_certificate";
    const KEY: Field = "tls_key";
    let chain = chain(chain_file, CERTIFICATE)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file, KEY)?);
    // Whatever the parser says of a key may quote it.
    let key = key.map_err(|_| problem(KEY, key_file, "holds no private key in PEM without a passphrase"))?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let reason = format!("is not the key of the certificate in {}", chain_file.display());
            Err(problem(KEY, key_file, reason))
        }
        Err(Error::InvalidCertificate(_)) => {
            Err(problem(CERTIFICATE, chain_file, "holds no certificate of use"))
        }
        Err(_) => Err(problem(
            KEY,
            key_file,
            "holds a private key of an unknown kind; use RSA, P-256, P-384 or Ed25519",
        )),
    }
}

pub fn chain(file: &Path, field: Field) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(file, field)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|_| problem(field, file, "is no PEM"))?;
    if found.is_empty() {
        return Err(problem(field, file, "holds no certificate in PEM"));
    }
    Ok(found)
}

fn read(file: &Path, field: Field) -> Result<Vec<u8>, FileError> {
    let size = std::fs::metadata(file).map_err(|error| problem(field, file, error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(problem(field, file, format!("has {size} bytes, more than {MAX_FILE} are not read")));
    }
    std::fs::read(file).map_err(|error| problem(field, file, error.to_string()))
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

pub fn problem(field: Field, file: &Path, reason: impl Into<String>) -> FileError {
    FileError { field, file: file.to_path_buf(), reason: reason.into() }
}
