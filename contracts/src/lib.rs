//! Contracts with client teams: verification of their pacts against the running stack, the provider states of pacts,
//! and detection of changes that break clients.

pub mod compat;
pub mod documents;
pub mod model;
pub mod provider;
pub mod published;
pub mod socket;
pub mod stack;
pub mod states;
pub mod tokens;
pub mod verify;
pub mod world;
