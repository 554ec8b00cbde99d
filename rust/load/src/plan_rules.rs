//! Receives a plan · hands out the first thing that is wrong with it · owns what a plan must obey to be run.

use crate::failure::Failure;
use crate::label::LABEL;
use crate::plan::{Check, Plan, Publisher, ScenarioName};
use crate::target::Target;

/// As much as a message that comes may have.
pub(crate) const MOST_BYTES: usize = 1 << 24;

/// A year: longer is a mistake, and every clock can add it.
const LONGEST: f64 = 365.0 * 86_400.0;

impl Plan {
    /// Whether it can be run.
    ///
    /// # Errors
    /// [`Failure::Usage`]: the first thing that is wrong with it.
    pub fn validate(&self) -> Result<(), Failure> {
        Target::read(&self.url)?;
        let times = [
            ("open_timeout", self.open_timeout, 0.001),
            ("warm_up", self.warm_up, 0.0),
            ("seconds", self.seconds, 0.001),
            ("drain", self.drain, 0.0),
            ("pause", self.pause, 0.0),
            ("ping_interval", self.ping_interval.unwrap_or(1.0), 0.001),
        ];
        for (name, value, least) in times {
            if !(least..=LONGEST).contains(&value) {
                return Err(usage(format!(
                    "{name} is {value}; it must be from {least} to {LONGEST} seconds"
                )));
            }
        }
        for (name, value) in [("rate", self.rate), ("connect_rate", self.connect_rate)] {
            if value.is_some_and(|rate| !(0.001..=1e9).contains(&rate)) {
                let value = value.unwrap_or_default();
                return Err(usage(format!("{name} is {value}; it must be from 0.001 to 1e9 a second")));
            }
        }
        for (name, value) in [
            ("connections", self.connections),
            ("in_flight", self.in_flight),
            ("connect_at_once", self.connect_at_once),
        ] {
            if value == Some(0) {
                return Err(usage(format!("{name} is 0; it must be at least 1")));
            }
        }
        if self.size > MOST_BYTES {
            return Err(usage(format!("size is {}; a message has at most {MOST_BYTES} bytes", self.size)));
        }
        if self.rate.is_some() && self.in_flight.is_some() {
            return Err(usage(
                "rate is an open loop and in_flight a closed one; give one of them".to_owned(),
            ));
        }
        self.validate_messages()
    }

    fn validate_messages(&self) -> Result<(), Failure> {
        let template = self.template();
        if self.has_subscribers() && self.publisher != Publisher::External && !template.has_label() {
            return Err(usage(match &self.message {
                Some(_) => "the message needs {seq}, by which a publication is known".to_owned(),
                None => {
                    format!("size is {}; a publication has at least {} bytes", self.size, LABEL)
                }
            }));
        }
        if self.check == Check::Label && !template.has_label() {
            return Err(usage("check is label, and the message has no {seq}".to_owned()));
        }
        if self.scenario == ScenarioName::Slow && self.slow_connections() >= self.connections() {
            let (slow, all) = (self.slow_connections(), self.connections());
            return Err(usage(format!("{slow} of {all} connections are slow; there must be others")));
        }
        for (name, value) in &self.headers {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7F);
            if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_text) {
                return Err(usage(format!("{name:?}: {value:?} is no header")));
            }
        }
        if let Some(name) = self.subprotocols.iter().find(|name| {
            name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;".contains(&byte))
        }) {
            return Err(usage(format!("{name:?} is no subprotocol")));
        }
        Ok(())
    }
}

fn usage(text: String) -> Failure {
    Failure::Usage(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        Plan::read(json).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        assert!(refused(r#"{"scenario": "echo", "url": "ws://h/", "conections": 3}"#).contains("conections"));
        assert!(refused(r#"{"url": "http://h/"}"#).contains("ws://"));
        assert!(refused(r#"{"url": "ws://h/", "rate": 5, "in_flight": 1}"#).contains("closed"));
        assert!(refused(r#"{"url": "ws://h/", "rate": 0}"#).contains("rate is 0"));
        assert!(refused(r#"{"url": "ws://h/", "connections": 0}"#).contains("connections is 0"));
        assert!(refused(r#"{"url": "ws://h/", "seconds": -1}"#).contains("seconds is -1"));
        assert!(refused(r#"{"url": "ws://h/", "scenario": "fanout", "size": 8}"#).contains("16 bytes"));
        assert!(refused(r#"{"url": "ws://h/", "scenario": "fanout", "message": "x"}"#).contains("{seq}"));
        assert!(refused(r#"{"url": "ws://h/", "headers": [["A", "b\r\nC: d"]]}"#).contains("no header"));
        let all = r#"{"url": "ws://h/", "scenario": "slow", "connections": 2, "slow": 2}"#;
        assert!(refused(all).contains("others"));
    }
}
