//! `cargo local`: the whole back end on one machine.

use std::process::ExitCode;

use clap::Parser;
use emulator::lambda::guardian_main;
use local::{
    cli::{Cli, Command, TokenOptions, arguments},
    run, runs, token,
};
use mimalloc::MiMalloc;

/// The same allocator as in the functions. A message passes through this process about thirty times.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    guardian_main();
    let cli = Cli::parse_from(arguments(std::env::args_os()));
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

fn print_token(options: &TokenOptions) -> Result<(), run::Error> {
    let secret = runs::secret(options.wanted())?;
    println!("{}", token::for_command_line(&secret, &options.user, options.ttl, jiff::Timestamp::now())?);
    Ok(())
}
