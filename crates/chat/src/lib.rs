//! The domain of Switchboard: channels, messages, connections and what happens between them.
//!
//! Four layers, each with imports from those above it in this table only (`tests/layers.rs`):
//!
//! | layer | holds |
//! | --- | --- |
//! | [`model`] | values and entities; no input or output |
//! | [`ports`] | the traits that the rules need from outside, one in a file |
//! | [`app`] | the rules, one use case in a file |
//! | `memory` | every port in memory, for tests and simulations (feature `memory`) |
//!
//! Nothing here knows AWS, HTTP or Lambda.

pub mod app;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod model;
pub mod ports;

#[cfg(test)]
mod testing;
