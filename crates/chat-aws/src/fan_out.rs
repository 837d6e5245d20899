//! Fan-out: asynchronous invocations of `SendMessageFunction`.

use aws_config::SdkConfig;
use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};
use chat::{
    delivery::{Broadcast, FanOut},
    error::StoreError,
    id::TenantId,
    trace::TraceContext,
};
use serde::{Deserialize, Serialize};

use crate::{
    sdk::{failed, lambda, unreadable},
    trace,
};

/// Hands broadcasts over to a function.
#[derive(Debug, Clone)]
pub struct LambdaFanOut {
    client: Client,
    function: String,
    tenant: Option<TenantId>,
}

/// What `SendMessageFunction` is invoked with: a broadcast, in the tenant whose channel it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TenantBroadcast {
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The trace that it belongs to.
    #[serde(flatten, default)]
    pub trace: Option<TraceContext>,
    /// The broadcast.
    #[serde(flatten)]
    pub broadcast: Broadcast,
}

impl LambdaFanOut {
    /// Hands over to `function`, a name or an ARN.
    #[must_use]
    pub fn new(config: &SdkConfig, function: impl Into<String>) -> Self {
        Self { client: lambda(config), function: function.into(), tenant: None }
    }

    /// Hands over in a tenant.
    #[must_use]
    pub fn of(&self, tenant: Option<&TenantId>) -> Self {
        Self { tenant: tenant.cloned(), ..self.clone() }
    }
}

impl FanOut for LambdaFanOut {
    async fn hand_over(&self, broadcast: &Broadcast) -> Result<(), StoreError> {
        const OPERATION: &str = "Invoke";
        let (tenant, broadcast) = (self.tenant.clone(), broadcast.clone());
        let payload = TenantBroadcast { tenant, trace: trace::current(), broadcast };
        let payload = serde_json::to_vec(&payload).map_err(|error| unreadable(OPERATION, error))?;
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
