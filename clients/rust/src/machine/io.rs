//! Inputs and orders of a client.

use std::time::Duration;

use serde_json::Value;

use crate::{Frame, session::End};

/// State of a client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A socket is being opened.
    Connecting,
    /// All sockets are open.
    Live,
    /// The next attempt is at this time.
    Waiting {
        /// Time of the attempt.
        retry_at: u64,
    },
    /// The device has no network. Attempts go on.
    Offline,
    /// There will be no attempt.
    Closed {
        /// Reason, such as `removed`.
        reason: String,
    },
}

/// An event outside the client.
#[derive(Debug)]
pub enum Input {
    /// A time of [`super::Core::deadline`] has come.
    Time,
    /// A handshake succeeded.
    Opened {
        /// The socket.
        socket: u64,
    },
    /// A text frame came.
    Frame {
        /// The socket.
        socket: u64,
        /// The frame.
        text: String,
    },
    /// A socket ended, or its handshake failed.
    Closed {
        /// The socket.
        socket: u64,
        /// Reason.
        end: End,
    },
    /// The fetch of a token ended; `None` if it failed.
    Token(Option<String>),
    /// A response came.
    Answer(Answer),
    /// A request got no response.
    NoAnswer {
        /// The request.
        id: u64,
    },
    /// The network of the device came or went.
    Online(bool),
}

/// A response.
#[derive(Debug, Default)]
pub struct Answer {
    /// The request.
    pub id: u64,
    /// The status.
    pub status: u16,
    /// Header `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Header `Date`.
    pub date: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send a request. [`Input::Answer`] or [`Input::NoAnswer`] follows.
    Fetch(Request),
    /// Open a socket. [`Input::Opened`] or [`Input::Closed`] follows.
    Open {
        /// Number of the socket.
        socket: u64,
        /// Channels; all of the user if there are none.
        channels: Vec<String>,
        /// Token of the handshake.
        token: String,
    },
    /// Send a text frame.
    Send {
        /// The socket.
        socket: u64,
        /// The frame.
        text: String,
    },
    /// Close a socket, also one that is being opened. [`Input::Closed`] need not follow.
    Close {
        /// The socket.
        socket: u64,
    },
    /// Fetch a token. [`Input::Token`] follows.
    Token,
    /// The state of the connection changed.
    State(Connection),
    /// A channel changed: its messages, its drafts, or its messages that are not stored yet.
    Changed {
        /// The channel.
        channel: String,
    },
    /// A frame came. Those of messages and drafts are applied already.
    Frame(Box<Frame>),
}

/// A request.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// Number of the request.
    pub id: u64,
    /// The method.
    pub method: &'static str,
    /// The path after the address of the API.
    pub path: String,
    /// The query.
    pub query: Vec<(&'static str, String)>,
    /// The token.
    pub token: String,
    /// Header `Idempotency-Key`.
    pub key: Option<String>,
    /// The body: JSON.
    pub body: Option<Value>,
}
