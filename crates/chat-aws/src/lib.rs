//! The domain's ports on AWS: DynamoDB, the API Gateway management API, and Lambda.
//!
//! Nothing here decides; each adapter says one thing to one service and reports what came of it.

pub mod channels;
pub mod connections;
pub mod env;
pub mod fan_out;
pub mod messages;
pub mod remains;
pub mod sdk;
pub mod sockets;
pub mod stream;
pub mod trace;
pub mod upkeep;

mod batch;
mod calls;
mod claims;
mod http;
mod item;
mod rate;
mod tenant;

pub use channels::DynamoChannels;
pub use connections::DynamoConnections;
pub use fan_out::LambdaFanOut;
pub use messages::DynamoMessages;
pub use remains::DynamoRemains;
pub use sockets::ManagementApi;
pub use upkeep::LambdaUpkeep;
