//! Runs the checks of the repository: `cargo xtask ci`.

mod ahead;
mod ci;
mod install;
mod local_run;
mod steps;
mod totals;
mod workspace;

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

/// Result of a step. Errors are texts for the person who runs it.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tasks of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs the checks of a change, in order, and stops at the first that fails.
    Ci(CiArguments),
}

#[derive(Args)]
struct CiArguments {
    /// Steps to run. Default: all.
    #[arg(value_name = "STEP", value_parser = step_names(), hide_possible_values = true)]
    steps: Vec<String>,
    /// First step to run; the steps after it follow.
    #[arg(long, value_name = "STEP", value_parser = step_names(), hide_possible_values = true, conflicts_with = "steps")]
    from: Option<String>,
    /// Prints the steps.
    #[arg(long)]
    list: bool,
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(steps::STEPS.iter().map(|step| step.name))
}

fn main() -> ExitCode {
    let Task::Ci(arguments) = Arguments::parse().task;
    let done = if arguments.list {
        print!("{}", ci::list());
        Ok(())
    } else {
        ci::run(&ci::select(&arguments.steps, arguments.from.as_deref()))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
