//! Receives how busy both sides were · hands out how often the server shall publish · owns that rate.

/// What one measurement of a second or two said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    /// The server's processor seconds per second.
    pub(crate) server: f64,
    /// This side's.
    pub(crate) client: f64,
    /// The most that the publisher, or a turn of this side, was late, in seconds.
    pub(crate) late: f64,
    /// Bytes that wait in the server.
    pub(crate) pending: u64,
}

/// Publications a second on each channel whose rate follows the load.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) rate: f64,
    target: f64,
}

/// Low enough that two thousand connections can be opened beside it.
const FIRST: f64 = 20.0;
const SLOWEST: f64 = 2.0;
const FASTEST: f64 = 20_000.0;

/// One step changes the rate by at most so much, up or down: near the target, and far from it.
const STEP: f64 = 1.1;
const LEAP: f64 = 1.5;
const FAR: f64 = 1.4;
/// Within this of the target nothing is changed.
const NEAR: f64 = 0.03;

/// Signs that the machine, not the server's own work, is the limit: then the rate falls whatever the load is.
const BUSY_CLIENT: f64 = 0.9;
const LATE: f64 = 0.3;
const PENDING: u64 = 32 * 1024 * 1024;

impl Pace {
    pub(crate) fn new(target: f64) -> Self {
        Self { rate: FIRST, target }
    }

    /// Takes a measurement; returns whether the rate changed.
    pub(crate) fn adapt(&mut self, busy: Busy) -> bool {
        let is_limited = busy.client > BUSY_CLIENT || busy.late > LATE || busy.pending > PENDING;
        let factor = match self.target / busy.server.max(0.01) {
            _ if is_limited => 1.0 / LEAP,
            ratio if (ratio - 1.0).abs() < NEAR => return false,
            ratio if !(1.0 / FAR..FAR).contains(&ratio) => ratio.sqrt().clamp(1.0 / LEAP, LEAP),
            // Only a part of the load follows the rate, hence half of the way at a time.
            ratio => ratio.sqrt().clamp(1.0 / STEP, STEP),
        };
        let before = self.rate;
        self.rate = (self.rate * factor).clamp(SLOWEST, FASTEST);
        (self.rate - before).abs() > f64::EPSILON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose load is a tenth and what its publications cost.
    fn settled(cost: f64, late: f64) -> f64 {
        let mut pace = Pace::new(0.5);
        for _ in 0..60 {
            let server = 0.1 + pace.rate * cost;
            pace.adapt(Busy { server, client: 0.3, late, pending: 0 });
        }
        pace.rate
    }

    #[test]
    fn it_settles_where_the_server_is_as_busy_as_it_shall_be() {
        for cost in [1e-3, 1e-2] {
            let server = 0.1 + settled(cost, 0.0) * cost;
            assert!((0.47..0.53).contains(&server), "{server}");
        }
    }

    #[test]
    fn it_yields_to_a_crowded_machine() {
        assert!(settled(1e-3, 1.0) < FIRST);
    }
}
