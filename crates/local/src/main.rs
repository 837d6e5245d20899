//! `cargo local`: the whole back end on one machine.

use std::process::ExitCode;

use clap::Parser;
use local::{
    cli::{Cli, Command, arguments},
    lambda::guardian_main,
    run, token,
};
use mimalloc::MiMalloc;

/// The same as the functions have: a message passes through this process some thirty times.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    guardian_main();
    let cli = Cli::parse_from(arguments(std::env::args_os()));
    let done = match cli.command {
        Some(Command::Token(options)) => token::for_command_line(&options.user, options.ttl, jiff::Timestamp::now())
            .map(|token| println!("{token}"))
            .map_err(Into::into),
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
