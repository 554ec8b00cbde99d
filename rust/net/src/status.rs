//! Receives a server and its readiness · hands out what `/status` says, as JSON · owns the layout, which is
//! published as `streamconductor/schema/status.schema.json`.

mod snapshot;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use streamconductor_core::close::Ending;
use streamconductor_core::pool::Usage;
use streamconductor_core::shard::securing::TlsVersion;
use streamconductor_core::stats::{Deflated, Flow, Histogram, Outcome};

use crate::readiness::Readiness;
use crate::server::Server;

pub(crate) use snapshot::{POLICIES, STATES, Snapshot};

/// Close codes told apart; those that ended fewer connections are added up under `other`.
const MAX_CODES: usize = 64;

/// What only the caller knows.
#[derive(Clone, Debug, Default)]
pub struct StatusExtra {
    /// The feeds by name, each as a JSON object; anything else counts as none.
    pub feeds: Value,
}

/// The whole status. Asks every shard, so it takes about a turn, at most a second; never call it on a shard.
/// It names no user, path, query string, token or payload; of channels the most subscribed are named.
pub fn status(server: &Server, readiness: &Readiness, extra: StatusExtra) -> Value {
    render(&Snapshot::take(server, readiness), extra)
}

fn render(snapshot: &Snapshot, extra: StatusExtra) -> Value {
    let stats = &snapshot.stats;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": snapshot.uptime.as_secs_f64(),
        "level": snapshot.degradation,
        "readiness": snapshot.report,
        "pool": {
            "connections": usage(snapshot.connections),
            "pending": usage(snapshot.pending),
            "known": snapshot.known,
        },
        "states": named(STATES.iter().map(|state| state.name()), &stats.states),
        "handshakes": named(Outcome::NAMES, &stats.handshakes),
        "tls": snapshot.tls.as_ref().map(|report| json!({
            "files": report,
            "established": named(TlsVersion::NAMES, &stats.secured),
            "resumed": stats.resumed,
        })),
        "endings": named(Ending::NAMES, &stats.endings),
        "close_codes": close_codes(&stats.codes),
        "traffic": {
            "received": flow(stats.received),
            "accepted": flow(stats.sending),
            "written": flow(stats.written),
            "dropped": Value::Object(
                POLICIES.iter().zip(stats.dropped).map(|(name, dropped)| ((*name).to_owned(), flow(dropped))).collect()
            ),
            "discarded": flow(stats.discarded),
            "pending": flow(stats.pending()),
            "connections_with_pending": stats.backlogged,
        },
        "compression": {
            "connections": snapshot.deflating,
            "compressed": deflated(stats.compressed),
            "inflated": deflated(stats.inflated),
        },
        "ledger": {
            "budget": snapshot.budget,
            "used": snapshot.used,
            "owners": Value::Object(
                snapshot.owners.iter().map(|(owner, bytes)| (owner.name().to_owned(), json!(bytes))).collect()
            ),
        },
        "round_trip": durations(&stats.round_trip),
        "lag": durations(&stats.lag),
        "shards": {
            "count": snapshot.shards,
            "missing": snapshot.missing,
            "longest_turn_seconds": stats.longest_turn.as_secs_f64(),
            "turns": stats.turns,
            "writes": stats.writes,
            "wakes": snapshot.command_wakes,
            "accepted": stats.accepted,
            "published": stats.published,
            "pings": stats.pings,
            "stale": stats.stale,
        },
        "channels": {
            "count": snapshot.channels.count,
            "subscriptions": snapshot.channels.subscriptions,
            "largest": snapshot.channels.largest.iter()
                .map(|(name, subscribers)| json!({"name": name, "subscribers": subscribers}))
                .collect::<Vec<_>>(),
        },
        "python": {
            "stalled_seconds": snapshot.report.python_stalled_seconds,
            "events_waiting": snapshot.events_waiting,
            "wakes": snapshot.event_wakes,
        },
        "accept_starved": snapshot.starved,
        "feeds": if extra.feeds.is_object() { extra.feeds } else { Value::Object(Map::new()) },
        "addresses": snapshot.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "used": usage.used,
        "maximum": usage.maximum,
        "peak": usage.peak,
        "utilisation": usage.utilisation(),
    })
}

fn flow(flow: Flow) -> Value {
    json!({"messages": flow.messages, "bytes": flow.bytes})
}

fn deflated(deflated: Deflated) -> Value {
    json!({
        "messages": deflated.messages,
        "plain_bytes": deflated.plain,
        "deflated_bytes": deflated.deflated,
    })
}

fn durations(histogram: &Histogram) -> Value {
    json!({
        "count": histogram.count(),
        "p50_seconds": percentile(histogram, 50),
        "p99_seconds": percentile(histogram, 99),
    })
}

fn named(names: impl IntoIterator<Item = &'static str>, counts: &[u64]) -> Value {
    Value::Object(
        names.into_iter().zip(counts).map(|(name, count)| (name.to_owned(), json!(count))).collect(),
    )
}

/// Peers choose their close codes, so there may be thousands of them.
fn close_codes(codes: &BTreeMap<u16, u64>) -> Value {
    let mut counts: Vec<_> = codes.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let rest: u64 = counts.iter().skip(MAX_CODES).map(|(_, count)| **count).sum();
    let mut shown: Map<_, _> =
        counts.iter().take(MAX_CODES).map(|(code, count)| (code.to_string(), json!(count))).collect();
    if rest > 0 {
        shown.insert("other".to_owned(), json!(rest));
    }
    Value::Object(shown)
}

/// The duration in seconds that `percent` of those counted do not exceed: linear within its bucket. In the last
/// bucket, which has no upper bound, its lower one. `None`: nothing was counted.
fn percentile(histogram: &Histogram, percent: u64) -> Option<f64> {
    let count = histogram.count();
    let rank = (u128::from(count) * u128::from(percent)).div_ceil(100) as u64;
    let (mut below, mut lower) = (0, 0.0);
    for (bound, within) in histogram.buckets() {
        let Some(upper) = bound else { break };
        if within > 0 && rank <= below + within {
            #[expect(clippy::cast_precision_loss, reason = "an estimate of a duration")]
            let part = (rank - below) as f64 / within as f64;
            return Some(lower + (upper - lower) * part);
        }
        below += within;
        lower = upper;
    }
    (count > 0).then_some(lower)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_lie_in_the_bucket_of_their_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(percentile(&histogram, 50), None);
        for _ in 0..98 {
            histogram.record(Duration::from_micros(100));
        }
        for _ in 0..2 {
            histogram.record(Duration::from_secs(100));
        }
        let (median, high) = (percentile(&histogram, 50).unwrap(), percentile(&histogram, 99).unwrap());
        assert!((64e-6..128e-6).contains(&median), "{median}");
        assert!((high - 16.777_216).abs() < 1e-9, "the last bucket's lower bound, not {high}");
        histogram = Histogram::default();
        histogram.record(Duration::from_micros(10));
        assert_eq!(percentile(&histogram, 50), Some(64e-6), "one alone is every percentile");
    }

    #[test]
    fn rare_close_codes_are_added_up() {
        let mut codes: BTreeMap<u16, u64> = (3_000..3_100).map(|code| (code, 1)).collect();
        codes.insert(4_999, 7);
        let shown = close_codes(&codes);
        assert_eq!(shown["4999"], 7);
        assert_eq!(shown["other"], 101 - 64);
        assert_eq!(shown.as_object().unwrap().len(), 65);
        assert!(close_codes(&BTreeMap::from([(1_000, 3)])).get("other").is_none());
    }
}
