//! Receives a seed · runs servers of one to four shards through hundreds of random steps, in one thread and on a fake
//! clock · owns the seeds; the steps stand in `simulation/run.rs`, what must hold between any two in
//! `simulation/world.rs`.

mod simulation;

use std::collections::BTreeMap;

use simulation::run::Run;
use streamconductor_core::close::Ending;
use streamconductor_core::stats::{Outcome, Stats};

const STEPS: usize = 1_500;

fn run(seed: u64) -> Stats {
    let mut run = Run::new(seed);
    for _ in 0..STEPS {
        run.step();
    }
    if seed.is_multiple_of(4) {
        run.let_all_end();
    } else {
        run.abandon();
    }
    run.world.check_traces();
    run.world.server.stats()
}

/// Runs seeds and says which one failed, to be run alone. Runs that never get anywhere would prove nothing, so
/// together they must have seen every outcome and every ending.
fn run_all(seeds: std::ops::Range<u64>) {
    let mut sum = Stats::default();
    for seed in seeds {
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(stats) => sum.merge(&stats),
            Err(failure) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(failure);
            }
        }
    }
    let outcomes = Outcome::NAMES.iter().zip(sum.handshakes);
    let endings = Ending::NAMES.iter().zip(sum.endings);
    let seen: BTreeMap<_, _> = outcomes.chain(endings).collect();
    let unseen: Vec<_> = seen.iter().filter(|(_, count)| **count == 0).map(|(name, _)| **name).collect();
    // Origins are open here, and nobody raises in `on_connect`.
    assert_eq!(unseen, ["origin", "raised"], "{seen:?}");
    let deflated = [sum.compressed, sum.inflated].map(|counted| counted.messages);
    assert!(deflated[0] > 1_000 && deflated[1] > 100, "{deflated:?}");
    assert!(sum.dropped[1..].iter().all(|flow| flow.messages > 0));
}

#[test]
fn random_runs_keep_every_promise_first_half() {
    run_all(0..250);
}

#[test]
fn random_runs_keep_every_promise_second_half() {
    run_all(1_000..1_250);
}

/// More seeds, for a night: `STREAMCONDUCTOR_SEEDS=10000 cargo test --test shard_random -- --ignored`.
#[test]
#[ignore = "as long as one likes"]
fn random_runs_of_many_seeds() {
    let count = std::env::var("STREAMCONDUCTOR_SEEDS").map_or(1_000, |count| count.parse().unwrap());
    run_all(10_000..10_000 + count);
}
