//! The whole path: the runner's binary, the functions' binaries, real HTTP and WebSocket clients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod authorisation;
mod collector;
mod command_line;
mod connections;
mod conversation;
mod crashes;
mod deletion;
mod fair_use;
mod identity;
mod ids;
mod issuers;
mod lists;
mod membership;
mod presence;
mod problems;
mod reactions;
mod replay;
mod replies;
mod revisions;
mod secrecy;
mod smoke;
mod socket_tokens;
mod stack;
mod traces;
