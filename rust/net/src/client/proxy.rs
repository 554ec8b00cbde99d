//! Receives the choice of a proxy, and the environment · hands out the proxy that leads to a target · owns which variables
//! are read and whom they leave out, as `websockets` and Python's `urllib` do it.

use std::net::IpAddr;

use url::{Position, Url};

use super::error::DialError;
use super::target::{self, Target, UserInfo};

/// Whether and through which proxy connections are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// Through none.
    Direct,
    /// Through what the environment names: for wss `wss_proxy`, `socks_proxy` and `https_proxy`, for ws `ws_proxy`,
    /// `socks_proxy`, `https_proxy` and `http_proxy`, the first that is set; `no_proxy` lists hosts that are reached
    /// directly. Names may be upper case, and lower case goes first.
    #[default]
    Environment,
    /// Through the proxy at this URL, `http://[user:password@]host[:port]`.
    At(String),
}

/// An HTTP proxy.
#[derive(Clone)]
pub struct Proxy {
    pub host: String,
    pub address: Option<IpAddr>,
    pub port: u16,
    pub user_info: Option<UserInfo>,
}

impl Proxy {
    /// The proxy that leads to `target`, `None`: it is reached directly. `variable` looks a variable up.
    pub fn choose(
        choice: &ProxyChoice,
        target: &Target,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, DialError> {
        let url = match choice {
            ProxyChoice::Direct => None,
            ProxyChoice::At(url) => Some(url.clone()),
            ProxyChoice::Environment => named(target, variable),
        };
        url.map(|url| Self::parse(&url)).transpose()
    }

    fn parse(text: &str) -> Result<Self, DialError> {
        let invalid = |reason: String| DialError::invalid("proxy", reason);
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = target::read("proxy", &text)?;
        match url.scheme() {
            "http" => {}
            scheme => {
                let reason = format!(
                    "{scheme}:// is not supported; name an http:// proxy, which carries wss:// encrypted all the same, or none"
                );
                return Err(invalid(reason));
            }
        }
        if !matches!(&url[Position::BeforePath..], "" | "/") {
            return Err(invalid(
                "has a path, a query or a fragment, which mean nothing to a proxy".to_owned(),
            ));
        }
        let user_info = target::user_info("proxy", &url)?;
        Ok(Self {
            host: target::host_of(&url),
            address: target::address_of(&url),
            port: port(&url),
            user_info,
        })
    }

    /// Host and port, as messages may show them.
    pub fn shown(&self) -> String {
        match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(80)
}

/// The proxy that the environment names for `target`.
fn named(target: &Target, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let lookup = |name: &str| {
        // Set and empty means none, whatever the other spelling says.
        let found = variable(name).or_else(|| {
            // A CGI program gets the header `Proxy` of a stranger's request by this name.
            let is_strangers = name == "http_proxy" && variable("REQUEST_METHOD").is_some();
            if is_strangers { None } else { variable(&name.to_ascii_uppercase()) }
        });
        found.filter(|value| !value.is_empty())
    };
    if lookup("no_proxy").is_some_and(|list| is_left_out(&list, target)) {
        return None;
    }
    let names: &[&str] = if target.is_secure() {
        &["wss_proxy", "socks_proxy", "https_proxy"]
    } else {
        &["ws_proxy", "socks_proxy", "https_proxy", "http_proxy"]
    };
    let (name, value) = names.iter().find_map(|name| lookup(name).map(|value| (*name, value)))?;
    // What stands there for SOCKS is often written like an HTTP proxy, and is none.
    let is_socks = name == "socks_proxy" && !value.starts_with("socks");
    Some(if is_socks { format!("socks5h://{}", value.trim_start_matches("http://")) } else { value })
}

/// Whether the list of `no_proxy` names the target: its host, host and port, or a domain above it.
fn is_left_out(list: &str, target: &Target) -> bool {
    let host = target.host().to_ascii_lowercase();
    let with_port = target.authority().to_ascii_lowercase();
    list.split(',').map(|name| name.trim().trim_start_matches('.').to_ascii_lowercase()).any(|name| {
        let is_domain_above = |host: &str| host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'));
        name == "*"
            || !name.is_empty()
                && (name == host
                    || name == with_port
                    || name.trim_matches(['[', ']']) == host
                    || is_domain_above(&host)
                    || is_domain_above(&with_port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy's host and port for a URL, given variables.
    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let target = Target::parse(url).unwrap().0;
        Proxy::choose(&ProxyChoice::Environment, &target, variable).unwrap().map(|proxy| proxy.shown())
    }

    #[test]
    fn the_environment_is_read_as_websockets_reads_it() {
        let (http, https) = (("http_proxy", "http://a:1"), ("https_proxy", "http://b:2"));
        assert_eq!(chosen("ws://x/", &[http]).as_deref(), Some("a:1"));
        assert_eq!(chosen("ws://x/", &[http, https]).as_deref(), Some("b:2"), "https goes first");
        assert_eq!(chosen("wss://x/", &[http]), None);
        assert_eq!(chosen("wss://x/", &[https, ("wss_proxy", "c:3")]).as_deref(), Some("c:3"));
        assert_eq!(chosen("ws://x/", &[("HTTP_PROXY", "http://d")]).as_deref(), Some("d:80"));
        assert_eq!(chosen("ws://x/", &[("http_proxy", ""), ("HTTP_PROXY", "http://d")]), None);
        assert_eq!(chosen("ws://x/", &[("HTTP_PROXY", "http://d"), ("REQUEST_METHOD", "GET")]), None);
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_ports() {
        let left_out =
            |url: &str, list: &str| chosen(url, &[("https_proxy", "http://p"), ("no_proxy", list)]).is_none();
        for list in ["*", "x.org", "org, y", " .org", "x.org:80", "a,x.org"] {
            assert!(left_out("ws://X.org/", list), "{list}");
        }
        for list in ["", "y.org", "rg", "x.org:81", "a.x.org"] {
            assert!(!left_out("ws://x.org/", list), "{list}");
        }
        assert!(left_out("ws://[::1]:9/", "::1") && left_out("ws://[::1]:9/", "[::1]:9"));
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_password() {
        let target = Target::parse("ws://x/").unwrap().0;
        let choose = |url: &str| Proxy::choose(&ProxyChoice::At(url.to_owned()), &target, |_| None);
        for url in ["https://u:secret@p", "socks5://p", "http://p/path", "http://p/?q", "http://p\r\nX: y"] {
            let error = choose(url).err().unwrap();
            let DialError::Invalid { option: "proxy", .. } = &error else { panic!("{url:?}: {error}") };
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let proxy = choose("http://u%40:p%3A@[::1]").unwrap().unwrap();
        let info = proxy.user_info.clone().unwrap();
        assert_eq!((info.user.as_str(), info.password.as_str(), proxy.port), ("u@", "p:", 80));
    }
}
