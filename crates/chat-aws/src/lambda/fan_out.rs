//! Fan-out: asynchronous invocations of `SendMessageFunction`.

use aws_config::SdkConfig;
use aws_sdk_lambda::{primitives::Blob, types::InvocationType};
use chat::{
    model::{error::StoreError, id::TenantId, incarnation::ChannelKey, trace::TraceContext},
    ports::fan_out::{FanOut, PushBatch, Recipient},
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
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Fields")]
pub struct TenantPushBatch {
    /// The tenant of the channel.
    pub tenant: Option<TenantId>,
    /// The trace that the batch belongs to.
    pub trace: Option<TraceContext>,
    /// The push batch.
    pub batch: PushBatch,
}

/// The fields of a payload. Flattened structures would be buffered before they are read.
#[derive(Deserialize)]
struct Fields {
    tenant: Option<TenantId>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    channel: ChannelKey,
    frames: Vec<String>,
    recipients: Vec<Recipient>,
    #[serde(default)]
    attempt: u32,
}

impl From<Fields> for TenantPushBatch {
    fn from(fields: Fields) -> Self {
        let Fields { tenant, traceparent, tracestate, channel, frames, recipients, attempt } = fields;
        let trace = traceparent.map(|traceparent| TraceContext { traceparent, tracestate });
        Self { tenant, trace, batch: PushBatch { channel, frames, recipients, attempt } }
    }
}

/// The same payload, as it is written.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantId>,
    #[serde(flatten)]
    trace: Option<TraceContext>,
    #[serde(flatten)]
    batch: &'a PushBatch,
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
        let payload = Payload { tenant: self.tenant.as_ref(), trace: trace::current(), batch };
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let json = json!({
            "tenant": "acme",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "a=b",
            "channel": "room@01jdyz3n6rzzzzzzzzzzzzzzzz",
            "frames": ["{}"],
            "recipients": [{
                "connection_id": "x=", "user_id": "alice", "member": false, "next_frame": 0,
                "connected_at": "2026-11-24T00:00:00.000Z", "expires_at": "2026-11-24T02:00:00.000Z",
            }],
            "attempt": 1,
        });
        for absent in [&[] as &[&str], &["tenant"], &["tracestate"], &["traceparent", "tracestate"]] {
            let mut json = json.clone();
            json.as_object_mut().unwrap().retain(|name, _| !absent.contains(&name.as_str()));
            let read: TenantPushBatch = serde_json::from_value(json.clone()).unwrap();
            let TenantPushBatch { tenant, trace, batch } = read;
            let written = Payload { tenant: tenant.as_ref(), trace, batch: &batch };
            assert_eq!(serde_json::to_value(&written).unwrap(), json, "without {absent:?}");
        }
    }
}
