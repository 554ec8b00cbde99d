//! Receives a server and its readiness · hands out what `/metrics` says, as OpenMetrics text · owns names, units
//! and help of every family, and the bounds of their label sets.

mod families;

use std::borrow::Cow;
use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Registry, Unit};
use streamconductor_core::close::{CloseCode, Ending};
use streamconductor_core::shard::securing::TlsVersion;
use streamconductor_core::stats::Outcome;

use crate::readiness::Readiness;
use crate::server::Server;
use crate::status::{POLICIES, STATES, Snapshot};
use families::Families;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Health checks that get series of their own; those beyond, in the order of their names, get none.
const MAX_CHECKS: usize = 64;

/// Every degradation level.
const LEVELS: [&str; 4] = ["normal", "refusing", "shedding", "draining"];

/// Every state of a health check.
const CHECK_STATES: [&str; 4] = ["ok", "degraded", "failed", "stale"];

/// All metrics. Asks every shard, so it takes about a turn, at most a second; never call it on a shard.
pub fn metrics(server: &Server, readiness: &Readiness) -> String {
    text(Snapshot::take(server, readiness))
}

fn text(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("streamconductor");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::with_capacity(32 * 1024);
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> std::fmt::Result {
        let mut families = Families::new(encoder);
        self.encode_server(&mut families)?;
        self.encode_connections(&mut families)?;
        self.encode_tls(&mut families)?;
        self.encode_traffic(&mut families)?;
        self.encode_compression(&mut families)?;
        self.encode_memory(&mut families)?;
        self.encode_loops(&mut families)
    }
}

impl Snapshot {
    fn encode_server(&self, families: &mut Families) -> std::fmt::Result {
        families.info("build", "The version that runs", "version", env!("CARGO_PKG_VERSION"))?;
        let uptime = self.uptime.as_secs_f64();
        families.gauge("uptime", "Since the server started", Some(&Unit::Seconds), &uptime)?;
        let ready = u64::from(self.report.ready);
        families.gauge("ready", "1 when the server should get new connections, else 0", None, &ready)?;
        let levels = LEVELS.map(|level| (level, u64::from(level == self.degradation.name)));
        families.gauges("level", "1 for the degradation level that stands", None, "level", levels)?;
        let stalled = self.report.python_stalled_seconds;
        families.gauge(
            "python_stalled",
            "For how long the application's loop has not run",
            Some(&Unit::Seconds),
            &stalled,
        )?;
        let checks = self.report.checks.iter().take(MAX_CHECKS).flat_map(|(name, check)| {
            CHECK_STATES
                .map(|state| ([("check", &**name), ("state", state)], u64::from(check.state == state)))
        });
        families.gauges_by("health_check", "1 for the state that each health check is in", None, checks)
    }

    fn encode_connections(&self, families: &mut Families) -> std::fmt::Result {
        let stats = &self.stats;
        let states = STATES.iter().map(|state| state.name()).zip(stats.states);
        families.gauges("connections", "Connections by finer state", None, "state", states)?;
        let accepted = stats.accepted;
        families.counter("accepted_sockets", "Sockets taken from the kernel", None, &accepted)?;
        let handshakes = Outcome::NAMES.into_iter().zip(stats.handshakes);
        families.counters("handshakes", "Opening handshakes by outcome", None, "outcome", handshakes)?;
        let endings = Ending::NAMES.into_iter().zip(stats.endings);
        families.counters("closes", "Connections ended, by cause", None, "ending", endings)?;
        let codes = by_code(&stats.codes);
        families.counters("close_codes", "Connections ended, by close code", None, "code", codes)?;
        let starved = "Times that the kernel had no descriptor or memory for an accept";
        families.counter("accepts_starved", starved, None, &self.starved)?;
        let places = [("connections", self.connections), ("pending", self.pending)];
        let used = places.map(|(name, usage)| (name, usage.used as u64));
        families.gauges("pool_used", "Places taken", None, "places", used)?;
        let maximum = places.map(|(name, usage)| (name, usage.maximum as u64));
        families.gauges("pool_maximum", "Places that there are", None, "places", maximum)?;
        let peak = places.map(|(name, usage)| (name, usage.peak as u64));
        families.gauges("pool_peak", "The most places ever taken at once", None, "places", peak)?;
        let parts = places.map(|(name, usage)| (name, usage.utilisation()));
        families.gauges(
            "pool_utilisation",
            "The part of the places that is taken; above 1 after the maximum was lowered",
            Some(&Unit::Other("ratio".to_owned())),
            "places",
            parts,
        )?;
        let known = "Connections that the application has not finished with";
        families.gauge("known_connections", known, None, &self.known)
    }

    fn encode_tls(&self, families: &mut Families) -> std::fmt::Result {
        let Some(report) = &self.tls else { return Ok(()) };
        let established = TlsVersion::NAMES.into_iter().zip(self.stats.secured);
        families.counters("tls_handshakes", "TLS handshakes completed", None, "version", established)?;
        let resumed = "TLS handshakes that took up an earlier connection";
        families.counter("tls_resumed_handshakes", resumed, None, &self.stats.resumed)?;
        let reloads = "Times that the files of certificates were read anew and taken";
        families.counter("tls_reloads", reloads, None, &report.reloads)?;
        let failures = "Times that they were read anew, and what was in force stayed";
        families.counter("tls_reload_failures", failures, None, &report.reload_failures)?;
        let not_after = "When the first certificate runs out, since 1970";
        families.gauge("tls_certificate_not_after", not_after, Some(&Unit::Seconds), &report.not_after)
    }

    fn encode_traffic(&self, families: &mut Families) -> std::fmt::Result {
        let stats = &self.stats;
        families.flow("received", "received", stats.received)?;
        families.flow("accepted", "accepted for sending", stats.sending)?;
        families.flow("sent", "written to sockets", stats.written)?;
        families.flow("discarded", "discarded because their connection ended", stats.discarded)?;
        let dropped = || POLICIES.into_iter().zip(stats.dropped);
        let messages = dropped().map(|(policy, flow)| (policy, flow.messages));
        families.counters("dropped_messages", "Messages dropped by policy", None, "policy", messages)?;
        let bytes = dropped().map(|(policy, flow)| (policy, flow.bytes));
        families.counters(
            "dropped",
            "Bytes of messages dropped by policy",
            Some(&Unit::Bytes),
            "policy",
            bytes,
        )?;
        let pending = stats.pending();
        let buffered = "Messages accepted that came to no end yet";
        families.gauge("buffered_messages", buffered, None, &pending.messages)?;
        families.gauge("buffered", "Bytes of those messages", Some(&Unit::Bytes), &pending.bytes)?;
        let backlogged = "Connections with pending bytes";
        families.gauge("backlogged_connections", backlogged, None, &stats.backlogged)?;
        families.counter("publications", "Publications taken by channels", None, &stats.published)?;
        families.histogram("round_trip", "Round trips of pings", &stats.round_trip)?;
        let lag = "How long the oldest pending byte waited until its socket took it";
        families.histogram("delivery_lag", lag, &stats.lag)?;
        families.gauge("channels", "Channels with subscribers", None, &self.channels.count)?;
        let subscriptions = self.channels.subscriptions;
        families.gauge("subscriptions", "Subscriptions to channels", None, &subscriptions)
    }

    fn encode_compression(&self, families: &mut Families) -> std::fmt::Result {
        let deflating = "Connections that negotiated permessage-deflate";
        families.gauge("compression_connections", deflating, None, &self.deflating)?;
        let ways = [("out", self.stats.compressed), ("in", self.stats.inflated)];
        let messages = ways.map(|(way, counted)| (way, counted.messages));
        let help = "Messages compressed (once, however many get them) and inflated";
        families.counters("compression_messages", help, None, "direction", messages)?;
        let plain = ways.map(|(way, counted)| (way, counted.plain));
        let help = "Bytes of those messages as the application has them";
        families.counters("compression_plain", help, Some(&Unit::Bytes), "direction", plain)?;
        let deflated = ways.map(|(way, counted)| (way, counted.deflated));
        let help = "Bytes of those messages as they are on the network";
        families.counters("compression_deflated", help, Some(&Unit::Bytes), "direction", deflated)
    }

    fn encode_memory(&self, families: &mut Families) -> std::fmt::Result {
        let bytes = Some(&Unit::Bytes);
        let owners = self.owners.iter().map(|(owner, held)| (owner.name(), *held as u64));
        families.gauges("ledger", "Bytes of buffers, by who holds them", bytes, "owner", owners)?;
        let used = "Bytes counted against the budget, leases of shards included";
        families.gauge("ledger_used", used, bytes, &self.used)?;
        let budget = "Bytes that all buffers together may take";
        families.gauge("ledger_budget", budget, bytes, &self.budget)
    }

    fn encode_loops(&self, families: &mut Families) -> std::fmt::Result {
        let stats = &self.stats;
        families.gauge("shards", "Shards", None, &self.shards)?;
        let missing = "Shards that did not answer in time: their counts are those of their last answer";
        families.gauge("shards_missing", missing, None, &self.missing)?;
        families.counter("turns", "Turns of the shards' loops", None, &stats.turns)?;
        let longest = stats.longest_turn.as_secs_f64();
        families.gauge("longest_turn", "The longest turn of a shard", Some(&Unit::Seconds), &longest)?;
        families.counter("writes", "Writes to sockets", None, &stats.writes)?;
        families.counter("pings", "Pings sent", None, &stats.pings)?;
        let stale = "Commands for connections that had ended already";
        families.counter("stale_commands", stale, None, &stats.stale)?;
        let wakes = [("commands", self.command_wakes), ("events", self.event_wakes)];
        families.counters("mailbox_wakes", "Wakes of those who read mailboxes", None, "mailbox", wakes)?;
        let waiting = "Events that the application's loop has not taken";
        families.gauge("python_events_waiting", waiting, None, &self.events_waiting)
    }
}

/// Peers choose their close codes: the registered ones and ours keep their number, the rest their range.
fn by_code(codes: &BTreeMap<u16, u64>) -> BTreeMap<Cow<'static, str>, u64> {
    let ours = [CloseCode::SLOW_CONSUMER, CloseCode::TOKEN_EXPIRED, CloseCode::DISCONNECTED];
    let mut counts = BTreeMap::new();
    for (code, count) in codes {
        let label = match code {
            code if (1_000..=1_015).contains(code) || ours.contains(&CloseCode(*code)) => {
                code.to_string().into()
            }
            3_000..=3_999 => "3xxx".into(),
            4_000..=4_999 => "4xxx".into(),
            _ => "other".into(),
        };
        *counts.entry(label).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_peers_choose_make_no_series_of_their_own() {
        let codes: BTreeMap<u16, u64> = (0..=u16::MAX).map(|code| (code, 1)).collect();
        let counts = by_code(&codes);
        assert_eq!(counts.len(), 16 + 3 + 3);
        assert_eq!(counts.values().sum::<u64>(), 65_536);
        assert_eq!((counts["1000"], counts["4008"], counts["3xxx"], counts["4xxx"]), (1, 1, 1_000, 997));
    }
}
