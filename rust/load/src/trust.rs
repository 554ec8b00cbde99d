//! Receives a file of certificates, or that anything goes · hands out a TLS client's configuration · owns whom a run
//! trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// A TLS client's configuration that trusts what is in a file: a certificate authority's certificates, or a server's
/// own.
pub(crate) fn trusting(option: &str, file: &Path) -> Result<ClientConfig, String> {
    let failed = |what: &str, error: &dyn ToString| {
        format!("{option} {}: {what}: {}", file.display(), error.to_string())
    };
    let mut roots = RootCertStore::empty();
    let listed = CertificateDer::pem_file_iter(file).map_err(|error| failed("cannot be read", &error))?;
    let listed: Result<Vec<_>, _> = listed.collect();
    // A system's list may hold some that no library understands; one that is understood must be among them.
    let (usable, _) = roots.add_parsable_certificates(listed.map_err(|error| failed("no PEM", &error))?);
    if usable == 0 {
        return Err(failed("no certificate", &"nothing in it can be trusted"));
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| failed("no TLS version", &error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// One that trusts anybody.
pub(crate) fn trusting_anybody() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let verifier = Arc::new(Anybody(provider()));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Has every handshake be a whole one.
pub(crate) fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Takes every certificate; signatures are checked all the same, so that the work is that of a real client.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
