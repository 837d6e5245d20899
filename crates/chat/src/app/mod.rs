//! The rules of the domain, one use case per file.
//!
//! | module | use case |
//! | --- | --- |
//! | [`access`] | authorize a user in a channel |
//! | [`send`] | accept a message once, in order, without gaps |
//! | [`channel_messages`] | the ports of reading and changing messages |
//! | [`edit`] | edit and delete messages |
//! | [`react`] | add and remove reactions |
//! | [`changes`] | read the changes of messages after a number |
//! | [`wait`] | wait for messages or changes without a socket |
//! | [`history`] | read messages |
//! | [`read_mark`] | mark messages as read |
//! | [`channels`] | create, change and delete channels |
//! | [`channel_lists`] | list channels and invitations |
//! | [`channel_views`] | show channels with the caller's membership, unread messages and the last message |
//! | [`membership`] | add and remove members |
//! | [`members`] | list and get members |
//! | [`connect`] | open a socket and renew its token |
//! | [`connection_ends`] | close single connections |
//! | [`tickets`] | issue and redeem tickets for handshakes |
//! | [`presence`] | list users that are online, and announce changes |
//! | [`rate_limit`] | limit how often a user acts |
//! | [`frame_budget`] | limit the frames of one socket |
//! | [`closing`] | push the last frames of a socket |
//! | [`delivery`] | push events to the sockets of a channel |
//! | [`stream`] | process the records of a channel in order |
//! | [`subscription_ends`] | end subscriptions after a change |
//! | [`maintenance`] | close expired sockets and finish pending ends |
//! | [`agent`] | reply to messages with a language model |
//! | [`erasure`] | export and erase the data of a user |

pub mod access;
pub mod agent;
mod audit;
pub mod changes;
pub mod channel_lists;
pub mod channel_messages;
pub mod channel_views;
pub mod channels;
pub mod closing;
pub mod connect;
pub mod connection_ends;
mod contention;
pub mod delivery;
pub mod edit;
pub mod erasure;
pub mod frame_budget;
pub mod history;
pub mod maintenance;
pub mod members;
pub mod membership;
mod page_size;
pub mod presence;
pub mod rate_limit;
pub mod react;
pub mod read_mark;
pub mod send;
pub mod stream;
pub mod subscription_ends;
pub mod tickets;
pub mod transfer;
pub mod wait;
