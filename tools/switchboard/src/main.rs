//! The program `switchboard`.

use std::process::ExitCode;

use clap::Parser;
use emulator::lambda::guardian_main;
use mimalloc::MiMalloc;
use switchboard::cli::{Cli, arguments};

/// The same allocator as in the functions. A message passes through a local run about thirty times.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    guardian_main();
    local::certificates::provide();
    Cli::parse_from(arguments(std::env::args_os())).execute()
}
