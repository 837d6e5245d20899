//! Changes in the store that no request of a client can make.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::ProviderState;

/// Offset of the time at which the emptied bucket is full again, in milliseconds: longer than any run.
const FULL_IN_AN_HOUR: u128 = 3_600_000;

impl ProviderState {
    /// Returns the key of a channel's head in the store (`crates/chat-aws/src/dynamodb/keys/`).
    fn head_of(&self, channel: &str) -> Value {
        json!({ "channel_id": { "S": format!("{}~{channel}", self.bearer.tenant) }, "sk": { "S": "meta" } })
    }

    /// Returns the channel key in the store, without the tenant.
    async fn key_of(&self, channel: &str) -> Result<String> {
        let get = json!({ "TableName": "chat_channels", "Key": self.head_of(channel) });
        let found = self.dynamodb("GetItem", &get).await?;
        let incarnation = found["Item"]["incarnation"]["S"].as_str();
        Ok(format!("{channel}@{}", incarnation.with_context(|| format!("there is no channel {channel}"))?))
    }

    /// Empties a token bucket of the caller in the store (`crates/chat-aws/src/dynamodb/rate_limits.rs`).
    pub(super) async fn empty_bucket(&self, action: &str, channel: &str) -> Result<()> {
        let name = match action {
            "send" | "connect" | "create" | "add-member" | "change" | "presence" | "list-channels" | "renew"
            | "read" | "wait" => format!("rate#{action}"),
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

    /// Sets the number of channels that the caller has created, in the store, to more than a deployment allows.
    pub(super) async fn use_up_channels(&self) -> Result<()> {
        let item = json!({
            "channel_id": { "S": format!("user#{}~{}", self.bearer.tenant, self.bearer.user) },
            "sk": { "S": "created" },
            "channels": { "N": "1000000000" },
        });
        self.dynamodb("PutItem", &json!({ "TableName": "chat_channels", "Item": item })).await?;
        Ok(())
    }

    /// Sets the number of a channel's newest message in its head to one less than `newest`. Each attempt at sending
    /// finds the next number taken.
    pub(super) async fn step_back(&self, channel: &str, newest: &Value) -> Result<()> {
        let update = json!({
            "TableName": "chat_channels", "Key": self.head_of(channel),
            "UpdateExpression": "SET last_seq = last_seq - :one", "ConditionExpression": "last_seq = :newest",
            "ExpressionAttributeValues": { ":one": { "N": "1" }, ":newest": { "N": newest.to_string() } },
        });
        self.dynamodb("UpdateItem", &update).await?;
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

    /// Sets the end of the records of a channel's changes in the store to a time that has passed.
    pub(super) async fn expire_changes(&self, channel: &str) -> Result<()> {
        let name = format!("changes#{}~{}", self.bearer.tenant, self.key_of(channel).await?);
        let query = json!({
            "TableName": "chat_channels", "KeyConditionExpression": "channel_id = :name", "ConsistentRead": true,
            "ExpressionAttributeValues": { ":name": { "S": name } },
        });
        let found = self.dynamodb("Query", &query).await?;
        let records = found["Items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if records.is_empty() {
            bail!("the channel {channel} has no records of changes");
        }
        for record in records {
            let update = json!({
                "TableName": "chat_channels", "Key": { "channel_id": record["channel_id"], "sk": record["sk"] },
                "UpdateExpression": "SET expires_at = :past", "ConditionExpression": "attribute_exists(expires_at)",
                "ExpressionAttributeValues": { ":past": { "N": "1" } },
            });
            self.dynamodb("UpdateItem", &update).await?;
        }
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
