//! The command line.

use std::{ffi::OsString, future::Future, io::Write, process::ExitCode};

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    commands::{audit::Audit, channels::Channels, connections::Connections, messages::Messages, users::Users},
    output::{Output, OutputOptions},
    refusal::exit_code,
    target::{Target, TargetOptions},
};

/// Runs a chat back end on this machine, and operates deployments of it.
///
/// Exit codes: 0 success, 1 failure, 2 wrong command line, 3 not found, 4 not confirmed.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, arg_required_else_help = true)]
pub struct Cli {
    /// Command.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the back end that infra/backend.yaml describes on this machine
    Local(Box<local::cli::Cli>),
    /// Print a token that a local run accepts
    Token(local::cli::TokenOptions),
    /// Test a running deployment or local run, and name the step that fails
    Smoke(smoke::command::Options),
    /// Invoke functions again with the entries of an on-failure queue, and delete the entries that succeed
    ///
    /// Region and credentials come from the environment and the AWS CLI's profiles.
    Replay(replay::command::Arguments),
    /// List, export and import channels
    Channels(Box<On<Channels>>),
    /// Export and erase the data of a user
    Users(Box<On<Users>>),
    /// List and close connections
    Connections(Box<On<Connections>>),
    /// Show a message, and the steps that it took
    Messages(Box<On<Messages>>),
    /// Show the audit log: changes of members, roles and settings, and of other users' messages
    Audit(Box<On<Audit>>),
    /// Print a script that completes commands in a shell
    Completions {
        /// Shell
        shell: Shell,
    },
}

/// Command of an operator, with its target and its output.
#[derive(Debug, Args)]
pub struct On<Operation: Args> {
    /// Target.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Output.
    #[command(flatten)]
    pub output: OutputOptions,
    /// Command.
    #[command(flatten)]
    pub operation: Operation,
}

impl<Operation: Args> On<Operation> {
    /// Connects to the target, and runs the command there.
    fn execute(self, run: impl AsyncFnOnce(Operation, &Target, &Output) -> Result<()>) -> ExitCode {
        let Self { target, output, operation } = self;
        block_on(async {
            let done = async {
                let target = Target::connect(&target).await?;
                Box::pin(run(operation, &target, &Output::new(output))).await
            };
            done.await.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
        })
    }
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::Local(local) => local::program::execute(*local),
            Command::Token(options) => match local::program::print_token(&options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&anyhow::anyhow!(error)),
            },
            Command::Smoke(options) => block_on(options.run()),
            Command::Replay(arguments) => block_on(arguments.run()),
            Command::Channels(on) => on.execute(async |channels, target, output| channels.run(target, output).await),
            Command::Users(on) => on.execute(async |users, target, output| users.run(target, output).await),
            Command::Connections(on) => {
                on.execute(async |connections, target, output| connections.run(target, output).await)
            }
            Command::Messages(on) => on.execute(async |messages, target, output| messages.run(target, output).await),
            Command::Audit(on) => on.execute(async |audit, target, output| audit.run(target, output).await),
            Command::Completions { shell } => match complete(shell) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            },
        }
    }
}

fn block_on(run: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run),
        Err(error) => failed(&error.into()),
    }
}

/// Prints an error, and returns its exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    let code = exit_code(error);
    if code != 0 {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(code)
}

fn complete(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "switchboard", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// Returns the arguments without a leading `--`. Cargo's aliases end with `--` or with the name of a command, and
/// `cargo replay -- --queue-url …` passes another one.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_leading = true;
    given.into_iter().enumerate().filter_map(move |(index, argument)| {
        if is_leading && (1..=2).contains(&index) && argument == "--" {
            is_leading = false;
            return None;
        }
        Some(argument)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_alias_takes_its_options_with_and_without_a_separator() {
        for (given, expected) in [
            (&["switchboard", "replay", "--", "--limit", "1"][..], &["switchboard", "replay", "--limit", "1"][..]),
            (&["switchboard", "--", "channels", "list"], &["switchboard", "channels", "list"]),
            (&["switchboard", "channels", "list", "--"], &["switchboard", "channels", "list", "--"]),
        ] {
            let found: Vec<OsString> = arguments(given.iter().map(OsString::from)).collect();
            assert_eq!(found, expected, "{given:?}");
        }
    }

    #[test]
    fn options_of_the_target_come_before_or_after_the_command() {
        for line in [
            ["switchboard", "channels", "--stack", "s", "--json", "list"],
            ["switchboard", "channels", "list", "--json", "--stack", "s"],
        ] {
            let Command::Channels(on) = Cli::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
            assert_eq!((on.target.stack.as_deref(), on.output.json), (Some("s"), true), "{line:?}");
        }
    }

    #[test]
    fn each_shell_has_completions() {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "switchboard", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("export"), "{shell}");
        }
    }
}
