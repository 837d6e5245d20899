//! Conformance kit for clients of Switchboard, in any language.
//!
//! The kit is the platform of the client: clock, network, randomness and application. It leads the client through
//! schedules, each determined by a seed, against a model of the server in memory. Time is virtual, so that hours pass
//! in milliseconds. docs/guides/conformance.md describes the lines between the kit and a client, and the rules.

mod client;
mod dice;
mod gateway;
mod plan;
mod protocol;
mod rules;
mod runner;
mod world;

pub use client::{Client, Process};
pub use protocol::{Handshake, Order, Request, Show, ShownDraft, ShownMessage, ShownReaction, ShownSend};
pub use rules::{Finding, Rule};
pub use runner::{Failure, Seeds, Summary, run_all, run_seed};
pub use world::Outcome;
