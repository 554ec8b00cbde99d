//! Receives the table of the lifecycle · looks at every pair of state and event, and at every way through it · owns the
//! proof that no pair is forgotten, no state unreachable, no end missed.

use std::collections::BTreeSet;

use streamconductor_core::lifecycle::{Direction, Event, Public, State, TABLE};

const INBOUND: [State; 11] = [
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
];

const OUTGOING: [State; 8] = [
    State::Connecting,
    State::Flowing,
    State::Backpressured,
    State::Evicting,
    State::Draining,
    State::Closing,
    State::Parting,
    State::Closed,
];

const LINK: [State; 6] =
    [State::Idle, State::Connecting, State::Open, State::Waiting, State::Ending, State::Ended];

const INBOUND_EVENTS: [Event; 14] = [
    Event::TlsExpected,
    Event::HeadExpected,
    Event::UpgradeRequested,
    Event::PlainAnswered,
    Event::Refused,
    Event::Admitted,
    Event::HighWater,
    Event::LowWater,
    Event::EvictionChosen,
    Event::CloseQueued,
    Event::CloseSent,
    Event::WritingShut,
    Event::SocketEnded,
    Event::Reset,
];

const OUTGOING_EVENTS: [Event; 9] = [
    Event::Connected,
    Event::HighWater,
    Event::LowWater,
    Event::EvictionChosen,
    Event::CloseQueued,
    Event::CloseSent,
    Event::CloseAnswered,
    Event::SocketEnded,
    Event::Reset,
];

const LINK_EVENTS: [Event; 6] =
    [Event::Dial, Event::Established, Event::Failed, Event::RetryDue, Event::Stop, Event::Stopped];

fn directions() -> [(Direction, &'static [State], &'static [Event]); 3] {
    [
        (Direction::Inbound, &INBOUND, &INBOUND_EVENTS),
        (Direction::Outgoing, &OUTGOING, &OUTGOING_EVENTS),
        (Direction::Link, &LINK, &LINK_EVENTS),
    ]
}

/// Every state once: an open connection's are those of both directions.
fn states() -> BTreeSet<usize> {
    INBOUND.iter().chain(&OUTGOING).chain(&LINK).map(|state| *state as usize).collect()
}

/// The state after an event, by the rows of one direction.
fn next_of(direction: Direction, state: State, event: Event) -> Option<State> {
    let is_meant = |row: &&streamconductor_core::lifecycle::Row| {
        row.from == state && row.event == event && row.directions.contains(&direction)
    };
    TABLE.iter().find(is_meant).map(|row| row.to)
}

/// Everything that can be reached from `state`, itself included.
fn reachable(direction: Direction, state: State, events: &[Event]) -> Vec<State> {
    let mut found = vec![state];
    let mut next = 0;
    while let Some(from) = found.get(next).copied() {
        next += 1;
        for to in events.iter().filter_map(|event| next_of(direction, from, *event)) {
            if !found.contains(&to) {
                found.push(to);
            }
        }
    }
    found
}

#[test]
fn every_pair_is_a_row_or_an_error() {
    assert_eq!(states().len(), State::COUNT, "every state is of some direction");
    let new = [State::Parting];
    let states = INBOUND.iter().chain(&LINK).chain(&new);
    let events = INBOUND_EVENTS.iter().chain(&LINK_EVENTS).chain(&[Event::Connected, Event::CloseAnswered]);
    let mut errors = Vec::new();
    let mut rows = 0;
    for state in states {
        for event in events.clone() {
            let row = TABLE.iter().find(|row| row.from == *state && row.event == *event);
            assert_eq!(state.next(*event), row.map(|row| row.to), "{state:?} {event:?}");
            match row {
                Some(_) => rows += 1,
                None => errors.push((*state, *event)),
            }
        }
    }
    assert_eq!((rows, errors.len()), (TABLE.len(), 18 * 22 - TABLE.len()));
    assert_eq!(errors.len(), 396 - 56, "a row came or went: is the diagram, and the shard, told?");
    // A few of them, by name: what must never be possible.
    for pair in [
        (State::Head, Event::Admitted),
        (State::Evicting, Event::CloseQueued),
        (State::Lingering, Event::WritingShut),
        (State::Lingering, Event::CloseQueued),
        (State::Closing, Event::LowWater),
        (State::Open, Event::Dial),
    ] {
        assert!(errors.contains(&pair), "{pair:?}");
    }
}

#[test]
fn no_pair_has_two_rows_and_no_row_leaves_its_direction() {
    let mut seen = BTreeSet::new();
    for row in TABLE {
        assert!(seen.insert((row.from as usize, row.event as usize)), "{row:?} is there twice");
        assert!(!row.meaning.is_empty());
        assert!(!row.directions.is_empty());
        for (_, states, events) in directions().iter().filter(|(one, ..)| row.directions.contains(one)) {
            assert!(states.contains(&row.from) && states.contains(&row.to) && events.contains(&row.event));
        }
    }
}

#[test]
fn every_state_is_reached_from_the_start_and_the_end_from_every_state() {
    for (direction, states, events) in directions() {
        let from_start = reachable(direction, states[0], events);
        let end = states[states.len() - 1];
        for state in states {
            assert!(from_start.contains(state), "{direction:?}: {state:?} is never reached");
            assert!(
                reachable(direction, *state, events).contains(&end),
                "{direction:?}: {state:?} has no way out"
            );
        }
        assert!(events.iter().all(|event| end.next(*event).is_none()), "{end:?} is the end");
    }
}

#[test]
fn a_socket_may_end_or_be_reset_in_every_state_but_the_last() {
    let outgoing = &OUTGOING[1..];
    for state in INBOUND.iter().chain(outgoing).filter(|state| **state != State::Closed) {
        for event in [Event::SocketEnded, Event::Reset] {
            assert_eq!(state.next(event), Some(State::Closed), "{state:?} {event:?}");
        }
    }
}

#[test]
fn the_public_state_only_goes_forward_and_names_are_unique() {
    let rank = |state: State| match state.public() {
        Public::Connecting => 0,
        Public::Open => 1,
        Public::Closing => 2,
        Public::Closed => 3,
    };
    for row in TABLE.iter().filter(|row| !row.directions.contains(&Direction::Link)) {
        assert!(rank(row.from) <= rank(row.to), "{row:?}");
    }
    let names: BTreeSet<_> = INBOUND.iter().chain(&OUTGOING).chain(&LINK).map(|state| state.name()).collect();
    assert_eq!(names.len(), State::COUNT);
}
