//! Receives files and the terms before · hands out what handshakes are made by · owns every choice that is left to a
//! server: versions, tickets, the protocol above, client certificates.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{Certificates, authorities, problem};
use super::{FileError, Files};

/// Connections of clients without tickets (some of TLS 1.2) that may be taken up, a few hundred bytes each.
const REMEMBERED: usize = 1_024;
/// Tickets given to a client; it uses each once, and comes back with one connection at a time.
const TICKETS: usize = 1;

/// What handshakes are made by.
#[derive(Clone)]
pub struct Terms {
    pub config: Arc<ServerConfig>,
    pub certificates: usize,
    pub not_after: u64,
    /// What clients were given to take up a connection with; under these authorities.
    resumption: Resumption,
}

/// A connection that is taken up is not asked for a certificate again, so what was given to clients is good only for
/// as long as the authorities stay the same.
#[derive(Clone)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    remembered: Arc<dyn StoresServerSessions>,
    authorities: Option<Arc<RootCertStore>>,
}

impl Terms {
    /// Reads the files; clients of the terms before may take up their connections, if they still may.
    pub fn read(files: &Files, before: Option<&Self>) -> Result<Self, FileError> {
        let provider = Arc::new(ring::default_provider());
        let pairs =
            files.certificates.iter().map(PathBuf::as_path).zip(files.keys.iter().map(PathBuf::as_path));
        let certificates = Certificates::read(pairs, &provider)?;
        let roots = files.authorities.as_deref().map(authorities).transpose()?;
        let (count, not_after) = (certificates.len(), certificates.not_after());
        let first = files.certificates.first().cloned().unwrap_or_default();
        // Neither has been seen to fail: ring has the versions, and the system its random numbers.
        let failed = |error: &dyn std::fmt::Display| problem("tls_certificate", &first, error.to_string());
        let resumption = match before.map(|before| &before.resumption) {
            Some(resumption) if are_same(resumption.authorities.as_ref(), roots.as_ref()) => {
                resumption.clone()
            }
            _ => Resumption {
                tickets: ring::Ticketer::new().map_err(|error| failed(&error))?,
                remembered: ServerSessionMemoryCache::new(REMEMBERED),
                authorities: roots.clone(),
            },
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| failed(&error))?;
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(verifier(files, roots, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.ticketer = Arc::clone(&resumption.tickets);
        config.session_storage = Arc::clone(&resumption.remembered);
        config.send_tls13_tickets = TICKETS;
        // A client that speaks HTTP/2 only is refused by its ALPN at once, and not by what follows.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), certificates: count, not_after, resumption })
    }
}

fn are_same(before: Option<&Arc<RootCertStore>>, now: Option<&Arc<RootCertStore>>) -> bool {
    before.map(|roots| &roots.roots) == now.map(|roots| &roots.roots)
}

fn verifier(
    files: &Files,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = if files.requires_client { builder } else { builder.allow_unauthenticated() };
    let file = files.authorities.clone().unwrap_or_default();
    builder.build().map_err(|error| problem("tls_client_authorities", &file, error.to_string()))
}
