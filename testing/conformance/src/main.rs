//! `cargo conformance`: runs schedules with a client, and names the rules that it breaks.

mod planted;

use std::{process::ExitCode, thread};

use clap::{Parser, Subcommand};
use conformance::{Failure, Process, Rule, Seeds, Summary, run_all};

/// Failures that are listed; the first of them with its lines.
const LISTED: usize = 20;

/// Runs schedules, each determined by a seed, with a client of Switchboard. The command starts the client, which reads
/// and writes lines of JSON as docs/guides/conformance.md describes.
#[derive(Debug, Parser)]
#[command(name = "cargo conformance", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Number of seeds; 1000 by default, and 1 after `--seed`
    #[arg(long)]
    seeds: Option<u64>,
    /// First seed; 0 by default
    #[arg(long)]
    seed: Option<u64>,
    /// Name of the only rule that counts
    #[arg(long)]
    rule: Option<String>,
    /// Number of clients that run at once; the number of processors by default
    #[arg(long)]
    jobs: Option<usize>,
    /// Prints the names of the rules
    #[arg(long)]
    rules: bool,
    /// Command of the client, for example `node clients/js/conformance.mjs`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Plants bugs in copies of a client of this repository, and prints the rule and the seed that find each
    Planted(planted::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.rules {
        for rule in Rule::ALL {
            println!("{}", rule.name());
        }
        return ExitCode::SUCCESS;
    }
    let kept = match &arguments.task {
        Some(Task::Planted(options)) => planted::run(options),
        None => run(&arguments).map(|summary| summary.failures.is_empty()),
    };
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Summary, String> {
    let rule = match arguments.rule.as_deref() {
        Some(name) => Some(Rule::named(name).ok_or_else(|| format!("no rule {name}; --rules lists them"))?),
        None => None,
    };
    let first = arguments.seed.unwrap_or(0);
    let jobs = arguments.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let count = arguments.seeds.unwrap_or(if arguments.seed.is_some() { 1 } else { 1000 });
    let seeds = Seeds { range: first..first.saturating_add(count), rule, jobs };
    let summary = run_all(&seeds, || Process::start(&arguments.command))?;
    report(&summary);
    Ok(summary)
}

fn report(summary: &Summary) {
    if let Some(first) = summary.failures.first() {
        println!("Seed {}, all lines, with milliseconds since the start:", first.seed);
        for line in &first.dialogue {
            println!("{line}");
        }
        println!();
    }
    for Failure { seed, finding, .. } in summary.failures.iter().take(LISTED) {
        println!("seed {seed}: {}: {}", finding.rule.name(), finding.text);
    }
    println!("{} seeds, {} lines, {} failures", summary.seeds, summary.lines, summary.failures.len());
}
