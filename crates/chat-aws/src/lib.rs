//! The domain's ports on AWS.
//!
//! | module | ports on |
//! | --- | --- |
//! | [`dynamodb`] | the tables: messages, channels, connections |
//! | [`lambda`] | functions that are invoked by streams, and that are invoked from here |
//! | [`audit_log`] | the audit log in CloudWatch Logs |
//! | [`api_gateway`] | the management API of the WebSocket API: pushes to sockets |
//! | [`sdk`] | the AWS SDK: clients, errors, spans |
//!
//! No adapter decides anything: each translates one port to one service.

pub mod api_gateway;
pub mod audit_log;
pub mod dynamodb;
pub mod env;
pub mod lambda;
pub mod sdk;
pub mod trace;

pub use api_gateway::ManagementApi;
pub use audit_log::{AuditLog, AuditPage};
pub use dynamodb::{
    channels::DynamoChannels, connections::DynamoConnections, deleted_channels::DynamoDeletedChannels,
    messages::DynamoMessages, pace::Pace, tenants::DynamoTenants, transfer::DynamoTransfer,
    user_items::DynamoUserItems,
};
pub use lambda::{fan_out::LambdaFanOut, maintenance::LambdaMaintenance};
