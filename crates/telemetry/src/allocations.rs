//! Counts of a function's allocations, for `examples/telemetry_cost.rs` of the local run. Only with the feature
//! `count-allocations`, which no deployment has.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Prints the number of allocations since the start of the process, and their bytes.
pub(crate) fn tell() {
    let stats = ALLOCATOR.stats();
    let (count, bytes) = (stats.allocations + stats.reallocations, stats.bytes_allocated);
    println!("allocations {} {count} {bytes}", std::process::id());
}
