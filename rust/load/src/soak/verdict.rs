//! Receives how the server stood before and after · hands out the report · owns what must hold at the end beyond
//! the single connections: conservation, pool, memory and descriptors, and that the load was one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Soak;
use super::control::{Flow, Pulse, Status, Traffic};
use super::field::Field;
use super::report::{Books, Memory, Report, growth, median, settled};
use super::watch::Watch;
use crate::failure::Failure;
use crate::process::{descriptors, resident};

/// From this many seconds on everything that a soak is about must have happened at least once.
const WHOLE: f64 = 15.0;

/// What the ledger may hold when nobody is connected any more, beyond what it held before.
const LEDGER_REST: u64 = 64 * 1024;

/// How long the kernel may take to tell of a closed descriptor.
const DESCRIPTORS: Duration = Duration::from_secs(5);

impl Traffic {
    /// accepted = written + dropped + discarded + pending, in messages and in bytes.
    pub(crate) fn is_conserved(&self) -> bool {
        let sum = |figure: fn(&Flow) -> u64| {
            let dropped: u64 = self.dropped.values().map(figure).sum();
            figure(&self.accepted)
                == figure(&self.written) + dropped + figure(&self.discarded) + figure(&self.pending)
        };
        sum(|flow| flow.messages) && sum(|flow| flow.bytes)
    }
}

/// How the server program stood before the first connection.
#[derive(Debug)]
pub(crate) struct Before {
    resident: f64,
    descriptors: usize,
    ledger: u64,
}

impl Before {
    pub(crate) fn take(process: u32, pulse: &Pulse) -> Result<Self, Failure> {
        Ok(Self {
            resident: resident(process)?,
            descriptors: descriptors(process)?,
            ledger: ledger(&pulse.servers),
        })
    }

    /// Whether nothing is left of all connections.
    pub(crate) fn is_back(&self, pulse: &Pulse) -> bool {
        self.left(pulse).is_empty()
    }

    /// What is left.
    fn left(&self, pulse: &Pulse) -> Vec<String> {
        let mut left = Vec::new();
        for Status { pool, channels, traffic, .. } in &pulse.servers {
            let counts = [
                ("connections in the pool", pool.connections.used),
                ("pending places taken", pool.pending.used),
                ("connections that Python knows", pool.known),
                ("channels", channels.count),
                ("subscriptions", channels.subscriptions),
                ("messages pending", traffic.pending.messages),
                ("bytes pending", traffic.pending.bytes),
            ];
            let some = counts.into_iter().filter(|(_, count)| *count > 0);
            left.extend(some.map(|(what, count)| format!("{count} {what} are left at the end")));
        }
        let (now, before) = (ledger(&pulse.servers), self.ledger);
        if now > before + LEDGER_REST {
            left.push(format!("the ledger holds {now} bytes at the end, {before} before"));
        }
        left
    }
}

fn ledger(servers: &[Status]) -> u64 {
    servers.iter().flat_map(|status| status.ledger.owners.values()).sum()
}

/// Judges the end and makes the report.
pub(crate) fn report(
    soak: &Soak,
    tls: usize,
    before: &Before,
    pulse: &Pulse,
    watch: Watch,
    field: &mut Field,
) -> Result<Report, Failure> {
    let Watch { samples, began, latest, longest_turn, .. } = watch;
    // A run that failed while it opened ends within a turn that nobody has looked at.
    let longest_turn = longest_turn.max(field.longest_turn.as_secs_f64());
    let seconds = samples.last().map_or(0.0, |sample| sample.seconds);
    let is_cut_short = field.ledger.violations > 0;
    let mut wrong = before.left(pulse);
    let books = books(&pulse.servers, field, &mut wrong);

    let descriptors_after = settle(before.descriptors, || descriptors(soak.process))?;
    if descriptors_after != before.descriptors {
        wrong.push(format!(
            "{descriptors_after} descriptors at the end, {} at the beginning",
            before.descriptors
        ));
    }
    let (slope, is_judged) = growth(&samples);
    if is_judged && slope > soak.slope {
        wrong.push(format!("memory grows by {slope:.1} MiB an hour, {:.1} allowed", soak.slope));
    }
    if began.elapsed().as_secs_f64() >= WHOLE && !is_cut_short {
        wrong.extend(absent(&books, field).into_iter().map(|what| format!("the load was none: {what}")));
    }
    for text in wrong {
        field.ledger.violation(|| text);
    }

    let beyond = samples.iter().map(|sample| sample.descriptors.saturating_sub(sample.connections));
    let settled = settled(&samples);
    Ok(Report {
        seconds,
        connections: soak.connections,
        tls,
        seed: soak.seed,
        deliveries_per_second: median(settled, |sample| sample.deliveries_per_second),
        server_load: median(settled, |sample| sample.server_load),
        client_load: median(settled, |sample| sample.client_load),
        late_seconds: latest,
        client_late_seconds: longest_turn,
        memory: Memory {
            before_mib: before.resident,
            peak_mib: samples.iter().map(|sample| sample.resident_mib).fold(before.resident, f64::max),
            after_mib: resident(soak.process)?,
            slope_mib_per_hour: slope,
            bound_mib_per_hour: soak.slope,
            is_judged,
            ledger_before: before.ledger,
            ledger_after: ledger(&pulse.servers),
        },
        descriptors_before: before.descriptors,
        descriptors_after,
        descriptors_beyond: beyond.max().unwrap_or_default(),
        books,
        ledger: field.ledger.clone(),
        samples,
    })
}

/// The servers' own counts added up, compared with what they said of each connection.
fn books(servers: &[Status], field: &Field, wrong: &mut Vec<String>) -> Books {
    let mut sum = Books {
        accepted: 0,
        written: 0,
        dropped: BTreeMap::new(),
        discarded: 0,
        pending: 0,
        received: 0,
        published: 0,
        pings: 0,
        endings: BTreeMap::new(),
    };
    for status in servers {
        let traffic = &status.traffic;
        if !traffic.is_conserved() {
            wrong.push(format!("conservation at the end: {traffic:?}"));
        }
        sum.accepted += traffic.accepted.messages;
        sum.written += traffic.written.messages;
        sum.discarded += traffic.discarded.messages;
        sum.pending += traffic.pending.messages;
        sum.received += traffic.received.messages;
        sum.published += status.shards.published;
        sum.pings += status.shards.pings;
        for (policy, flow) in &traffic.dropped {
            *sum.dropped.entry(policy.clone()).or_default() += flow.messages;
        }
        for (ending, count) in status.endings.iter().filter(|(_, count)| **count > 0) {
            *sum.endings.entry(ending.clone()).or_default() += count;
        }
    }
    let dropped: u64 = sum.dropped.values().sum();
    for (what, status, closings) in
        [("written", sum.written, field.books.written), ("dropped", dropped, field.books.dropped)]
    {
        if status != closings {
            wrong.push(format!(
                "{status} messages {what} by the status, {closings} by the ends of connections"
            ));
        }
    }
    sum
}

/// What did not happen although the soak is about it.
fn absent(books: &Books, field: &Field) -> Vec<String> {
    let ledger = &field.ledger;
    let mut counts = vec![
        ("no publication came".to_owned(), ledger.delivered),
        ("no echo came back".to_owned(), ledger.echoed),
        ("no connection stalled".to_owned(), ledger.stalled),
        ("no connection was closed for being slow".to_owned(), ledger.cut),
        ("no subscription moved".to_owned(), ledger.moved),
        ("no connection was reset".to_owned(), ledger.abandoned),
        ("no ping was sent".to_owned(), books.pings),
    ];
    for policy in ["drop_oldest", "drop_newest", "conflate"] {
        let count = books.dropped.get(policy).copied().unwrap_or_default();
        counts.push((format!("{policy} dropped nothing"), count));
    }
    counts.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
}

fn settle(expected: usize, look: impl Fn() -> std::io::Result<usize>) -> Result<usize, Failure> {
    let deadline = Instant::now() + DESCRIPTORS;
    loop {
        let found = look()?;
        if found == expected || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
