//! A small client of Switchboard, as a basis for a mobile app: requests, problems, frames, a log of each channel that
//! detects missed messages and changes, and drafts of the agent's replies.
//!
//! `contracts/openapi.yaml` and `contracts/asyncapi.yaml` describe the API. The consumer tests (`tests/`) turn the
//! parts that this client relies on into pacts. It ignores unknown fields, frame types and event types.

mod api;
mod draft;
mod frame;
mod log;
mod model;
mod problem;
mod socket;

pub use api::Api;
pub use draft::Draft;
pub use frame::{ClosingReason, DraftStatus, Event, EventKind, Frame};
pub use log::ChannelLog;
pub use model::{
    AgentData, AgentSettings, Changes, Channel, Channels, LastMessage, Me, Member, Membership, Message, MessageChange,
    NewMessage, NextPage, Page, Reaction, Reply, Sent, Thread, Threads, Ticket,
};
pub use problem::{Error, Problem, Violation};
pub use socket::{SocketError, listen};
