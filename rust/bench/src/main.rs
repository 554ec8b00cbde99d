//! Runs one workload under callgrind, which counts in one function and nowhere else.
//!
//! `streamconductor-workload list` prints the workloads, one a line: name, unit, units of a run.
//! `streamconductor-workload run NAME` runs one of them.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use streamconductor_bench::{ALL, Work, Workload};

const USAGE: &str = "usage: streamconductor-workload list | run NAME";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let workloads = || ALL.iter().copied().flatten();
    match words[..] {
        ["list"] => {
            for Workload { name, unit, units, .. } in workloads() {
                println!("{name}\t{unit}\t{units}");
            }
            ExitCode::SUCCESS
        }
        ["run", name] => {
            let found = workloads().find(|workload| workload.name == name);
            found.map_or_else(|| unknown(name), run)
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn unknown(name: &str) -> ExitCode {
    eprintln!("no workload is called {name}");
    ExitCode::from(2)
}

/// Runs it twice: what happens only once (lazy statics, caches that fill, the first growth of a buffer) is not the
/// workload.
fn run(workload: &Workload) -> ExitCode {
    let mut work = (workload.prepare)();
    work.rewind();
    let first = work.run();
    work.rewind();
    let second = counted(work.as_mut());
    if (first, second) == (workload.units, workload.units) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}: {first} and {second} {} done, not {}", workload.name, workload.unit, workload.units);
    ExitCode::FAILURE
}

/// callgrind counts from here on until this returns. It finds the place by the name of this function.
#[inline(never)]
fn counted(work: &mut dyn Work) -> u64 {
    black_box(work.run())
}
