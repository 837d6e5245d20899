//! Ports: the traits that the use cases require. Each file holds one trait and the types of its arguments and results.

pub mod channel_store;
pub mod channel_transfer;
pub mod clock;
pub mod connection_store;
pub mod deleted_channels;
pub mod draft_sink;
pub mod due_ends;
pub mod expiry_store;
pub mod fan_out;
pub mod invitation_store;
pub mod language_model;
pub mod message_store;
pub mod pending_ends;
pub mod presence_store;
pub mod rate_limiter;
pub mod reply_leases;
pub mod socket_gateway;
pub mod tenant_stores;
pub mod ticket_store;
pub mod user_items;
