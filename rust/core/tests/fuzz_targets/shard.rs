//! Receives the choices of a run · fails where the model of `simulation/world.rs` finds a promise broken · owns how such
//! a run ends.
//!
//! The input is no data but the choices themselves: limits, then step by step who connects, what is sent in which
//! pieces, what a socket takes, what the application asks, how much time passes. After each step all must hold that
//! holds between the steps of a random run: accepted = written + dropped + discarded + pending, places never above their
//! maximum, one order per channel, at most one ending per connection. At the end nobody is left, nor a byte in the
//! ledger, and every connection has had its ending.

use crate::simulation::run::Run;

/// Bytes that have been thought through; more would only be slower.
const MOST: usize = 1_500;

pub fn shard(input: &[u8]) {
    let (choice, steps) = input.split_first().unwrap_or((&0, &[]));
    let mut run = Run::reading(&steps[..steps.len().min(MOST)]);
    while !run.world.random.is_over() {
        run.step();
    }
    // Waiting for every deadline takes a hundred times longer than the run: one in sixteen.
    if choice % 16 == 1 {
        run.let_all_end();
    } else {
        run.abandon();
    }
    run.world.check_traces();
}
