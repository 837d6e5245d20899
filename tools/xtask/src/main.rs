//! Runs the checks of the repository, `cargo xtask ci`, and builds its releases.

mod archive;
mod beside;
mod ci;
mod install;
mod local_run;
mod release;
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
    /// Builds the archive of a release, and tries it in an empty root.
    Archive(archive::ArchiveArguments),
    /// Prints the changes of a release, such as v0.1.0. Fails if the version is not that of all packages.
    ReleaseNotes {
        /// Tag of the release.
        tag: String,
    },
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
    let done = match Arguments::parse().task {
        Task::Ci(arguments) if arguments.list => {
            print!("{}", ci::list());
            Ok(())
        }
        Task::Ci(arguments) => ci::run(&ci::select(&arguments.steps, arguments.from.as_deref())),
        Task::Archive(arguments) => archive::run(&arguments),
        Task::ReleaseNotes { tag } => release::print_notes(&tag),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
