//! The smoke test alone, for pipelines that build nothing else. `switchboard smoke` is the same command.

use std::process::ExitCode;

use clap::Parser;
use smoke::command::Options;

/// Tests a running Switchboard, deployed or local, and names the step that fails.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    Box::pin(Cli::parse().options.run()).await
}
