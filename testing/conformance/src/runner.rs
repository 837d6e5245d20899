//! Runs many seeds, in several processes of the client at once.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    client::Client,
    rules::{Finding, Rule},
    world::{Outcome, World},
};

/// Seeds to run, and the rule that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds {
    /// The seeds.
    pub range: Range<u64>,
    /// The only rule that counts; all if there is none.
    pub rule: Option<Rule>,
    /// Number of clients that run at once.
    pub jobs: usize,
}

/// A seed with which the client breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The broken rule.
    pub finding: Finding,
    /// All lines of the run.
    pub dialogue: Vec<String>,
}

/// The result of many seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of seeds that were run.
    pub seeds: u64,
    /// Number of lines in both directions.
    pub lines: u64,
    /// Failures by seed.
    pub failures: Vec<Failure>,
}

/// Runs the schedule of a seed with a client, to its end or to the first broken rule.
pub fn run_seed(client: &mut dyn Client, seed: u64, rule: Option<Rule>) -> Outcome {
    World::new(seed, client, rule).run(seed)
}

/// Runs seeds. Each job has a client of its own, which `start` makes; a client that broke a rule is replaced.
pub fn run_all<C: Client>(seeds: &Seeds, start: impl Fn() -> Result<C, String> + Sync) -> Result<Summary, String> {
    let next = AtomicU64::new(seeds.range.start);
    let summary = Mutex::new(Summary::default());
    let work = || -> Result<(), String> {
        let mut client = start()?;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.range.end {
                return Ok(());
            }
            let outcome = run_seed(&mut client, seed, seeds.rule);
            let has_failed = outcome.finding.is_some();
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.seeds += 1;
            summary.lines += u64::try_from(outcome.dialogue.len()).unwrap_or(0);
            if let Some(finding) = outcome.finding {
                summary.failures.push(Failure { seed, finding, dialogue: outcome.dialogue });
            }
            drop(summary);
            if has_failed {
                client = start()?;
            }
        }
    };
    let results: Vec<Result<(), String>> = thread::scope(|scope| {
        let jobs: Vec<_> = (0..seeds.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let joined =
            jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| Err("a job of the kit panicked".to_owned())));
        joined.collect()
    });
    results.into_iter().collect::<Result<(), String>>()?;
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_by_key(|failure| failure.seed);
    Ok(summary)
}
