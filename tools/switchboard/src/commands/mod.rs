//! Commands of operators. Each has its options as [`clap::Args`], and a function `run` for a target and an output.

pub mod channels;
