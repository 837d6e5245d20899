//! Counts what a function allocates, for `examples/telemetry_cost.rs` of the local run. Only with the feature
//! `count-allocations`, which no deployment has.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Says how many allocations there have been since the process began, and their bytes.
pub(crate) fn tell() {
    let stats = ALLOCATOR.stats();
    let (count, bytes) = (stats.allocations + stats.reallocations, stats.bytes_allocated);
    println!("allocations {} {count} {bytes}", std::process::id());
}
