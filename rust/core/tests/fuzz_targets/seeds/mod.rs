//! Receives nothing · hands out the inputs that fuzzing starts from · owns their names: the rows H1 to H28 and F1 to F28 of
//! the catalogue of hostile input, as far as bytes on one connection can show them, and runs of the whole shard.

mod frames;
mod heads;
mod hops;
mod streams;

use crate::simulation::Random;

/// A name and the bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target.
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "http_front" => named(heads::heads()),
        "codec_server" => named(frames::from_clients()),
        "codec_client" => named(frames::from_servers()),
        "forwarded" => named(hops::hops()),
        "inflate" => named(streams::streams()),
        "shard" => runs(),
        _ => Vec::new(),
    }
}

fn named(seeds: Vec<(&str, Vec<u8>)>) -> Vec<Seed> {
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Choices at random: the fuzzer learns from them what one may choose.
fn runs() -> Vec<Seed> {
    let run = |seed: u64| (format!("run-{seed}"), Random::new(seed).bytes(600));
    (0..12).map(run).collect()
}
