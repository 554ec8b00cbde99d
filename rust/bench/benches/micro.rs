//! Times every workload with criterion: `make bench-micro`, `make bench-micro ARGS=fan-out`.
#![allow(missing_docs, reason = "criterion's macros make a function")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use streamconductor_bench::{ALL, Workload};

fn workloads(criterion: &mut Criterion) {
    for workload in ALL.iter().copied().flatten() {
        let Workload { name, unit, units, prepare } = workload;
        let (part, what) = name.split_once('/').unwrap_or((name, unit));
        let mut group = criterion.benchmark_group(part);
        group.throughput(Throughput::Elements(*units));
        group.bench_function(what, |bencher| {
            let mut work = prepare();
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    // Of microseconds each, so that two looks at the clock weigh nothing.
                    work.rewind();
                    let started = Instant::now();
                    let done = black_box(work.run());
                    total += started.elapsed();
                    assert_eq!(done, *units, "{name}");
                }
                total
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = workloads
}
criterion_main!(benches);
