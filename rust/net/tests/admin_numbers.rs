//! What `/status` and `/metrics` say: their form, and that the numbers are the server's.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod admin_support;

use std::time::Duration;

use admin_support::{Stand, expect, openmetrics, schema};
use serde_json::{Value, json};
use streamconductor_core::codec::Kind;
use streamconductor_core::ledger::Owner;
use streamconductor_core::lifecycle::State;
use streamconductor_core::shard::command::{Command, Filter, Publication};
use streamconductor_core::time::Timestamp;
use streamconductor_net::readiness::Verdict;

fn busy() -> Stand {
    let stand = Stand::start(None);
    for (name, state) in [("database", "ok"), ("a \"quoted\"\\ name", "failed")] {
        let verdict = Verdict {
            state: state.to_owned(),
            required: false,
            detail: String::new(),
            facts: "{\"lag_ms\": 3}".to_owned(),
            at: Timestamp::ZERO,
            stale_after: Duration::from_hours(1),
        };
        stand.readiness.record(name.to_owned(), verdict);
    }
    let mut subscriber = stand.subscriber("room");
    let mut leaver = stand.subscriber("room");
    stand.post("/channels/room", "Content-Type: text/plain\r\n", "hello");
    expect(&mut subscriber, b"\x81\x05hello");
    expect(&mut leaver, b"\x81\x05hello");
    // A masked Close 4001, answered in kind.
    std::io::Write::write_all(&mut leaver, b"\x88\x82\0\0\0\0\x0f\xa1").unwrap();
    expect(&mut leaver, b"\x88\x02\x0f\xa1");
    drop(leaver);
    // Kept open for as long as the process lives.
    std::mem::forget(subscriber);
    while stand.server.stats().stats.codes.is_empty()
        || stand.server.registry().snapshot().next() != Some(("room", 1))
    {}
    stand
}

#[test]
fn the_status_keeps_to_its_schema_and_tells_the_numbers() {
    let stand = busy();
    let schema: Value =
        serde_json::from_str(include_str!("../../../python/streamconductor/schema/status.schema.json"))
            .unwrap();
    let response = stand.get("/status");
    assert_eq!((response.status, response.headers["content-type"].as_str()), (200, "application/json"));
    let status = response.json();
    schema::validate(&schema, &schema, &status, "");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["level"]["name"], &status["level"]["reason"]), (&json!("normal"), &Value::Null));
    assert_eq!(status["readiness"]["checks"]["database"]["facts"], json!({"lag_ms": 3}));
    let connections = &status["pool"]["connections"];
    assert_eq!(
        (&connections["used"], &connections["peak"], &connections["maximum"]),
        (&json!(1), &json!(2), &json!(8))
    );
    assert_eq!(connections["utilisation"], 0.125);
    assert_eq!((&status["states"]["flowing"], &status["handshakes"]["accepted"]), (&json!(1), &json!(2)));
    assert_eq!((&status["endings"]["peer_closed"], &status["close_codes"]), (&json!(1), &json!({"4001": 1})));
    assert_eq!(status["traffic"]["written"], json!({"messages": 2, "bytes": 14}));
    assert_eq!(status["traffic"]["pending"], json!({"messages": 0, "bytes": 0}));
    assert_eq!(
        status["channels"],
        json!({
            "count": 1, "subscriptions": 1, "largest": [{"name": "room", "subscribers": 1}],
        })
    );
    assert_eq!((&status["shards"]["count"], &status["shards"]["published"]), (&json!(2), &json!(1)));
    assert_eq!(status["ledger"]["budget"], 64 << 20);
    assert_eq!(status["feeds"], json!({"quotes": {"state": "running"}}));
    assert_eq!(status["addresses"], json!([stand.server.addresses()[0].to_string()]));

    let _charge = stand.ledger.charge(Owner::Chunks, 60 << 20);
    stand.readiness.drain();
    let status = stand.get("/status").json();
    schema::validate(&schema, &schema, &status, "");
    assert_eq!(status["level"]["name"], "draining");
    assert_eq!(status["ledger"]["owners"]["chunks"], 60 << 20);
}

#[test]
fn the_schema_is_not_a_formality() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../python/streamconductor/schema/status.schema.json"))
            .unwrap();
    let status = Stand::start(None).get("/status").json();
    let spoil: [fn(&mut Value); 4] = [
        |status| status["undocumented"] = json!(1),
        |status| drop(status["pool"].as_object_mut().unwrap().remove("known")),
        |status| status["states"]["flowing"] = json!(-1),
        |status| status["level"]["name"] = json!("fine"),
    ];
    for spoil in spoil {
        let mut spoilt = status.clone();
        spoil(&mut spoilt);
        let outcome = std::panic::catch_unwind(|| schema::validate(&schema, &schema, &spoilt, ""));
        assert!(outcome.is_err(), "{spoilt}");
    }
}

#[test]
fn the_metrics_are_openmetrics_and_tell_the_numbers() {
    let stand = busy();
    let response = stand.get("/metrics");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let series = openmetrics::read(&response.body);
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let budget = f64::from(64 << 20);
    for (name, expected) in [
        (version.as_str(), 1.0),
        ("ready", 1.0),
        ("level{level=\"normal\"}", 1.0),
        ("level{level=\"draining\"}", 0.0),
        ("connections{state=\"flowing\"}", 1.0),
        ("handshakes_total{outcome=\"accepted\"}", 2.0),
        ("closes_total{ending=\"peer_closed\"}", 1.0),
        ("close_codes_total{code=\"4xxx\"}", 1.0),
        ("sent_messages_total", 2.0),
        ("sent_bytes_total", 14.0),
        ("buffered_bytes", 0.0),
        ("dropped_messages_total{policy=\"conflate\"}", 0.0),
        ("dropped_bytes_total{policy=\"disconnect\"}", 0.0),
        ("discarded_messages_total", 0.0),
        ("publications_total", 1.0),
        ("compression_connections", 0.0),
        ("compression_messages_total{direction=\"out\"}", 0.0),
        ("compression_plain_bytes_total{direction=\"in\"}", 0.0),
        ("compression_deflated_bytes_total{direction=\"out\"}", 0.0),
        ("round_trip_seconds_count", 0.0),
        ("delivery_lag_seconds_bucket{le=\"+Inf\"}", series["streamconductor_delivery_lag_seconds_count"]),
        ("pool_utilisation_ratio{places=\"connections\"}", 0.125),
        ("pool_maximum{places=\"connections\"}", 8.0),
        ("pool_maximum{places=\"pending\"}", 4.0),
        ("ledger_budget_bytes", budget),
        ("ledger_bytes{owner=\"history\"}", 0.0),
        ("accepts_starved_total", 0.0),
        ("stale_commands_total", 0.0),
        ("health_check{check=\"database\",state=\"ok\"}", 1.0),
        ("health_check{check=\"database\",state=\"failed\"}", 0.0),
        ("health_check{check=\"a \\\"quoted\\\"\\\\ name\",state=\"failed\"}", 1.0),
        ("channels", 1.0),
        ("subscriptions", 1.0),
    ] {
        assert_eq!(series.get(&format!("streamconductor_{name}")), Some(&expected), "{name}");
    }
    for name in
        ["turns_total", "writes_total", "longest_turn_seconds", "mailbox_wakes_total{mailbox=\"commands\"}"]
    {
        assert!(series[&format!("streamconductor_{name}")] > 0.0, "{name}");
    }
    assert!(series.contains_key("streamconductor_python_stalled_seconds"));
    assert_eq!(
        openmetrics::read(&stand.get("/metrics").body).len(),
        series.len(),
        "no series comes with use"
    );
}

#[test]
fn status_and_metrics_agree_on_what_came_to_which_end() {
    let stand = Stand::start(None);
    let stalled = stand.subscriber("room");
    // More than both sockets hold and `max_buffered` on top: the reader is too slow for `disconnect`.
    for _ in 0..40 {
        let channel = stand.server.registry().find("room").cloned();
        let Some(channel) = channel else { break };
        let payload = vec![b'x'; 512 << 10].into();
        let publication = Publication { kind: Kind::Binary, payload, key: 0, prepared: None };
        stand.server.tell(channel.home(), Command::Publish { channel, publication });
    }
    let open =
        |states: [u64; State::COUNT]| states[State::Flowing as usize] + states[State::Backpressured as usize];
    while open(stand.server.stats().stats.states) > 0 {}
    drop(stalled);
    while stand.server.stats().stats.codes.is_empty() {}
    let status = stand.get("/status").json();
    assert_eq!(
        (&status["endings"]["slow_consumer"], &status["close_codes"]),
        (&json!(1), &json!({"4008": 1}))
    );
    let traffic = &status["traffic"];
    assert!(traffic["written"]["bytes"].as_u64() < traffic["accepted"]["bytes"].as_u64(), "{traffic}");
    let series = openmetrics::read(&stand.get("/metrics").body);
    for (metric, end) in
        [("accepted", "accepted"), ("sent", "written"), ("discarded", "discarded"), ("buffered", "pending")]
    {
        let suffix = if metric == "buffered" { "" } else { "_total" };
        for unit in ["messages", "bytes"] {
            let value = series.get(&format!("streamconductor_{metric}_{unit}{suffix}")).copied();
            assert_eq!(value, traffic[end][unit].as_f64(), "{metric} {unit}");
        }
    }
}

#[test]
fn health_checks_make_a_bounded_number_of_series() {
    let stand = Stand::start(None);
    let verdict = Verdict {
        state: "ok".to_owned(),
        required: false,
        detail: String::new(),
        facts: "null".to_owned(),
        at: Timestamp::ZERO,
        stale_after: Duration::from_hours(1),
    };
    for number in 0..200 {
        stand.readiness.record(format!("check {number}"), verdict.clone());
    }
    let series = openmetrics::read(&stand.get("/metrics").body);
    let checks = series.keys().filter(|key| key.starts_with("streamconductor_health_check{")).count();
    assert_eq!(checks, 64 * 4);
}

#[test]
fn a_shard_that_does_not_answer_is_missing_and_its_counts_stay() {
    let stand = Stand::start(None);
    let subscribers = [stand.subscriber("room"), stand.subscriber("room")];
    let numbers = |stand: &Stand| {
        let status = stand.get("/status").json();
        (status["shards"]["missing"].clone(), status["handshakes"]["accepted"].clone())
    };
    assert_eq!(numbers(&stand), (json!(0), json!(2)));
    // Both shards stand still until they are told to go on.
    let gates: Vec<_> = (0..2)
        .map(|shard| {
            let (open, gate) = std::sync::mpsc::channel::<()>();
            let answer = Box::new(move |_| {
                // An error is what it waits for: the test has let go.
                let _ = gate.recv();
            });
            stand.server.tell(shard, Command::List { filter: Filter::default(), answer });
            open
        })
        .collect();
    assert_eq!(numbers(&stand), (json!(2), json!(2)));
    assert!(stand.get("/metrics").body.contains("\nstreamconductor_shards_missing 2\n"));
    drop(gates);
    assert_eq!(numbers(&stand), (json!(0), json!(2)));
    drop(subscribers);
}
