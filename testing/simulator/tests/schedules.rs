//! Ten thousand schedules, and the mutants that they must find.
//!
//! `SIMULATOR_SCHEDULES=1000000 cargo test --release -p simulator` sets the number of schedules; `SIMULATOR_SEED=7`
//! prints the events of one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use chat::memory::Rule;
use simulator::{Mutant, Report, run, run_without, tell};

/// Number of seeds within which a mutant must be found. Most are found within a hundred.
const SEARCHED: u64 = 10_000;

/// Number of seeds without the rule of the lease.
const WITHOUT_LEASE: u64 = 2_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Maximum number of failed schedules that are printed.
const SHOWN: usize = 20;

/// Runs seeds on all processors, and passes each report to `check`.
fn run_all(seeds: u64, check: impl Fn(u64, Report) + Sync) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    check(seed, run(seed, None));
                }
            });
        }
    });
}

#[test]
fn every_schedule_ends_as_it_must() {
    if let Some(seed) = variable("SIMULATOR_SEED") {
        let report = tell(seed, None);
        println!("{}\n{:#?}", report.event_log.join("\n"), report.violations);
        return;
    }
    let (seeds, started) = (variable("SIMULATOR_SCHEDULES").unwrap_or(10_000), Instant::now());
    let (steps, faults, deaths) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let violations = Mutex::new(BTreeMap::new());
    run_all(seeds, |seed, report| {
        if !report.violations.is_empty() {
            violations.lock().unwrap().insert(seed, report.violations);
        }
        steps.fetch_add(report.steps, Ordering::Relaxed);
        faults.fetch_add(u64::from(report.faults), Ordering::Relaxed);
        deaths.fetch_add(u64::from(report.deaths), Ordering::Relaxed);
    });
    println!(
        "{seeds} schedules, {} steps, {} faults, {} deaths: {:.1?}",
        steps.into_inner(),
        faults.into_inner(),
        deaths.into_inner(),
        started.elapsed()
    );
    let violations = violations.into_inner().unwrap();
    let first: Vec<_> = violations.iter().take(SHOWN).collect();
    assert!(first.is_empty(), "{} schedules failed, the first of them: {first:#?}", violations.len());
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None));
    }
    assert_ne!(run(1, None).trace, run(2, None).trace);
}

/// The lease only saves work: two functions that carry out the same end concurrently do no harm.
#[test]
fn ends_that_are_carried_out_twice_at_once_are_carried_out() {
    for seed in 0..WITHOUT_LEASE {
        let report = run_without(seed, Rule::LeaseHeld);
        assert!(report.violations.is_empty(), "seed {seed}: {:#?}", report.violations);
    }
}

#[test]
fn what_is_built_wrong_is_found() {
    let mut missed = Vec::new();
    for &mutant in Mutant::ALL {
        let found = (0..SEARCHED).find_map(|seed| {
            let report = run(seed, Some(mutant));
            report.violations.first().cloned().map(|violation| (seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
