//! The domain of Switchboard: channels, messages, connections and what happens between them.
//!
//! Nothing here knows AWS, HTTP or Lambda. What the rules need from outside stands beside them as a trait
//! (a port): [`channel::ChannelStore`], [`message::MessageStore`], [`connection::ConnectionStore`],
//! [`delivery::SocketPusher`], [`delivery::FanOut`], [`agent::LanguageModel`] and [`clock::Clock`].
//!
//! | module | answers |
//! | --- | --- |
//! | [`send`] | how a message is accepted: once, in order, without gaps |
//! | [`revision`] | how it is edited and deleted |
//! | [`history`] | how it is read back |
//! | [`connect`] | who may listen to what, and how that is remembered |
//! | [`delivery`] | how events reach the sockets |
//! | [`reaction`] | how users react to messages |
//! | [`read`] | what users have read |
//! | [`presence`] | who is there, who comes and goes, who is typing |
//! | [`trace`] | which trace a message belongs to |
//! | [`ticket`] | how a socket opens without a token in its URL |
//! | [`rate`] | how often users may do what |
//! | [`agent`] | when the assistant answers, and what |
//! | [`settings`] | how channels are made, changed and deleted |
//! | [`membership`] | who belongs to a channel, and what live sockets notice of it |

pub mod access;
pub mod agent;
pub mod channel;
pub mod clock;
pub mod connect;
pub mod connection;
pub mod delivery;
pub mod ending;
pub mod error;
pub mod frame;
pub mod history;
pub mod id;
pub mod incarnation;
pub mod limits;
pub mod maintenance;
pub mod membership;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod message;
pub mod presence;
pub mod rate;
pub mod reaction;
pub mod read;
pub mod revision;
pub mod send;
pub mod settings;
pub mod ticket;
pub mod trace;
pub mod validation;

#[cfg(test)]
mod testing;
