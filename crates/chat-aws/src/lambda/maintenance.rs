//! Asynchronous invocation of `MaintenanceFunction`, so that a deletion does not wait for the next schedule.

use aws_config::SdkConfig;
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};

use super::LazyClient;
use crate::sdk::sdk_error;

/// Invokes the maintenance function.
#[derive(Debug, Clone)]
pub struct LambdaMaintenance {
    client: LazyClient,
    function: String,
}

impl LambdaMaintenance {
    /// Creates a client that invokes `function`, a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, function: impl Into<String>) -> Self {
        Self { client: LazyClient::new(config), function: function.into() }
    }

    /// Invokes the maintenance function. A failure is only logged, because the next scheduled run finds the same work.
    pub async fn wake(&self) {
        let call = self.client.get().invoke().function_name(&self.function).invocation_type(InvocationType::Event);
        if let Err(error) = call.payload(Blob::new("{}")).send().await {
            tracing::warn!(error = %sdk_error("Invoke", error), "maintenance invocation failed");
        }
    }
}
