//! Receives the inputs that fuzzing saved under `rust/fuzz` · runs each through the function that the fuzzer runs · owns
//! that a finding, once mended, stays mended, and that the corpora begin with the catalogue's rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codec_frames;
mod fuzz_targets;
mod handshake_support;
mod simulation;

use std::fs;
use std::path::{Path, PathBuf};

use fuzz_targets::TARGETS;
use fuzz_targets::seeds::seeds;

fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind).join(target)
}

/// The files of a folder, in one order on every machine; a folder that is not there holds none.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs a target over what is saved for it, and says which file failed, to be run alone.
fn run_saved(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    let saved = [files(&folder("corpus", target)), files(&folder("regressions", target))].concat();
    assert!(saved.len() >= seeds(target).len(), "only {} inputs for {target}", saved.len());
    for file in saved {
        let input = fs::read(&file).unwrap();
        if let Err(failure) = std::panic::catch_unwind(|| run(&input)) {
            eprintln!("{} failed", file.display());
            std::panic::resume_unwind(failure);
        }
    }
}

#[test]
fn the_saved_inputs_of_http_front_keep_every_promise() {
    run_saved("http_front");
}

#[test]
fn the_saved_inputs_of_codec_server_keep_every_promise() {
    run_saved("codec_server");
}

#[test]
fn the_saved_inputs_of_codec_client_keep_every_promise() {
    run_saved("codec_client");
}

#[test]
fn the_saved_inputs_of_forwarded_keep_every_promise() {
    run_saved("forwarded");
}

#[test]
fn the_saved_inputs_of_inflate_keep_every_promise() {
    run_saved("inflate");
}

#[test]
fn the_saved_inputs_of_shard_keep_every_promise() {
    run_saved("shard");
}

#[test]
fn every_target_is_run_above_and_every_folder_is_a_targets() {
    let here = include_str!("corpora.rs");
    for (target, _) in TARGETS {
        assert!(here.contains(&format!("run_saved(\"{target}\")")), "{target} is not run");
        assert!(folder("fuzz_targets", "").join(format!("{target}.rs")).is_file(), "{target} is not fuzzed");
    }
    for kind in ["corpus", "regressions"] {
        for found in files(&folder(kind, "")).into_iter().filter(|found| found.is_dir()) {
            let name = found.file_name().unwrap().to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "{kind}/{name} belongs to no target");
        }
    }
}

#[test]
fn the_corpora_hold_the_seeds_as_they_are_written_here() {
    for (target, _) in TARGETS {
        for (name, bytes) in seeds(target) {
            let file = folder("corpus", target).join(format!("{name}.bin"));
            let saved = fs::read(&file).ok();
            assert!(saved == Some(bytes), "{} differs: run `make fuzz-seeds`", file.display());
        }
    }
}

/// `make fuzz-seeds`.
#[test]
#[ignore = "writes the seeds into the source tree"]
fn write_the_seeds() {
    for (target, _) in TARGETS {
        let folder = folder("corpus", target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds(target) {
            fs::write(folder.join(format!("{name}.bin")), bytes).unwrap();
        }
    }
}
