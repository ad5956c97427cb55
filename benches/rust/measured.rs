//! How long each bench may take: all of them together stay below ten minutes.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};

/// A group of benches of one subject.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}
