//! `cargo contracts`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use contracts::{states, verify};

/// Contracts with client teams.
#[derive(Debug, Parser)]
#[command(name = "cargo contracts", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify pacts against the stack, which is started for it
    Verify(verify::Options),
    /// List the provider states that a pact may name
    States,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::States => {
            print!("{}", states::listing());
            Ok(true)
        }
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
