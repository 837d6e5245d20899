//! The domain's ports on AWS: DynamoDB, the API Gateway management API, and Lambda.
//!
//! Adapters hold no rule: each sends one request to one service and returns its result.

pub mod channels;
pub mod connections;
pub mod deleted_channels;
pub mod env;
pub mod fan_out;
pub mod maintenance;
pub mod messages;
pub mod sdk;
pub mod sockets;
pub mod stream;
pub mod trace;

mod authority;
mod batch;
mod calls;
mod claims;
mod expiry;
mod gate;
mod http;
mod invitations;
mod item;
mod keys;
mod pending;
mod rate;
mod transaction;

pub use channels::DynamoChannels;
pub use connections::DynamoConnections;
pub use deleted_channels::DynamoDeletedChannels;
pub use fan_out::LambdaFanOut;
pub use maintenance::LambdaMaintenance;
pub use messages::DynamoMessages;
pub use sockets::ManagementApi;
