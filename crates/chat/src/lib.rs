//! The domain of Switchboard: channels, messages, connections, and the rules that connect them.
//!
//! Four layers. Each imports only from layers above it in this table; `tests/layers.rs` checks it:
//!
//! | layer | holds |
//! | --- | --- |
//! | [`model`] | values and entities; no input or output |
//! | [`ports`] | the traits that the rules need from outside, one in a file |
//! | [`app`] | the rules, one use case in a file |
//! | `memory` | every port in memory, for tests and simulations (feature `memory`) |
//!
//! The crate contains no code of AWS, HTTP or Lambda.

pub mod app;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod model;
pub mod ports;

#[cfg(test)]
mod testing;
