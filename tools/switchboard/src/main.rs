//! The program `switchboard`.

use std::process::ExitCode;

use clap::Parser;
use emulator::lambda::guardian_main;
use switchboard::cli::{Cli, arguments};

fn main() -> ExitCode {
    guardian_main();
    local::certificates::provide();
    Cli::parse_from(arguments(std::env::args_os())).execute()
}
