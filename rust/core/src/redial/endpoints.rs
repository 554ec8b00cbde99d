//! Receives which attempts came to what, of all links that share them · hands out where to go next, and not before when ·
//! owns the circuit breaker of each endpoint.

use std::time::Duration;

use super::{Chance, Policy};
use crate::time::Timestamp;

/// Whether an endpoint may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It may.
    Closed,
    /// It has failed too often in a row, and is left alone until then.
    Open {
        /// When one attempt may be made.
        until: Timestamp,
    },
    /// That attempt is under way; nobody else may.
    HalfOpen,
    /// It has said that it will not have us: never again.
    Out,
}

#[derive(Clone, Debug)]
struct Endpoint {
    weight: u32,
    circuit: Circuit,
    failures: u32,
    /// It has asked us not to come earlier.
    not_before: Timestamp,
}

/// The addresses of one upstream, by number. All links of a pool share them, so that a server that is down is tried once
/// and not once by each.
#[derive(Clone, Debug)]
pub struct Endpoints(Vec<Endpoint>);

/// Where to go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// There, now.
    Now(usize),
    /// Nowhere until then; [`Timestamp::NEVER`]: until somebody else's attempt is decided.
    NotBefore(Timestamp),
    /// Nowhere any more.
    None,
}

impl Endpoints {
    /// One endpoint for each weight. Of those that may be tried, one is taken by chance, as often as its weight has it;
    /// those of weight zero only where no other may be.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let endpoint =
            |weight| Endpoint { weight, circuit: Circuit::Closed, failures: 0, not_before: Timestamp::ZERO };
        Self(weights.into_iter().map(endpoint).collect())
    }

    /// How many there are, those that are out included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether none of them will have us any more.
    pub fn are_out(&self) -> bool {
        self.0.iter().all(|endpoint| endpoint.circuit == Circuit::Out)
    }

    /// Whether an endpoint may be tried.
    pub fn circuit(&self, endpoint: usize) -> Option<Circuit> {
        self.0.get(endpoint).map(|endpoint| endpoint.circuit)
    }

    /// Chooses one for an attempt, which must be told how it went. One that has just failed the caller (`avoided`) is
    /// taken only where there is no other.
    pub fn choose(&mut self, avoided: Option<usize>, chance: &mut Chance, now: Timestamp) -> Choice {
        let ready = |endpoint: &Endpoint| match endpoint.circuit {
            Circuit::Closed => endpoint.not_before <= now,
            Circuit::Open { until } => until.max(endpoint.not_before) <= now,
            Circuit::HalfOpen | Circuit::Out => false,
        };
        let is_another = self.0.iter().enumerate().any(|(at, one)| Some(at) != avoided && ready(one));
        let is_meant = |at: usize, one: &Endpoint| ready(one) && !(is_another && Some(at) == avoided);
        let total: u64 = self.weights(is_meant).map(|(_, weight)| weight).sum();
        let chosen = if total == 0 {
            // Only those in reserve: each as good as the other.
            let count = self.weights(is_meant).count();
            let nth = chance.below(count as u64) as usize;
            self.weights(is_meant).nth(nth).map(|(at, _)| at)
        } else {
            let mut left = chance.below(total);
            let mut reached = |weight: u64| {
                let is_here = left < weight;
                left = left.saturating_sub(weight);
                is_here
            };
            self.weights(is_meant).find(|(_, weight)| reached(*weight)).map(|(at, _)| at)
        };
        let Some(chosen) = chosen else { return self.later() };
        if let Some(endpoint) = self.0.get_mut(chosen)
            && matches!(endpoint.circuit, Circuit::Open { .. })
        {
            endpoint.circuit = Circuit::HalfOpen;
        }
        Choice::Now(chosen)
    }

    fn weights(&self, is_meant: impl Fn(usize, &Endpoint) -> bool) -> impl Iterator<Item = (usize, u64)> {
        let meant = move |(at, one): (usize, &Endpoint)| is_meant(at, one).then_some((at, one.weight.into()));
        self.0.iter().enumerate().filter_map(meant)
    }

    fn later(&self) -> Choice {
        let at = |endpoint: &Endpoint| match endpoint.circuit {
            Circuit::Closed => Some(endpoint.not_before),
            Circuit::Open { until } => Some(until.max(endpoint.not_before)),
            Circuit::HalfOpen => Some(Timestamp::NEVER),
            Circuit::Out => None,
        };
        self.0.iter().filter_map(at).min().map_or(Choice::None, Choice::NotBefore)
    }

    /// A connection was opened there: whatever was wrong with it is not any more.
    pub fn established(&mut self, endpoint: usize) {
        if let Some(endpoint) = self.0.get_mut(endpoint).filter(|one| one.circuit != Circuit::Out) {
            endpoint.circuit = Circuit::Closed;
            endpoint.failures = 0;
            endpoint.not_before = Timestamp::ZERO;
        }
    }

    /// No connection was opened there.
    pub fn failed(&mut self, endpoint: usize, policy: &Policy, now: Timestamp) {
        let Some(endpoint) = self.0.get_mut(endpoint) else { return };
        endpoint.failures = endpoint.failures.saturating_add(1);
        let is_enough = endpoint.failures >= policy.failures || endpoint.circuit == Circuit::HalfOpen;
        if is_enough && matches!(endpoint.circuit, Circuit::Closed | Circuit::HalfOpen) {
            endpoint.circuit = Circuit::Open { until: now + policy.pause };
        }
    }

    /// It has asked not to be called again before that long.
    pub fn asked(&mut self, endpoint: usize, wait: Duration, now: Timestamp) {
        if let Some(endpoint) = self.0.get_mut(endpoint) {
            endpoint.not_before = endpoint.not_before.max(now + wait);
        }
    }

    /// It will never have us.
    pub fn refused(&mut self, endpoint: usize) {
        if let Some(endpoint) = self.0.get_mut(endpoint) {
            endpoint.circuit = Circuit::Out;
        }
    }

    /// The attempt was given up by ourselves, which says nothing of the endpoint: if it was the one that a half-open
    /// circuit allows, another may be made at once.
    pub fn abandoned(&mut self, endpoint: usize, now: Timestamp) {
        if let Some(endpoint) = self.0.get_mut(endpoint).filter(|one| one.circuit == Circuit::HalfOpen) {
            endpoint.circuit = Circuit::Open { until: now };
        }
    }
}
