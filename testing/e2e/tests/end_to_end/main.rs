//! End-to-end tests: the runner's binary, the functions' binaries, real HTTP and WebSocket clients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod authorisation;
mod collector;
mod command_line;
mod connections;
mod conversation;
mod crashes;
mod decisions;
mod deletion;
mod doors;
mod fair_use;
mod floods;
mod identity;
mod ids;
mod invitations;
mod issuers;
mod lists;
mod membership;
mod names_taken_anew;
mod presence;
mod problems;
mod programs;
mod reactions;
mod replay;
mod replies;
mod revisions;
mod secrecy;
mod smoke;
mod socket_ends;
mod socket_tokens;
mod stack;
mod surroundings;
mod traces;
mod unfinished_ends;
