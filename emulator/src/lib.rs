//! AWS on one machine. Nothing here knows chat.
//!
//! [`template`] resolves a CloudFormation template into a [`stack::Stack`]. Each module implements one AWS service:
//! [`access`] IAM, [`dynamodb`] the tables and their streams, [`lambda`] the functions and their queues, [`event_source`]
//! the event source mappings, [`logs`] CloudWatch Logs, [`schedule`] the schedules, [`rest`] and [`websocket`] the two API
//! Gateways. The functions are real binaries with a real Runtime API. [`doors`] protects all listeners, and [`quotas`]
//! limits all services as an account does.

pub mod access;
pub mod doors;
pub mod dynamodb;
pub mod event_source;
pub mod lambda;
pub mod logs;
pub mod quotas;
pub mod rest;
pub mod schedule;
pub mod stack;
pub mod template;
pub mod user_directory;
pub mod websocket;
