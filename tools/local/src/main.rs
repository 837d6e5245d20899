//! `cargo local`: the whole back end on one machine. `switchboard local` is the same command in the program for operators.

use std::process::ExitCode;

use clap::Parser;
use emulator::lambda::guardian_main;
use local::{
    cli::{Cli, arguments},
    program,
};
use mimalloc::MiMalloc;

/// The same allocator as in the functions. A message passes through this process about thirty times.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    guardian_main();
    program::execute(Cli::parse_from(arguments(std::env::args_os())))
}
