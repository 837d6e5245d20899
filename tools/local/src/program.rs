//! The commands of the local run, for the programs that have them.

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, TokenOptions},
    run, runs, token,
};

/// Runs a command to its end, and prints its error.
///
/// A program calls [`emulator::lambda::guardian_main`] before, in the beginning of its `main`.
#[must_use]
pub fn execute(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Token(options)) => print_token(&options),
        None => run::run(cli.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a token that the running stack accepts.
pub fn print_token(options: &TokenOptions) -> Result<(), run::Error> {
    let secret = runs::secret(options.wanted())?;
    println!("{}", token::for_command_line(&secret, &options.user, options.ttl, jiff::Timestamp::now())?);
    Ok(())
}
