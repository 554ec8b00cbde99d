//! Receives a plan · hands out sockets that begin to connect, and what each asks for · owns the server's address, the
//! requests, TLS and the addresses to connect from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::deflating::OFFER;
use crate::failure::Failure;
use crate::opening::{Answer, request_with};
use crate::plan::{Plan, Publisher, ScenarioName};
use crate::target::Target;
use crate::transport::{Security, Transport};
use crate::trust::{trusting, trusting_anybody, without_resumption};

/// Which of two paths a connection asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// That of the URL.
    Main,
    /// The one whose messages the server publishes.
    Control,
}

/// Where to connect, and how.
#[derive(Debug)]
pub(crate) struct Site {
    address: SocketAddr,
    main: Vec<u8>,
    control: Vec<u8>,
    security: Option<Security>,
    sources: Vec<IpAddr>,
    subprotocols: Vec<String>,
    is_compressed: bool,
    opened: usize,
}

/// The ports that a system gives out by itself are some 28,000; a few are left to others.
const CONNECTIONS_PER_SOURCE: usize = 25_000;

impl Site {
    pub(crate) fn new(plan: &Plan) -> Result<Self, Failure> {
        let target = Target::read(&plan.url)?;
        let address = target.resolve()?;
        let security = target.is_tls.then(|| security(plan, &target)).transpose()?;
        let offer = plan.compression.then_some(OFFER);
        let request = |path: &str| {
            request_with(&target.authority(), path, offer, &plan.subprotocols, &plan.headers).into_bytes()
        };
        let control = match plan.publisher {
            Publisher::Control => &plan.control_path,
            Publisher::Same | Publisher::External => &target.path,
        };
        Ok(Self {
            address,
            main: request(&target.path),
            control: request(control),
            security,
            sources: sources(plan, address)?,
            subprotocols: plan.subprotocols.clone(),
            is_compressed: plan.compression,
            opened: 0,
        })
    }

    /// What a connection asks for.
    pub(crate) fn request(&self, way: Way) -> &[u8] {
        match way {
            Way::Main => &self.main,
            Way::Control => &self.control,
        }
    }

    /// Begins to connect.
    pub(crate) fn connect(&mut self) -> io::Result<Transport> {
        let source =
            self.sources.get(self.opened.checked_rem(self.sources.len()).unwrap_or_default()).copied();
        self.opened += 1;
        Transport::connect(self.address, self.security.as_ref(), source, None)
    }

    /// Whether the server chose only what it was offered.
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), String> {
        if answer.extensions.is_some() && !self.is_compressed {
            return Err("the server chose an extension that was not offered".to_owned());
        }
        match &answer.subprotocol {
            Some(chosen) if !self.subprotocols.contains(chosen) => {
                Err(format!("the server chose the subprotocol {chosen:?}, which was not offered"))
            }
            _ => Ok(()),
        }
    }
}

fn security(plan: &Plan, target: &Target) -> Result<Security, Failure> {
    let trust = match (&plan.ca, plan.insecure) {
        (_, true) => trusting_anybody(),
        (Some(file), false) => trusting("ca", file),
        (None, false) => {
            Err("wss:// needs ca, a file with the certificates to trust, or insecure".to_owned())
        }
    };
    let mut trust = trust.map_err(Failure::Usage)?;
    if !plan.tls_resume {
        trust = without_resumption(trust);
    }
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|error| Failure::Usage(format!("{}: {error}", target.host)))?;
    Ok(Security { trust: Arc::new(trust), name })
}

/// Those that are named; else, towards this host, as many as the connections need ports for.
fn sources(plan: &Plan, address: SocketAddr) -> Result<Vec<IpAddr>, Failure> {
    if let Some(other) = plan.sources.iter().find(|source| source.is_ipv4() != address.is_ipv4()) {
        return Err(Failure::Usage(format!(
            "{other} cannot connect to {address}: they are of different families"
        )));
    }
    // Those that have left need their ports for a while.
    let crowd = match plan.scenario {
        ScenarioName::Handshake | ScenarioName::Churn => CONNECTIONS_PER_SOURCE + 1,
        _ => plan.connections(),
    };
    let is_local = address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && cfg!(target_os = "linux");
    if !plan.sources.is_empty() || !is_local || crowd <= CONNECTIONS_PER_SOURCE {
        return Ok(plan.sources.clone());
    }
    let count = crowd.div_ceil(CONNECTIONS_PER_SOURCE).min(250) as u8;
    Ok((1..=count).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(json: &str) -> Result<usize, Failure> {
        let plan: Plan = serde_json::from_str(json).unwrap();
        sources(&plan, "127.0.0.1:80".parse().unwrap()).map(|sources| sources.len())
    }

    #[test]
    fn loopback_connections_get_as_many_addresses_as_they_need() {
        assert_eq!(addresses(r#"{"connections": 25000}"#).unwrap(), 0);
        assert_eq!(addresses(r#"{"connections": 60000}"#).unwrap(), 3);
        assert_eq!(addresses(r#"{"connections": 60000, "sources": ["127.0.0.9"]}"#).unwrap(), 1);
        assert!(addresses(r#"{"sources": ["::1"]}"#).is_err());
    }

    #[test]
    fn what_was_not_offered_may_not_be_chosen() {
        let site = |json: &str| Site::new(&serde_json::from_str(json).unwrap()).unwrap();
        let answer = |extensions: Option<&str>, subprotocol: Option<&str>| Answer {
            head: 0,
            extensions: extensions.map(str::to_owned),
            subprotocol: subprotocol.map(str::to_owned),
        };
        let plain = site(r#"{"url": "ws://127.0.0.1:1/", "subprotocols": ["a"]}"#);
        assert!(plain.check(&answer(None, None)).is_ok() && plain.check(&answer(None, Some("a"))).is_ok());
        assert!(
            plain.check(&answer(Some("x"), None)).is_err() && plain.check(&answer(None, Some("b"))).is_err()
        );
        assert!(Site::new(&serde_json::from_str(r#"{"url": "wss://127.0.0.1:1/"}"#).unwrap()).is_err());
    }
}
