//! Ten thousand schedules, and what is found when something is built wrong.
//!
//! `SIMULATOR_SCHEDULES=1000000 cargo test --release -p simulator` runs as many as one likes; `SIMULATOR_SEED=7` tells of one.

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

/// Seeds that a mutant has to be found within.
const SEARCHED: u64 = 4_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Schedules that end otherwise than they must and are told of.
const SHOWN: usize = 20;

/// Runs seeds on all processors, and gives each report to `check`.
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
    assert!(first.is_empty(), "{} schedules end otherwise, the first of them: {first:#?}", violations.len());
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..50 {
        assert_eq!(run(seed, None), run(seed, None));
    }
    assert_ne!(run(1, None).trace, run(2, None).trace);
}

/// A lease saves work. Two functions that carry out the same end at once do no harm.
#[test]
fn ends_that_are_carried_out_twice_at_once_are_carried_out() {
    for seed in 0..SEARCHED / 2 {
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
