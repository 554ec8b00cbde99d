//! Receives what becomes of attempts, row by row and by seed · looks at what a link does next · owns the proof that it comes
//! back when it should, only then, and not too early.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;
use streamconductor_core::close::{Advice, By, CloseCode};
use streamconductor_core::lifecycle::State;
use streamconductor_core::redial::{Circuit, Endpoints, Failure, Policy, Redial, Step, Why};
use streamconductor_core::time::Timestamp;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn answered(status: u16) -> Failure {
    Failure::Status { status, retry_after: None }
}

/// A link with its endpoints and the time.
struct Stand {
    link: Redial,
    endpoints: Endpoints,
    policy: Policy,
    now: Timestamp,
}

impl Stand {
    fn new(weights: &[u32], seed: u64) -> Self {
        Self::with(Policy::for_interval(Some(millis(1_000))), weights, seed)
    }

    fn with(policy: Policy, weights: &[u32], seed: u64) -> Self {
        let link = Redial::new(policy.clone(), seed);
        let endpoints = Endpoints::new(weights.iter().copied());
        Self { link, endpoints, policy, now: Timestamp::from_millis(1) }
    }

    /// Started, and connected at the first attempt.
    fn open(weights: &[u32], seed: u64) -> Self {
        let mut stand = Self::new(weights, seed);
        stand.link.start(&mut stand.endpoints, stand.now);
        stand.establish();
        stand
    }

    fn establish(&mut self) {
        assert_eq!(self.link.established(&mut self.endpoints, self.now), Step::Hold);
    }

    fn fail(&mut self, failure: Failure) -> Step {
        self.link.failed(failure, &mut self.endpoints, self.now)
    }

    fn close(&mut self, code: u16) -> Step {
        self.link.closed(CloseCode(code), By::Peer, self.now)
    }

    /// Waits out what it waits for: how long, and which endpoint came then.
    fn redial(&mut self) -> (Duration, usize) {
        let before = self.now;
        loop {
            match self.link.tick(&mut self.endpoints, self.now) {
                Step::Wait { until } => {
                    assert!(until > self.now, "a wait that is over");
                    self.now = until;
                }
                Step::Dial { endpoint, .. } => return (self.now.since(before), endpoint),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn close_codes_say_whether_it_comes_back() {
    let rows = [
        (1000, Some(Why::Closed(CloseCode(1000)))),
        (1001, None),
        (1002, Some(Why::Closed(CloseCode(1002)))),
        (1006, None),
        (1007, Some(Why::Closed(CloseCode(1007)))),
        (1008, Some(Why::Closed(CloseCode(1008)))),
        (1009, Some(Why::Closed(CloseCode(1009)))),
        (1011, None),
        (1012, None),
        (1013, None),
        (4008, None),
        (4401, None),
        (4403, Some(Why::Closed(CloseCode(4403)))),
    ];
    for (code, why) in rows {
        let mut stand = Stand::open(&[1], 1);
        let step = stand.close(code);
        match why {
            Some(why) => assert_eq!((step, stand.link.state()), (Step::Ended(why), State::Ended), "{code}"),
            None => assert!(matches!(step, Step::Wait { .. }), "{code}: {step:?}"),
        }
    }
}

#[test]
fn answers_say_whether_it_comes_back() {
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        assert!(answered(status).may_pass(), "{status}");
    }
    for status in [200, 301, 400, 401, 403, 404, 410, 426, 451, 600] {
        let mut stand = Stand::new(&[1], 1);
        stand.link.start(&mut stand.endpoints, stand.now);
        let step = stand.fail(answered(status));
        assert_eq!(step, Step::Ended(Why::Refused(answered(status))), "{status}");
    }
    let mut stand = Stand::new(&[1], 1);
    stand.link.start(&mut stand.endpoints, stand.now);
    assert!(matches!(stand.fail(Failure::Unreachable), Step::Wait { .. }));
}

#[test]
fn what_the_application_closes_or_stops_is_over() {
    let mut stand = Stand::open(&[1], 1);
    let step = stand.link.closed(CloseCode(1012), By::Application, stand.now);
    assert_eq!(step, Step::Ended(Why::Stopped));

    let mut stand = Stand::open(&[1], 1);
    assert_eq!(stand.link.stop(&mut stand.endpoints, stand.now), Step::Close);
    assert_eq!(stand.link.state(), State::Ending);
    assert_eq!(stand.close(1006), Step::Ended(Why::Stopped), "lost while closing");

    let mut stand = Stand::open(&[1], 1);
    stand.close(1006);
    assert_eq!(stand.link.stop(&mut stand.endpoints, stand.now), Step::Ended(Why::Stopped));
    // What comes too late changes nothing.
    assert_eq!(stand.link.tick(&mut stand.endpoints, Timestamp::NEVER), Step::Ended(Why::Stopped));
    assert_eq!(stand.fail(Failure::Unreachable), Step::Ended(Why::Stopped));

    let mut stand = Stand::new(&[1], 1);
    assert_eq!(stand.link.stop(&mut stand.endpoints, stand.now), Step::Ended(Why::Stopped));
    assert_eq!(stand.link.start(&mut stand.endpoints, stand.now), Step::Ended(Why::Stopped));
}

#[test]
fn a_token_is_renewed_once() {
    let mut stand = Stand::open(&[1], 1);
    stand.close(4401);
    stand.redial();
    assert_eq!(stand.link.step(), Step::Dial { endpoint: 0, refresh: true });
    stand.establish();
    assert_eq!(stand.close(4401), Step::Ended(Why::Closed(CloseCode::TOKEN_EXPIRED)));

    // One that has lived is renewed again, and an attempt that fails between is no reason to.
    let mut stand = Stand::open(&[1], 1);
    stand.close(4401);
    stand.redial();
    stand.establish();
    stand.now = stand.now + stand.policy.stable_after;
    assert!(matches!(stand.close(4401), Step::Wait { .. }));
    stand.redial();
    assert_eq!(stand.link.step(), Step::Dial { endpoint: 0, refresh: true });
    stand.fail(Failure::Unreachable);
    stand.redial();
    assert_eq!(stand.link.step(), Step::Dial { endpoint: 0, refresh: false });
    stand.establish();
    assert_eq!(stand.close(4401), Step::Ended(Why::Closed(CloseCode::TOKEN_EXPIRED)));
}

#[test]
fn a_code_may_be_taken_otherwise() {
    let mut policy = Policy::for_interval(None);
    policy.overrides = vec![(CloseCode::NORMAL, Advice::Jittered), (CloseCode(1001), Advice::Stay)];
    for (code, comes_back) in [(1000, true), (1001, false)] {
        let mut stand = Stand::with(policy.clone(), &[1], 1);
        stand.link.start(&mut stand.endpoints, stand.now);
        stand.establish();
        assert_eq!(matches!(stand.close(code), Step::Wait { .. }), comes_back, "{code}");
    }
}

#[test]
fn retry_after_is_obeyed_and_another_endpoint_need_not_wait_for_it() {
    let asked = Failure::Status { status: 503, retry_after: Some(millis(7_000)) };
    let mut stand = Stand::new(&[1], 3);
    stand.link.start(&mut stand.endpoints, stand.now);
    stand.fail(asked);
    let (waited, _) = stand.redial();
    assert!((millis(7_000)..millis(8_500)).contains(&waited), "{waited:?}");

    let mut stand = Stand::new(&[1, 1], 3);
    stand.link.start(&mut stand.endpoints, stand.now);
    let first = stand.link.endpoint().unwrap();
    stand.fail(asked);
    let (waited, next) = stand.redial();
    assert!(waited <= stand.policy.first && next != first, "{waited:?}");
}

#[test]
fn a_circuit_opens_after_failures_in_a_row_and_lets_one_try() {
    let mut stand = Stand::new(&[1], 1);
    stand.policy.failures = 3;
    stand.link = Redial::new(stand.policy.clone(), 1);
    stand.link.start(&mut stand.endpoints, stand.now);
    for _ in 0..2 {
        stand.fail(Failure::Unreachable);
        assert_eq!(stand.endpoints.circuit(0), Some(Circuit::Closed));
        stand.redial();
    }
    stand.fail(Failure::Unreachable);
    let opened = stand.now;
    assert_eq!(stand.endpoints.circuit(0), Some(Circuit::Open { until: opened + stand.policy.pause }));
    stand.redial();
    assert!(stand.now.since(opened) >= stand.policy.pause);
    assert_eq!(stand.endpoints.circuit(0), Some(Circuit::HalfOpen));

    // Another link may not meanwhile, whose attempt it is that fails, or that is given up, decides.
    let mut other = Redial::new(stand.policy.clone(), 2);
    assert!(matches!(other.start(&mut stand.endpoints, stand.now), Step::Wait { .. }));
    assert_eq!(other.state(), State::Idle);
    stand.fail(Failure::Unreachable);
    let until = stand.now + stand.policy.pause;
    assert_eq!(stand.endpoints.circuit(0), Some(Circuit::Open { until }), "at once, and anew");
    stand.redial();
    stand.link.stop(&mut stand.endpoints, stand.now);
    let Step::Wait { until } = other.step() else { panic!("{:?}", other.step()) };
    stand.now = stand.now.max(until);
    assert_eq!(
        other.tick(&mut stand.endpoints, stand.now),
        Step::Dial { endpoint: 0, refresh: false },
        "the attempt passed on"
    );
    other.established(&mut stand.endpoints, stand.now);
    assert_eq!(stand.endpoints.circuit(0), Some(Circuit::Closed));
}

#[test]
fn endpoints_are_taken_by_weight_and_left_when_they_fail() {
    let mut counts = [0; 3];
    for seed in 0..2_000 {
        let mut stand = Stand::new(&[3, 1, 0], seed);
        stand.link.start(&mut stand.endpoints, stand.now);
        counts[stand.link.endpoint().unwrap()] += 1;
    }
    assert!((1_400..1_600).contains(&counts[0]) && counts[2] == 0, "{counts:?}");

    for seed in 0..50 {
        // Whoever fails is avoided; who is in reserve comes when nobody else may; a restart goes back to where it was.
        let mut stand = Stand::new(&[1, 0], seed);
        stand.link.start(&mut stand.endpoints, stand.now);
        assert_eq!(stand.link.endpoint(), Some(0));
        stand.fail(Failure::Unreachable);
        assert_eq!(stand.redial().1, 1);
        stand.establish();
        stand.close(1012);
        assert_eq!(stand.redial().1, 0);
        // One that will not have us is out for good, and the other is all there is.
        stand.fail(answered(403));
        for _ in 0..3 {
            assert_eq!(stand.redial().1, 1);
            stand.fail(Failure::Unreachable);
        }
        assert_eq!(stand.redial().1, 1);
        assert_eq!(stand.fail(answered(404)), Step::Ended(Why::Refused(answered(404))));
    }
}

proptest! {
    #[test]
    fn a_dead_peer_is_left_within_three_intervals(interval in 50_u64..60_000, seed: u64, rounds in 1_usize..20) {
        let interval = millis(interval);
        let (ping_timeout, tick) = (interval, millis(50).min(interval / 10));
        let mut stand = Stand::with(Policy::for_interval(Some(interval)), &[1, 1], seed);
        stand.link.start(&mut stand.endpoints, stand.now);
        for _ in 0..rounds {
            stand.establish();
            // Silent from the very beginning, which is the shortest life: the first ping after half an interval.
            stand.now = stand.now + interval / 2 + ping_timeout;
            let (waited, _) = {
                stand.close(1006);
                stand.redial()
            };
            prop_assert!(interval + ping_timeout + tick + waited <= 3 * interval, "{waited:?}");
        }
    }

    #[test]
    fn waits_are_within_their_bounds_and_grow_until_a_connection_lasts(
        seed: u64,
        steps in proptest::collection::vec((0_u8..4, 0_u64..3_000), 1..60),
    ) {
        let mut policy = Policy::for_interval(Some(millis(1_000)));
        // The circuit has its own test.
        policy.failures = u32::MAX;
        let mut stand = Stand::with(policy, &[1, 2], seed);
        let mut twin = stand.link.clone();
        let mut twins = stand.endpoints.clone();
        stand.link.start(&mut stand.endpoints, stand.now);
        twin.start(&mut twins, stand.now);
        let mut in_a_row = 0;
        for (kind, lasted) in steps {
            in_a_row += 1;
            if kind == 0 {
                twin.failed(Failure::Unreachable, &mut twins, stand.now);
                stand.fail(Failure::Unreachable);
            } else {
                twin.established(&mut twins, stand.now);
                stand.establish();
                stand.now = stand.now + millis(lasted);
                if millis(lasted) >= stand.policy.stable_after {
                    in_a_row = 1;
                }
                let code = if kind == 1 { 1013 } else { 1006 };
                if kind == 1 {
                    in_a_row = in_a_row.max(2);
                }
                twin.closed(CloseCode(code), By::Peer, stand.now);
                stand.close(code);
            }
            prop_assert_eq!(stand.link.failures(), in_a_row);
            let before = stand.now;
            let (waited, endpoint) = stand.redial();
            prop_assert!(waited <= stand.policy.longest(in_a_row), "{waited:?} after {in_a_row}");
            prop_assert!(waited <= stand.policy.cap);
            // Seeded alike, it decides alike.
            let Step::Wait { until } = twin.step() else { panic!("{:?}", twin.step()) };
            prop_assert_eq!(until, before + waited);
            prop_assert_eq!(twin.tick(&mut twins, until), Step::Dial { endpoint, refresh: false });
        }
    }

    #[test]
    fn links_that_fail_together_do_not_come_back_together(seed: u64) {
        let waits: std::collections::BTreeSet<_> = (0..100)
            .map(|link| {
                let mut stand = Stand::open(&[1], seed.wrapping_add(link));
                stand.now = stand.now + millis(60_000);
                stand.close(1012);
                stand.redial().0
            })
            .collect();
        prop_assert!(waits.len() > 95 && waits.last().unwrap().as_millis() > 1_000, "{waits:?}");
    }
}
