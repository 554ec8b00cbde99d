//! Receives the counts of a server from wherever they live · hands one copy of them to status and metrics ·
//! owns nothing afterwards.

use std::net::SocketAddr;
use std::time::Duration;

use streamconductor_core::channel::Registry;
use streamconductor_core::ledger::Owner;
use streamconductor_core::lifecycle::State;
use streamconductor_core::pool::Usage;
use streamconductor_core::stats::Stats;

use crate::readiness::{Degradation, Readiness, Report};
use crate::server::Server;
use crate::tls;

/// How many channels are named.
const LARGEST: usize = 20;

/// The names of [`Stats::dropped`], in its order.
pub const POLICIES: [&str; 4] = ["disconnect", "drop_oldest", "drop_newest", "conflate"];

/// Every state, in the order of [`Stats::states`].
pub const STATES: [State; State::COUNT] = [
    State::Pending,
    State::Tls,
    State::Head,
    State::Admitting,
    State::Flowing,
    State::Backpressured,
    State::Evicting,
    State::Draining,
    State::Closing,
    State::Lingering,
    State::Closed,
    State::Connecting,
    State::Parting,
    State::Idle,
    State::Open,
    State::Waiting,
    State::Ending,
    State::Ended,
];

/// A server at about one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub stats: Stats,
    pub uptime: Duration,
    pub degradation: Degradation,
    pub report: Report,
    pub connections: Usage,
    pub pending: Usage,
    /// Connections that the application has not finished with.
    pub known: usize,
    /// Connections that take deflated messages.
    pub deflating: usize,
    pub budget: usize,
    pub used: usize,
    pub owners: [(Owner, usize); Owner::ALL.len()],
    pub shards: usize,
    /// Those whose counts are old, as they did not answer in time.
    pub missing: usize,
    /// Times that shards were woken for commands.
    pub command_wakes: u64,
    /// Times that the application's loop was woken for events.
    pub event_wakes: u64,
    pub events_waiting: usize,
    pub channels: Channels,
    pub starved: u64,
    /// What it says of its TLS; `None`: it is plain.
    pub tls: Option<tls::Report>,
    pub addresses: Vec<SocketAddr>,
}

/// The channels that have subscribers.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    pub count: usize,
    pub subscriptions: usize,
    /// Names and subscribers of the largest, the largest first.
    pub largest: Vec<(String, usize)>,
}

impl Snapshot {
    /// Asks every shard and reads what is shared.
    pub fn take(server: &Server, readiness: &Readiness) -> Self {
        let ledger = &server.foundations().ledger;
        let events = server.foundations().upward.status();
        let counted = server.stats();
        Self {
            stats: counted.stats,
            missing: counted.missing,
            uptime: readiness.uptime(),
            degradation: readiness.degradation(),
            report: readiness.report(),
            connections: server.pool().connections(),
            pending: server.pool().pending(),
            known: server.known().count(),
            deflating: server.deflating().connections(),
            budget: ledger.budget(),
            used: ledger.used(),
            owners: Owner::ALL.map(|owner| (owner, ledger.held_by(owner))),
            shards: server.shards(),
            command_wakes: server.wakes(),
            event_wakes: events.wakes,
            events_waiting: events.items,
            channels: Channels::of(&server.registry()),
            starved: server.starved(),
            tls: server.tls().map(|tls| tls.report()),
            addresses: server.addresses().to_vec(),
        }
    }
}

impl Channels {
    /// One pass, and only the largest are sorted: publishers wait for the registry meanwhile.
    fn of(registry: &Registry) -> Self {
        let mut all: Vec<_> = registry.snapshot().collect();
        let (count, subscriptions) = (all.len(), all.iter().map(|(_, subscribers)| subscribers).sum());
        let order = |(name, subscribers): &(&str, usize)| (std::cmp::Reverse(*subscribers), name.to_string());
        if count > LARGEST {
            all.select_nth_unstable_by_key(LARGEST, |(_, subscribers)| std::cmp::Reverse(*subscribers));
            all.truncate(LARGEST);
        }
        all.sort_by_cached_key(order);
        let largest = all.into_iter().map(|(name, subscribers)| (name.to_owned(), subscribers)).collect();
        Self { count, subscriptions, largest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamconductor_core::channel::Policy;

    #[test]
    fn states_stand_at_their_own_numbers() {
        for (number, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, number, "{state:?}");
        }
    }

    #[test]
    fn the_largest_channels_are_named_and_all_are_counted() {
        let mut registry = Registry::new(1, Policy::default());
        for number in 1..=30 {
            for _ in 0..number {
                registry.join(&format!("room {number}"));
            }
        }
        let channels = Channels::of(&registry);
        assert_eq!((channels.count, channels.subscriptions), (30, 465));
        assert_eq!(channels.largest.len(), 20);
        assert_eq!(channels.largest[0], ("room 30".to_owned(), 30));
        assert_eq!(channels.largest[19], ("room 11".to_owned(), 11));
    }
}
