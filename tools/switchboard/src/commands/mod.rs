//! Commands of operators. Each has its options as [`clap::Args`], and a function `run` for a target and an output.

pub mod audit;
pub mod channels;
pub mod connections;
pub mod messages;
pub mod users;

mod progress_file;
