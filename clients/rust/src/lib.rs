//! A small client of Switchboard, as a basis for a mobile app: requests, problems, frames, and a log of each channel
//! that detects gaps.
//!
//! `contracts/openapi.yaml` and `contracts/asyncapi.yaml` describe the API. The consumer tests (`tests/`) turn the
//! parts that this client relies on into pacts. It ignores unknown fields, frame types and event types.

mod api;
mod frame;
mod log;
mod model;
mod problem;
mod socket;

pub use api::Api;
pub use frame::{ClosingReason, DraftStatus, Event, EventKind, Frame};
pub use log::ChannelLog;
pub use model::{
    AgentData, AgentSettings, Channel, Channels, LastMessage, Me, Member, Membership, Message, NewMessage, NextPage,
    Page, Reaction, Thread, Threads, Ticket,
};
pub use problem::{Error, Problem, Violation};
pub use socket::{SocketError, listen};
