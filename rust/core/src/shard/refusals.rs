//! Receives every refusal of a handshake · hands the operator one notice for many of a kind · owns when the next is due.
//!
//! Whoever sends bad requests must not be able to fill a log, or the mailbox to the application.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use crate::shard::Shard;
use crate::shard::event::{Event, RefusalNotice};
use crate::stats::Outcome;
use crate::time::Timestamp;
use crate::wire::Wire;

/// Between two notices of one outcome.
const PAUSE: Duration = Duration::from_secs(10);

/// What was told of one outcome.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    at: Option<Timestamp>,
    /// Refusals since.
    since: u64,
}

/// By outcome.
pub(super) type Refusals = [Told; Outcome::NAMES.len()];

impl<W: Wire> Shard<W> {
    /// Notes a refusal; the first of its kind is told at once, those of the next seconds with the first behind them.
    pub(super) fn note_refusal(
        &mut self,
        index: u32,
        outcome: Outcome,
        status: u16,
        reason: Cow<'static, str>,
        now: Timestamp,
    ) {
        if self.departures.is_some() {
            // Who stops a server knows that it lets nobody in.
            return;
        }
        let Some(told) = self.refusals.get_mut(outcome as usize) else { return };
        if told.at.is_some_and(|at| now.since(at) < PAUSE) {
            told.since += 1;
            return;
        }
        let others = std::mem::take(told).since;
        told.at = Some(now);
        let address = self.places.get(index).and_then(|connection| connection.peer.address);
        let notice = RefusalNotice {
            outcome: Outcome::NAMES.get(outcome as usize).copied().unwrap_or_default(),
            status,
            reason,
            address: address.map(|address| address.ip()),
            others,
        };
        self.events.push(Event::Refused(Box::new(notice)));
    }

    /// Tells once that somebody who is not trusted sends a header of proxies.
    pub(super) fn report_forwarding(&mut self, address: Option<IpAddr>) {
        if !std::mem::replace(&mut self.has_reported_forwarding, true) {
            self.events.push(Event::ForwardingIgnored { address });
        }
    }
}
