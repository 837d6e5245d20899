//! The whole path: the runner's binary, the functions' binaries, real HTTP and WebSocket clients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authorisation;
mod command_line;
mod connections;
mod conversation;
mod crashes;
mod membership;
mod problems;
mod revisions;
mod stack;
