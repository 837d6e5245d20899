//! The reference client keeps all rules, and the kit finds each bug that is planted in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::struct_excessive_bools)]

mod bug;
mod link;
mod log;
mod reference;

use conformance::{Rule, Seeds, run_all, run_seed};

use self::{bug::Bug, reference::Reference};

/// Seeds within which a bug must be found.
const SEARCHED: u64 = 3_000;
const PRINTED: usize = 60;

fn seeds(count: u64) -> Seeds {
    Seeds { range: 0..count, rule: None, jobs: std::thread::available_parallelism().map_or(1, usize::from) }
}

#[test]
fn the_reference_client_keeps_all_rules() {
    let count = std::env::var("CONFORMANCE_SEEDS").map_or(2_000, |text| text.parse().unwrap());
    let summary = run_all(&seeds(count), || Ok(Reference::new(None))).unwrap();
    if let Some(first) = summary.failures.first() {
        let skipped = first.dialogue.len().saturating_sub(PRINTED);
        println!("{}", first.dialogue[skipped..].join("\n"));
    }
    let failures: Vec<String> =
        summary.failures.iter().map(|failure| format!("seed {}: {:?}", failure.seed, failure.finding)).collect();
    assert!(failures.is_empty(), "{} of {count}: {:#?}", failures.len(), failures.iter().take(20).collect::<Vec<_>>());
    assert_eq!(summary.seeds, count);
}

#[test]
fn each_planted_bug_is_found() {
    let mut missed = Vec::new();
    for &bug in Bug::ALL {
        let run = |seed, rule| run_seed(&mut Reference::new(Some(bug)), seed, Some(rule)).finding;
        // A bug may break other rules first.
        let found = (0..SEARCHED)
            .find_map(|seed| bug.rules().iter().find_map(|rule| run(seed, *rule).map(|finding| (seed, finding))));
        match found {
            Some((seed, finding)) => println!("{bug:?}: seed {seed}: {}: {}", finding.rule.name(), finding.text),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..26 {
        let run = || run_seed(&mut Reference::new(None), seed, None);
        assert_eq!(run(), run());
    }
}

#[test]
fn one_client_runs_many_seeds() {
    let mut client = Reference::new(None);
    for seed in [0, 1, 2] {
        let alone = run_seed(&mut Reference::new(None), seed, None);
        assert_eq!(run_seed(&mut client, seed, None), alone, "the line `start` resets the client");
    }
}

#[test]
fn only_the_named_rule_counts() {
    let run = |rule| run_seed(&mut Reference::new(Some(Bug::ShownByArrival)), 0, Some(rule)).finding;
    assert_eq!(run(Rule::Order).map(|finding| finding.rule), Some(Rule::Order));
    assert_eq!(run(Rule::Backoff), None);
}
