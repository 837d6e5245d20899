//! Fan-out: asynchronous invocations of `SendMessageFunction`.

use aws_config::SdkConfig;
use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};
use chat::{
    delivery::{Broadcast, FanOut},
    error::StoreError,
};

use crate::sdk::{failed, unreadable};

/// Hands broadcasts over to a function.
#[derive(Debug, Clone)]
pub struct LambdaFanOut {
    client: Client,
    function: String,
}

impl LambdaFanOut {
    /// Hands over to `function`, a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, function: impl Into<String>) -> Self {
        Self { client: Client::new(config), function: function.into() }
    }
}

impl FanOut for LambdaFanOut {
    async fn hand_over(&self, broadcast: &Broadcast) -> Result<(), StoreError> {
        const OPERATION: &str = "Invoke";
        let payload = serde_json::to_vec(broadcast).map_err(|error| unreadable(OPERATION, error))?;
        self.client
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|error| failed(OPERATION, error))?;
        Ok(())
    }
}
