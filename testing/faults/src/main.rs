//! `cargo faults`: the real stack under faults, with a fleet of clients and an oracle; `cargo faults load`: under
//! load.

mod changer;
mod changes;
mod client;
mod disk;
mod fleet;
mod held;
mod injector;
mod ledger;
mod load;
mod machine;
mod oracle;
mod poison;
mod process;
mod samples;
mod sender;
mod skew;
mod subscriber;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    disk::Disk,
    fleet::Report,
    ledger::Ledger,
    load::Amounts,
    machine::{Machine, Setup},
    skew::Skew,
};

/// Runs the real stack on files. A seed decides which processes are killed or paused, when the disk is full, and which
/// sockets are cut. Then checks that no accepted message or change is lost or made twice, and that all subscribers show
/// the same.
#[derive(Debug, Parser)]
#[command(name = "cargo faults", version)]
struct Arguments {
    /// Command; the default is the fault run.
    #[command(subcommand)]
    command: Option<Command>,
    /// Duration of the faults, in minutes
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Seed of the run; random by default
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Folder with the binaries of the workspace, to use instead of building them
    #[arg(long, global = true, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Folder for the files of the run, which are kept; the default is a temporary folder
    #[arg(long, global = true, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Profile of quotas that the stack enforces, such as aws
    #[arg(long, global = true, value_name = "PROFILE")]
    quotas: Option<String>,
    /// Quota that the stack enforces, such as concurrency=10; may be repeated
    #[arg(long = "quota", global = true, value_name = "NAME=VALUE")]
    single_quotas: Vec<String>,
}

impl Arguments {
    /// Returns the options of the runner for its quotas.
    fn runner_quotas(&self) -> Vec<String> {
        let profile = self.quotas.iter().map(|profile| format!("--quotas={profile}"));
        profile.chain(self.single_quotas.iter().map(|quota| format!("--quota={quota}"))).collect()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs under load without faults: a hot channel, large frames, clients that do not read, a reconnect storm, a
    /// soak
    Load(Amounts),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the faults or the load. Returns whether all invariants hold.
async fn run(arguments: Arguments) -> Result<bool, String> {
    let binaries = match &arguments.bin_dir {
        Some(folder) => folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?,
        None => machine::build()?,
    };
    let quotas = arguments.runner_quotas();
    let temporary =
        tempfile::Builder::new().prefix("switchboard-faults-").tempdir().map_err(|error| error.to_string())?;
    let work = arguments.work_dir.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random());
    match arguments.command {
        Some(Command::Load(amounts)) => load(binaries, work, seed, quotas, amounts).await,
        None => {
            let duration = Duration::try_from_secs_f64(arguments.minutes * 60.0).map_err(|error| error.to_string())?;
            faults(binaries, work, seed, quotas, duration).await
        }
    }
}

async fn load(
    binaries: PathBuf,
    work: PathBuf,
    seed: u64,
    quotas: Vec<String>,
    amounts: Amounts,
) -> Result<bool, String> {
    let setup = Setup { binaries, data: work.join("data"), quotas, skew: Skew::none(&work), work };
    let mut chance = StdRng::seed_from_u64(seed);
    let machine = Arc::new(Machine::new(setup, &mut chance).map_err(|error| error.to_string())?);
    println!("seed {seed}");
    let shared = tokio::select! {
        shared = load::run(&machine, chance.random(), amounts) => shared,
        stopped = stopped() => Err(stopped),
    };
    machine.kill().await;
    let shared = shared.inspect_err(|_| tell_log(&machine))?;
    Ok(verdict(&shared.ledger, &machine, seed))
}

async fn faults(
    binaries: PathBuf,
    work: PathBuf,
    seed: u64,
    quotas: Vec<String>,
    duration: Duration,
) -> Result<bool, String> {
    // The stack writes about 40 MB a minute; reserves as much again.
    let megabytes = 128 + duration.as_secs() * 2;
    let disk = Disk::new(work.join("disk"), megabytes).map_err(|error| format!("the disk: {error}"))?;
    let skew = Skew::new(&work).map_err(|error| format!("the clocks: {error}"))?;
    println!("seed {seed}, {} s", duration.as_secs());
    println!("a full disk is {}", disk.describe());
    println!(
        "clocks of functions {}",
        if skew.is_possible() { "are moved (libfaketime)" } else { "cannot be moved: libfaketime is not installed" }
    );
    let mut chance = StdRng::seed_from_u64(seed);
    let setup = Setup { binaries, data: disk.data(), work, quotas, skew };
    let machine = Arc::new(Machine::new(setup, &mut chance).map_err(|error| error.to_string())?);
    let report = tokio::select! {
        report = fleet::run(&machine, &disk, chance.random(), duration) => report,
        stopped = stopped() => Err(stopped),
    };
    machine.kill().await;
    let Report { shared, messages, replayed, rest } = report.inspect_err(|_| tell_log(&machine))?;
    println!("\nfaults");
    shared.ledger.faults().iter().for_each(|(kind, count)| println!("{count:>8}  {kind}"));
    println!("\nresults\n{messages:>8}  messages accepted");
    shared.ledger.counts().iter().for_each(|(what, count)| println!("{count:>8}  {what}"));
    println!("{replayed:>8}  messages of on-failure queues replayed");
    println!("{:>8}  seconds until the system had converged", rest.as_secs());
    Ok(verdict(&shared.ledger, &machine, seed))
}

/// Waits for Ctrl-C or SIGTERM, so that neither the runner nor the file system outlives the run.
async fn stopped() -> String {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    "stopped before the end".to_owned()
}

/// Prints the violations, if there are any.
fn verdict(ledger: &Ledger, machine: &Machine, seed: u64) -> bool {
    let violations = ledger.violations();
    if violations.is_empty() {
        println!("\nall invariants hold");
        return true;
    }
    println!("\nVIOLATIONS (seed {seed})");
    for violation in violations {
        println!("  {violation}");
    }
    tell_log(machine);
    false
}

/// Prints the end of the runner's log.
fn tell_log(machine: &Machine) {
    let log = std::fs::read_to_string(machine.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    eprintln!("\nthe end of the runner's log:");
    lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("  {line}"));
}
