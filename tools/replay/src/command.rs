//! The command line of a replay: one line per message; exit code 1 if messages remain.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{Clients, Error, Options, ReplayOutcome, Report, replay};

/// Options of a replay.
#[derive(Debug, Args)]
pub struct Arguments {
    /// URL of the queue: an output of the stack, such as `DeliveryFailuresQueueUrl`
    #[arg(long)]
    queue_url: String,
    /// Only report the messages
    #[arg(long)]
    dry_run: bool,
    /// Delete messages whose records the stream no longer has
    #[arg(long)]
    forget_expired: bool,
    /// Maximum number of messages to take
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Ready file of a local run to replay in
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Arguments {
    /// Replays the queue, and prints the result of each message.
    pub async fn run(self) -> ExitCode {
        match run(self).await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    let Arguments { queue_url, dry_run, forget_expired, limit, ready_file } = arguments;
    let clients = match &ready_file {
        Some(file) => Clients::of_local_run(file).await?,
        None => Clients::from_environment().await,
    };
    let summary = replay(&clients, &queue_url, Options { dry_run, forget_expired, limit }, tell).await?;
    let (replayed, forgotten, left) = (summary.replayed, summary.forgotten, summary.left);
    println!("{replayed} replayed, {forgotten} forgotten, {left} left");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &Report) {
    let Report { message_id, letter, outcome } = report;
    let about = letter.as_ref().map_or_else(|| "a message of another kind".to_owned(), ToString::to_string);
    match outcome {
        ReplayOutcome::Replayed { records } => println!("ok       {message_id} {about}: {records} replayed"),
        ReplayOutcome::Seen { records } => println!("seen     {message_id} {about}: {records} to replay"),
        ReplayOutcome::Expired { forgotten } => {
            let end = if *forgotten { "deleted" } else { "--forget-expired deletes it" };
            println!("expired  {message_id} {about}: no longer in the stream; {end}");
        }
        ReplayOutcome::Unreadable(reason) => println!("left     {message_id} {about}: {reason}"),
        ReplayOutcome::Failed { failures, done } => {
            println!("FAILED   {message_id} {about}: {done} replayed, {} failed again", failures.len());
            for (what, reason) in failures {
                println!("         {what}: {reason}");
            }
        }
    }
}
