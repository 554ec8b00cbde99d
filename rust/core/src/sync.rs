//! Receives the build's choice (`--cfg loom`) · hands `Arc` and the atomics to what threads share · owns
//! the switch between the real ones and loom's, which runs every interleaving.

#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, atomic};

/// Runs `body` under every interleaving of at most three preemptions, which is where bugs of two or three
/// threads show; unbounded exploration takes hours and finds no more.
#[cfg(all(test, loom))]
pub(crate) fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}
