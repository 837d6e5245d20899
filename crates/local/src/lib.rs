//! The local run: the CloudFormation template in `infra/`, brought up on one machine.
//!
//! The template is read into a [`stack::Stack`], and each part of this crate plays the AWS service that
//! would run its share of it: [`access`] IAM, [`dynamodb`] the tables and their streams, [`lambda`] the functions (the real
//! binaries, behind the real Runtime API), [`event_source`] the event source mappings, [`rest`] and
//! [`websocket`] the two API Gateways. [`otlp`] receives what the functions export, and [`page`] serves the browser
//! client. All of them are behind [`doors`].

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
