//! Fan-out: asynchronous invocations of `SendMessageFunction`.

use aws_config::SdkConfig;
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};
use chat::{
    model::{error::StoreError, id::TenantId, trace::TraceContext},
    ports::fan_out::{FanOut, PushBatch},
};
use serde::{Deserialize, Serialize};

use super::LazyClient;
use crate::{
    sdk::{decode_error, sdk_error},
    trace,
};

/// Dispatches push batches to a function.
#[derive(Debug, Clone)]
pub struct LambdaFanOut {
    client: LazyClient,
    function: String,
    tenant: Option<TenantId>,
}

/// The payload of `SendMessageFunction`: a push batch and the tenant of its channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantPushBatch {
    /// The tenant of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The trace that the batch belongs to.
    #[serde(flatten, default)]
    pub trace: Option<TraceContext>,
    /// The push batch.
    #[serde(flatten)]
    pub batch: PushBatch,
}

impl LambdaFanOut {
    /// Creates a client that dispatches to `function`, a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, function: impl Into<String>) -> Self {
        Self { client: LazyClient::new(config), function: function.into(), tenant: None }
    }

    /// Returns a client for one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), ..self.clone() }
    }
}

impl FanOut for LambdaFanOut {
    async fn dispatch(&self, batch: &PushBatch) -> Result<(), StoreError> {
        const OPERATION: &str = "Invoke";
        let (tenant, batch) = (self.tenant.clone(), batch.clone());
        let payload = TenantPushBatch { tenant, trace: trace::current(), batch };
        let payload = serde_json::to_vec(&payload).map_err(|error| decode_error(OPERATION, error))?;
        self.client
            .get()
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|error| sdk_error(OPERATION, error))?;
        Ok(())
    }
}
