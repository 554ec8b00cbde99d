//! Receives a state and what to do with it from each workload · hands out work that whoever measures can repeat ·
//! owns the line between what is measured and what is not.

/// Work that can be done again and again, and costs the same each time.
pub trait Work {
    /// Puts back what the last run has used up. Not measured; called before every run.
    fn rewind(&mut self);

    /// Does the work. This is what is measured; the answer is how many units of it were done.
    fn run(&mut self) -> u64;
}

/// One workload.
pub struct Workload {
    /// The part of the core, a slash, and what is done with it.
    pub name: &'static str,
    /// What one unit is, in the plural.
    pub unit: &'static str,
    /// Units of one run. A run that does another number has not done its work, and its measure means nothing.
    pub units: u64,
    /// Makes the state, of which nothing is measured.
    pub prepare: fn() -> Box<dyn Work>,
}

/// Work over one state, as three functions.
struct Steps<S, B, R> {
    state: S,
    rewind: B,
    run: R,
}

impl<S, B: FnMut(&mut S), R: FnMut(&mut S) -> u64> Work for Steps<S, B, R> {
    fn rewind(&mut self) {
        (self.rewind)(&mut self.state);
    }

    fn run(&mut self) -> u64 {
        (self.run)(&mut self.state)
    }
}

/// Work over `state`: `rewind` puts it back, `run` is measured.
pub(crate) fn work<S: 'static>(
    state: S,
    rewind: impl FnMut(&mut S) + 'static,
    run: impl FnMut(&mut S) -> u64 + 'static,
) -> Box<dyn Work> {
    Box::new(Steps { state, rewind, run })
}
