//! `cargo contracts`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use contracts::{published, states, verify};

/// Contracts with client teams.
#[derive(Debug, Parser)]
#[command(name = "cargo contracts", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify pacts against a new local run of the stack
    Verify(verify::Options),
    /// List the provider states that a pact may name
    States,
    /// Compare the documents of the working copy with the published ones, and list the clients that a change would
    /// break
    Compare {
        /// Folder with the openapi.yaml and asyncapi.yaml to compare [default: contracts]
        documents: Option<PathBuf>,
    },
    /// Publish the documents, and the pacts that the consumer tests have written
    Publish {
        /// Folder with the pacts
        #[arg(long, default_value = "contracts/target/pacts")]
        pacts: PathBuf,
        /// Only check whether the pacts are published
        #[arg(long)]
        check: bool,
        /// Publish even changes that break clients
        #[arg(long)]
        breaking: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::States => {
            print!("{}", states::listing());
            Ok(true)
        }
        Command::Compare { documents } => compare(documents),
        Command::Publish { pacts, check: true, .. } => published::stale(&pacts).map(|stale| {
            for one in &stale {
                eprintln!("{one}");
            }
            stale.is_empty()
        }),
        Command::Publish { pacts, breaking, .. } => published::publish(&pacts, breaking).map(|files| {
            for file in files {
                println!("{}", file.display());
            }
            true
        }),
        Command::Verify(options) => verify::run(&options).await.map(|outcome| {
            print!("{}", outcome.summary);
            outcome.holds()
        }),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn compare(documents: Option<PathBuf>) -> anyhow::Result<bool> {
    let broken = published::broken(&published::folder(), &documents.unwrap_or_else(published::contracts))?;
    for one in &broken {
        println!("{one}");
    }
    match broken.len() {
        0 => println!("nothing that is published would break"),
        count => println!("{count} changes would break clients"),
    }
    Ok(broken.is_empty())
}
