//! Changes in the store that no request of a client can make.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::ProviderState;

/// Offset of the time at which the emptied bucket is full again, in milliseconds: longer than any run.
const FULL_IN_AN_HOUR: u128 = 3_600_000;

impl ProviderState {
    /// Returns the channel key in the store (`crates/chat-aws/src/dynamodb/keys/`), without the tenant.
    async fn key_of(&self, channel: &str) -> Result<String> {
        let key = json!({
            "channel_id": { "S": format!("{}~{channel}", self.bearer.tenant) }, "sk": { "S": "meta" },
        });
        let found = self.dynamodb("GetItem", &json!({ "TableName": "chat_channels", "Key": key })).await?;
        let incarnation = found["Item"]["incarnation"]["S"].as_str();
        Ok(format!("{channel}@{}", incarnation.with_context(|| format!("there is no channel {channel}"))?))
    }

    /// Empties a token bucket of the caller in the store (`crates/chat-aws/src/dynamodb/rate_limits.rs`).
    pub(super) async fn empty_bucket(&self, action: &str, channel: &str) -> Result<()> {
        let name = match action {
            "send" | "connect" | "create" | "add-member" | "change" | "presence" | "renew" | "read" => {
                format!("rate#{action}")
            }
            "type" => format!("rate#type#{}", self.key_of(channel).await?),
            other => bail!("there is no rate limit for {other}"),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let later = now + FULL_IN_AN_HOUR;
        let item = json!({
            "channel_id": { "S": format!("user#{}~{}", self.bearer.tenant, self.bearer.user) },
            "sk": { "S": name },
            "full_at": { "N": later.to_string() },
            "expires_at": { "N": (later / 1000).to_string() },
        });
        self.dynamodb("PutItem", &json!({ "TableName": "chat_channels", "Item": item })).await?;
        Ok(())
    }

    /// Removes the content of a message in the store (`crates/chat-aws/src/dynamodb/messages/`).
    pub(super) async fn break_message(&self, channel: &str, seq: u64) -> Result<()> {
        let name = format!("{}~{}", self.bearer.tenant, self.key_of(channel).await?);
        let key = json!({ "channel_id": { "S": name }, "seq": { "N": seq.to_string() } });
        let update = json!({
            "TableName": "chat_events", "Key": key, "UpdateExpression": "REMOVE content",
            "ConditionExpression": "attribute_exists(content)",
        });
        self.dynamodb("UpdateItem", &update).await?;
        Ok(())
    }

    async fn dynamodb(&self, operation: &str, input: &Value) -> Result<Value> {
        // The embedded DynamoDB only requires a signature; it does not check the signer.
        const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, \
            SignedHeaders=host;x-amz-date, Signature=0";
        let request = self.http.post(&self.addresses.dynamodb).header("authorization", SIGNATURE);
        let request = request.header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let request = request.header("x-amz-date", "20260101T000000Z");
        let request = request.header("content-type", "application/x-amz-json-1.0").body(input.to_string());
        let response = request.send().await?;
        if !response.status().is_success() {
            bail!("{operation} answered {}: {}", response.status(), response.text().await?);
        }
        Ok(response.json().await?)
    }
}
