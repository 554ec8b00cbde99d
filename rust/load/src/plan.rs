//! Receives a description of a run as JSON or from code · hands out what every part needs to know of it · owns its
//! fields and their defaults.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::template::Template;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioName {
    /// Send, and await the answer.
    Echo,
    /// Receive what is published.
    Fanout,
    /// Open, and close at once.
    Handshake,
    /// Stay open.
    Idle,
    /// As fan-out, where some stop reading.
    Slow,
    /// Leave and come back at a rate.
    Churn,
    /// Are cut all at once, and come back all at once.
    ReconnectStorm,
}

/// Who sends what subscribers receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publisher {
    /// A connection of ours on another path, whose messages the server publishes.
    Control,
    /// A connection of ours on the same path, as in a chat room; what it receives itself is not looked at.
    Same,
    /// Somebody else: deliveries are counted, and nothing is known of their latency.
    External,
}

/// How closely a message that comes is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// It is, byte by byte, what was sent.
    Exact,
    /// It contains the number of what was sent.
    Label,
    /// It came. Compressed ones are not even inflated.
    Nothing,
}

/// What to run. Times are seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Plan {
    /// What the connections do.
    pub scenario: ScenarioName,
    /// `ws://` or `wss://`, with the path.
    pub url: String,
    /// Connections; for `handshake` openings at once. `None`: as many as suit the scenario.
    pub connections: Option<usize>,
    /// Closed loop: messages in flight, of each connection in `echo`, of the publisher in `fanout` and `slow`. `None`:
    /// 1 and 16, unless there is a rate.
    pub in_flight: Option<usize>,
    /// Open loop: messages a second, all connections together, and latency counts from when each was due. In `churn`,
    /// connections a second. `None`: a closed loop; in `churn` 100.
    pub rate: Option<f64>,
    /// Bytes of a message, unless its template says otherwise.
    pub size: usize,
    /// Template of the messages sent. `None`: `{seq}{pad}`.
    pub message: Option<String>,
    /// Sends binary messages.
    pub binary: bool,
    /// How closely what comes is looked at.
    pub check: Check,
    /// Who publishes.
    pub publisher: Publisher,
    /// The path of the publishing connection.
    pub control_path: String,
    /// Templates of messages that a connection sends as soon as it is open.
    pub hello: Vec<String>,
    /// Headers of the opening handshake beside those it must have.
    pub headers: Vec<(String, String)>,
    /// Subprotocols offered.
    pub subprotocols: Vec<String>,
    /// Offers permessage-deflate without context takeover.
    pub compression: bool,
    /// A file with the certificates that are trusted.
    pub ca: Option<PathBuf>,
    /// Trusts any certificate.
    pub insecure: bool,
    /// Resumes TLS, as a browser that comes back does.
    pub tls_resume: bool,
    /// Addresses to connect from, in turn. Empty: the system's choice, and beyond 25,000 connections to 127.0.0.1 as
    /// many loopback addresses as it takes.
    pub sources: Vec<IpAddr>,
    /// Connections opened a second. `None`: as fast as they open.
    pub connect_rate: Option<f64>,
    /// Openings under way at once. `None`: 100; all of them in `reconnect-storm`.
    pub connect_at_once: Option<usize>,
    /// From the first packet to the 101.
    pub open_timeout: f64,
    /// Load before the window, in which nothing is counted.
    pub warm_up: f64,
    /// The window.
    pub seconds: f64,
    /// What is in flight at the end may take so long.
    pub drain: f64,
    /// The server's processes.
    pub pids: Vec<u32>,
    /// `idle`: seconds between two pings on a connection. `None`: none is sent.
    pub ping_interval: Option<f64>,
    /// `slow`: how many of the connections are. `None`: every tenth.
    pub slow: Option<usize>,
    /// `slow`: bytes a second that each of them reads; 0: none.
    pub slow_rate: u64,
    /// `reconnect-storm`: from everybody being back to the next cut.
    pub pause: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            scenario: ScenarioName::Echo,
            url: String::new(),
            connections: None,
            in_flight: None,
            rate: None,
            size: 128,
            message: None,
            binary: false,
            check: Check::Exact,
            publisher: Publisher::Control,
            control_path: "/control".to_owned(),
            hello: Vec::new(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            compression: false,
            ca: None,
            insecure: false,
            tls_resume: false,
            sources: Vec::new(),
            connect_rate: None,
            connect_at_once: None,
            open_timeout: 10.0,
            warm_up: 1.0,
            seconds: 5.0,
            drain: 10.0,
            pids: Vec::new(),
            ping_interval: None,
            slow: None,
            slow_rate: 0,
            pause: 1.0,
        }
    }
}

impl Plan {
    /// Reads a plan; what is left out has its default.
    ///
    /// # Errors
    /// [`Failure::Usage`]: it is no plan, or cannot be run.
    pub fn read(json: &str) -> Result<Self, Failure> {
        let plan: Self =
            serde_json::from_str(json).map_err(|error| Failure::Usage(format!("no plan: {error}")))?;
        plan.validate()?;
        Ok(plan)
    }

    /// Connections, without the publisher's.
    pub fn connections(&self) -> usize {
        self.connections.unwrap_or(match self.scenario {
            ScenarioName::Echo | ScenarioName::Churn => 100,
            ScenarioName::Handshake => self.in_flight.unwrap_or(1),
            _ => 1000,
        })
    }

    /// Messages in flight of a closed loop.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.unwrap_or(if self.scenario == ScenarioName::Echo { 1 } else { 16 })
    }

    /// Connections that do not read.
    pub(crate) fn slow_connections(&self) -> usize {
        match self.scenario {
            ScenarioName::Slow => self.slow.unwrap_or(self.connections() / 10),
            _ => 0,
        }
    }

    /// Openings under way at once.
    pub(crate) fn connect_at_once(&self) -> usize {
        self.connect_at_once.unwrap_or(match self.scenario {
            ScenarioName::ReconnectStorm => usize::MAX,
            ScenarioName::Handshake => self.connections(),
            _ => 100,
        })
    }

    /// What is sent.
    pub(crate) fn template(&self) -> Template {
        match &self.message {
            Some(text) => Template::read(text, self.size),
            None => Template::plain(self.size),
        }
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        matches!(self.scenario, ScenarioName::Fanout | ScenarioName::Slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default_for_the_scenario() {
        let connections = |scenario: &str| {
            let json = format!(r#"{{"scenario": "{scenario}", "url": "ws://127.0.0.1:1/"}}"#);
            Plan::read(&json).unwrap().connections()
        };
        assert_eq!(["echo", "fanout", "handshake"].map(connections), [100, 1000, 1]);
        let json = r#"{"scenario": "slow", "url": "ws://h/", "connections": 50}"#;
        assert_eq!(Plan::read(json).unwrap().slow_connections(), 5);
    }

    #[test]
    fn a_plan_survives_being_written() {
        let json =
            r#"{"scenario": "reconnect-storm", "url": "ws://h/", "headers": [["A", "b"]], "check": "label"}"#;
        let plan = Plan::read(json).unwrap();
        let again = Plan::read(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!((again.scenario, again.headers), (plan.scenario, vec![("A".into(), "b".into())]));
    }
}
