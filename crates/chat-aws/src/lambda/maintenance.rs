//! Waking `MaintenanceFunction`, so that a deletion does not wait for its next tick.

use aws_config::SdkConfig;
use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};

use crate::sdk::{lambda, sdk_error};

/// Wakes the maintenance.
#[derive(Debug, Clone)]
pub struct LambdaMaintenance {
    client: Client,
    function: String,
}

impl LambdaMaintenance {
    /// Wakes `function`, a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, function: impl Into<String>) -> Self {
        Self { client: lambda(config), function: function.into() }
    }

    /// Wakes it. A failure is only logged: the next tick finds the same work.
    pub async fn wake(&self) {
        let call = self.client.invoke().function_name(&self.function).invocation_type(InvocationType::Event);
        if let Err(error) = call.payload(Blob::new("{}")).send().await {
            tracing::warn!(error = %sdk_error("Invoke", error), "could not wake the maintenance");
        }
    }
}
