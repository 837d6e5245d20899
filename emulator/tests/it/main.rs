//! Tests of the emulator in one process: database, event source mappings and both gateways.

// Clippy's exception for tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod database;
mod dynamodb;
mod event_source;
mod fidelity;
mod out_of_phase;
mod quotas;
mod rest;
mod websocket;
