//! Receives the certificate that a client was verified by · hands out its subject as text · owns that form: RFC 4514,
//! in which every character that could deceive a reader is escaped.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The subject; `None`: it cannot be read, and the client must not pass for one without a certificate.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().subject().to_string().into())
}
