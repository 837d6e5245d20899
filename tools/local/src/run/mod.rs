//! Starts a stack, runs it, and stops it.

mod addresses;
mod functions;
mod gateways;
mod listen;
mod mappings;
mod running;
mod servers;
mod settings;
mod storage;

use std::{io::Write, path::Path};

use emulator::quotas::{Limits, Quotas};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::{running::Running, settings::function_log_level};
use crate::cli::RunOptions;

/// Error that ends the run, as text for the user of the terminal.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

const REGION: &str = "us-east-1";
const ACCOUNT_ID: &str = "000000000000";

/// Limit of open files: connections, two pipes for each function, SQLite and the servers of the functions.
const OPEN_FILES: u64 = 65_536;

/// Channel that is created at the start, so that the first message has a channel.
const FIRST_CHANNEL: &str = "lobby";

/// Runs until Ctrl-C or SIGTERM.
pub fn run(options: RunOptions) -> Result<(), Error> {
    let log_level = &options.log_level;
    // The runner filters the output of functions only if their own log level does not.
    let functions = if function_log_level(log_level) == log_level { "function::output=info," } else { "" };
    // The engine logs a lost race for a channel's next `seq` as an error. It is part of normal operation.
    let filter = EnvFilter::try_new(format!("dynoxide=error,{functions}{log_level}"))
        .map_err(|error| format!("--log-level {log_level}: {error}; use error, warn, info, debug or trace"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    raise_file_limit();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(stack(options))
}

async fn stack(options: RunOptions) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(stopped);
    let running = tokio::select! {
        running = Running::start(&options) => running?,
        // Dropping the handles stops the parts that are already started.
        () = &mut stopped => return Ok(()),
    };
    if let Some(file) = &options.ready_file {
        write_whole(file, &running.addresses.to_json())?;
    }
    running.addresses.print_addresses(&running.secret)?;
    stopped.await;
    eprintln!("Stopping");
    let quotas = running.quotas.clone();
    running.stop().await;
    tell_refused(&quotas);
    if let Some(file) = &options.ready_file {
        // The stack of the ready file is stopped. The user may have removed the file already.
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

/// Prints the numbers of refused requests, if the run has quotas.
fn tell_refused(quotas: &Quotas) {
    if quotas.limits() == Limits::default() {
        return;
    }
    let refused = quotas.report().refused();
    if refused.is_empty() {
        eprintln!("Quotas refused nothing");
    }
    for (kind, number) in refused {
        eprintln!("Quotas refused {number} {kind}");
    }
}

/// Raises the limit of open files to `OPEN_FILES`, or to the system's maximum. The functions inherit the limit.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        // If it fails, the limit of connections is lower.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Writes a file atomically, so that a waiting reader never reads a partial file.
fn write_whole(file: &Path, content: &Value) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| format!("cannot write the ready file {}: {error}", file.display());
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    writeln!(temporary, "{content}").map_err(failed)?;
    temporary.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}
