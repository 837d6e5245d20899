//! The stores on DynamoDB. `keys` has the keys of every item.

pub mod channels;
pub mod connections;
pub mod deleted_channels;
pub mod messages;
pub mod pace;
pub mod tenants;
pub mod transfer;
pub mod user_items;

mod attributes;
mod authority;
mod batch;
mod drafts;
mod expiry;
mod gate;
mod instructions;
mod invitations;
mod item;
pub(crate) mod keys;
mod last_change;
mod page;
mod pending_ends;
mod pending_items;
mod range_query;
mod rate_limits;
mod record_item;
mod reply_leases;
mod transaction;
