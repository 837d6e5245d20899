#![cfg_attr(feature = "net", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "net"), doc = "A client of Switchboard.")]
//!
//! # Layers
//!
//! Without I/O: [`ChannelLog`] keeps the messages of a channel complete by `seq`, their changes by `rev`, and drafts of
//! the agent's replies. [`Session`] decides when a socket is opened, replaced and left. [`Core`] is a whole client of
//! both. It takes what happens, and returns what to do.
//!
//! With the feature `net`, which is on by default: [`Client`] runs a [`Core`] on tokio. [`Api`] has the requests, and
//! [`Socket`] is one connection.
//!
//! `contracts/openapi.yaml` and `contracts/asyncapi.yaml` describe the API. The consumer tests of this client
//! (`contracts/tests/pacts`) turn the parts that it relies on into pacts. It ignores unknown fields, frame types and event
//! types.

mod chance;
mod draft;
mod frame;
mod log;
mod machine;
mod model;
mod outbox;
mod path;
mod problem;
mod session;
mod sync;
mod time;
mod token;

#[cfg(feature = "net")]
mod api;
#[cfg(feature = "net")]
mod client;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "net")]
mod response;
#[cfg(feature = "net")]
mod socket;

pub use chance::{Chance, longest_wait};
pub use draft::{Draft, DraftFrame};
pub use frame::{ClosingReason, DraftStatus, Event, EventKind, Frame};
pub use log::{ChannelLog, Need};
pub use machine::{Action, Answer, Connection, Core, Input, Request};
pub use model::{
    AgentData, AgentSettings, Changes, Channel, Channels, LastMessage, Me, Member, Membership, Message, MessageChange,
    NewMessage, NextPage, Page, Reaction, Reply, Sent, Thread, Threads, Ticket,
};
pub use outbox::{Entry, Outbox, Progress};
pub use problem::{Problem, Violation};
pub use session::{End, Session, State, Step, TokenFor};
pub use token::Lifetime;

#[cfg(feature = "net")]
pub use {
    api::Api,
    client::{Client, Options},
    error::Error,
    reqwest::{Method, StatusCode},
    response::Response,
    socket::{Ended, Handshake, Listener, Refused, Socket, Speaker},
};
