//! Receives the networks that the operator trusts · hands out whether an address is in one · owns the spelling of
//! networks (RFC 4632 §3.1, RFC 4291 §2.3).

use std::net::IpAddr;
use std::sync::Arc;

/// The word for peers on a Unix socket, which have no address.
const UNIX: &str = "unix";

/// The peers whose word about a client counts: proxies of the operator's own. By default there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    unix: bool,
}

/// A prefix of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// Left-aligned, with zeros behind the prefix.
    bits: u128,
    length: u32,
    is_v4: bool,
}

/// Why an entry is no network. The text names the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {problem}")]
pub struct NetworkError {
    entry: String,
    problem: String,
}

impl NetworkError {
    /// What is wrong, to stand behind the entry.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl TrustedProxies {
    /// Reads networks as `10.0.0.0/8` or `fd00::/8`, single addresses, and `unix` for peers on a Unix socket.
    pub fn listed(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, NetworkError> {
        let (mut networks, mut unix) = (Vec::new(), false);
        for entry in entries {
            let entry = entry.as_ref();
            if entry == UNIX {
                unix = true;
            } else {
                let network = Network::parse(entry);
                networks.push(network.map_err(|problem| NetworkError { entry: entry.to_owned(), problem })?);
            }
        }
        Ok(Self { networks: networks.into(), unix })
    }

    /// Whether this peer's word counts; `None` is one on a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.networks.iter().any(|network| network.holds(address)),
            None => self.unix,
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let (address, length) =
            text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err("is no network; write 10.0.0.0/8, fd00::/8, one address, or unix".to_owned());
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|length| *length <= longest && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| {
                    format!("has no valid prefix length; write 0 to {longest} behind the slash")
                })?,
        };
        let network = Self { bits: left_aligned(address), length, is_v4: address.is_ipv4() };
        // Somebody who writes an address with a length may mean either; only one of them may be trusted.
        if network.bits & !network.mask() != 0 {
            let start = unaligned(network.bits & network.mask(), network.is_v4);
            return Err(format!(
                "has bits set behind its prefix; write {start}/{length} for the network, or the address alone"
            ));
        }
        Ok(network)
    }

    fn holds(self, address: IpAddr) -> bool {
        // An IPv4 peer of a socket for both families shows itself as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        address.is_ipv4() == self.is_v4 && left_aligned(address) & self.mask() == self.bits
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.length).unwrap_or(0)
    }
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn unaligned(bits: u128, is_v4: bool) -> IpAddr {
    if is_v4 { IpAddr::V4(((bits >> 96) as u32).into()) } else { IpAddr::V6(bits.into()) }
}
