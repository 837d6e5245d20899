//! Sockets: the API Gateway management API (`@connections`).

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    error::SdkError,
    operation::{
        delete_connection::DeleteConnectionError, get_connection::GetConnectionError,
        post_to_connection::PostToConnectionError,
    },
    primitives::Blob,
};
use chat::{
    delivery::{Outcome, Pushed, SocketPusher},
    error::StoreError,
    id::ConnectionId,
};

use telemetry::metrics;

use crate::sdk::failed;

/// The sockets of one stage of a WebSocket API.
#[derive(Debug, Clone)]
pub struct ManagementApi {
    client: Client,
}

impl ManagementApi {
    /// The sockets behind `url`, `https://<api id>.execute-api.<region>.amazonaws.com/<stage>`.
    #[must_use]
    pub fn new(config: &SdkConfig, url: &str) -> Self {
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(config).endpoint_url(url).build();
        Self { client: Client::from_conf(config) }
    }
}

/// Counts what came of pushes.
pub fn count(outcome: &Outcome) {
    metrics::count(&metrics::PUSHES_DELIVERED, outcome.delivered);
    metrics::count(&metrics::PUSHES_GONE, outcome.gone);
    metrics::count(&metrics::PUSHES_RETRIED, outcome.retried);
    metrics::count(&metrics::PUSHES_FAILED, outcome.failed);
    metrics::count(&metrics::PUSHES_HANDED_OVER, outcome.handed_over);
}

impl SocketPusher for ManagementApi {
    async fn push(&self, id: &ConnectionId, frame: &str) -> Result<Pushed, StoreError> {
        let data = Blob::new(frame.as_bytes());
        match self.client.post_to_connection().connection_id(id.as_str()).data(data).send().await {
            Ok(_) => Ok(Pushed::Delivered),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), PostToConnectionError::GoneException(_)) =>
            {
                Ok(Pushed::Gone)
            }
            Err(error) => Err(failed("PostToConnection", error)),
        }
    }

    async fn is_open(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        match self.client.get_connection().connection_id(id.as_str()).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context)) if matches!(context.err(), GetConnectionError::GoneException(_)) => {
                Ok(false)
            }
            Err(error) => Err(failed("GetConnection", error)),
        }
    }

    async fn close(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        match self.client.delete_connection().connection_id(id.as_str()).send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), DeleteConnectionError::GoneException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("DeleteConnection", error)),
        }
    }
}
