//! Benchmarks of Switchboard, each with a baseline that is measured in the same run.
//!
//! ```sh
//! cargo bench-end-to-end
//! cargo bench-fan-out
//! cargo bench-overhead
//! cargo bench-growth
//! cargo bench-push
//! cargo bench-crowd
//! ```
//!
//! `docs/reports/performance.md` describes their methods and results.

mod crowd;
mod end_to_end;
mod fan_out;
mod growth;
mod load;
mod overhead;
mod program;
mod promises;
mod push;
mod report;
mod serve;
mod stats;
mod system;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Benchmarks of Switchboard
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// File for the measurements as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From POST to the frame on the socket, against a bare relay and serverless-offline
    EndToEnd(end_to_end::Options),
    /// One message to many sockets, against a bare HTTP client
    FanOut(fan_out::Options),
    /// Cost of each function, against an empty one
    Overhead(overhead::Options),
    /// Cost of operations as channels grow
    Growth(growth::Options),
    /// Processor time of one push, against the SDK's client
    Push(push::Options),
    /// One message to a crowd of simulated sockets, with requests beside it
    Crowd(crowd::Options),
    /// Runs a server that a benchmark needs
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    kind: Server,
    #[arg(long)]
    ready_file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    Floor,
    Dynamodb,
    Sink,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::raise_file_limit();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => match runtime.block_on(until_interrupted(cli)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error.into()),
    }
}

fn failed(error: &Error) -> ExitCode {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let told: Vec<String> = [error.to_string()].into_iter().chain(causes.map(ToString::to_string)).collect();
    eprintln!("error: {}", told.join(": "));
    ExitCode::FAILURE
}

/// Runs the benchmark until it ends or Ctrl-C. The started programs are killed by this process: a stopped process
/// would not react to Ctrl-C.
async fn until_interrupted(cli: Cli) -> Result<()> {
    tokio::select! {
        outcome = run(cli) => outcome,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn run(cli: Cli) -> Result<()> {
    let report = match cli.command {
        Command::EndToEnd(options) => end_to_end::run(options).await?,
        Command::FanOut(options) => fan_out::run(options).await?,
        Command::Overhead(options) => overhead::run(options).await?,
        Command::Growth(options) => growth::run(options).await?,
        Command::Push(options) => push::run(options).await?,
        Command::Crowd(options) => crowd::run(options).await?,
        Command::Serve(Serve { kind: Server::Floor, ready_file }) => return serve::floor(&ready_file).await,
        Command::Serve(Serve { kind: Server::Dynamodb, ready_file }) => return serve::dynamodb(&ready_file).await,
        Command::Serve(Serve { kind: Server::Sink, ready_file }) => return serve::sink(&ready_file).await,
    };
    report.publish(cli.json.as_deref())
}
