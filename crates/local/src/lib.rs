//! The local run: the CloudFormation template in `infra/`, run on one machine.
//!
//! [`template`] resolves the template into a [`stack::Stack`]. Each module implements one AWS service: [`access`] IAM,
//! [`dynamodb`] the tables and their streams, [`lambda`] the functions, [`event_source`] the event source mappings,
//! [`rest`] and [`websocket`] the two API Gateways. The functions are the real binaries, with a real Runtime API.
//! [`otlp`] receives the telemetry of the functions, and [`page`] serves the browser client. [`doors`] protects all
//! listeners.

pub mod access;
pub mod binaries;
pub mod cli;
pub mod doors;
pub mod dynamodb;
pub mod event_source;
pub mod lambda;
pub mod otlp;
pub mod page;
pub mod rest;
pub mod run;
pub mod runs;
pub mod schedule;
pub mod secret;
pub mod stack;
pub mod template;
pub mod token;
pub mod websocket;
