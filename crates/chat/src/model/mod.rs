//! Values and entities, without I/O and traits.

pub mod access;
pub mod channel;
pub mod connection;
pub mod draft;
pub mod error;
pub mod event;
pub mod frame;
pub mod id;
pub mod incarnation;
pub mod invitation;
pub mod limits;
pub mod mention;
pub mod message;
pub mod message_ref;
pub mod pending_end;
pub mod push_report;
pub mod reaction;
pub mod reply_status;
pub mod seq;
mod subject;
pub mod text;
pub mod ticket_digest;
pub mod time;
pub mod token_bucket;
pub mod trace;
pub mod validation;
pub mod version_condition;
