//! The domain's ports on AWS: DynamoDB, the API Gateway management API, and Lambda.
//!
//! Nothing here decides; each adapter says one thing to one service and reports what came of it.

pub mod channels;
pub mod connections;
pub mod env;
pub mod fan_out;
pub mod messages;
pub mod sdk;
pub mod sockets;
pub mod stream;

mod item;

pub use channels::DynamoChannels;
pub use connections::DynamoConnections;
pub use fan_out::LambdaFanOut;
pub use messages::DynamoMessages;
pub use sockets::ManagementApi;
