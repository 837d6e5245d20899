//! Requests to the running stack, under the tenant of the state.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use switchboard_client::{Api, Method, StatusCode};

use super::ProviderState;
use crate::{states::Parameters, tokens::Bearer};

impl ProviderState {
    pub(super) async fn create_channel(&mut self, channel: &str, with: &Parameters) -> Result<()> {
        let owner = with.text("owner");
        let mut body = json!({
            "channel_id": channel, "name": with.text("name"), "visibility": with.text("visibility"),
            "agent": { "mode": with.text("agent") },
        });
        if let Some(days) = with.json("retention_days") {
            body["retention_days"] = days;
        }
        if with.text("read_receipts") == "true" {
            body["read_receipts"] = json!(true);
        }
        self.ask(&owner, Method::POST, "/channels", &body).await?;
        self.owners.insert(channel.to_owned(), owner);
        Ok(())
    }

    pub(super) async fn require_channel(&mut self, channel: &str, agent: &str) -> Result<()> {
        if self.owners.contains_key(channel) {
            return Ok(());
        }
        let body = json!({
            "channel_id": channel, "name": "General", "visibility": "public", "agent": { "mode": agent },
        });
        self.ask("olga", Method::POST, "/channels", &body).await?;
        self.owners.insert(channel.to_owned(), "olga".to_owned());
        Ok(())
    }

    pub(super) fn owner(&self, channel: &str) -> String {
        self.owners.get(channel).cloned().unwrap_or_else(|| "olga".to_owned())
    }

    pub(super) async fn change(&mut self, channel: &str, changes: &Value) -> Result<()> {
        self.require_channel(channel, "off").await?;
        self.ask(&self.owner(channel), Method::PATCH, &format!("/channels/{channel}"), changes).await?;
        Ok(())
    }

    /// Makes a user a member of a channel, which is created if it does not exist.
    pub(super) async fn require_member(&mut self, channel: &str, user: &str, role: &str) -> Result<()> {
        self.require_channel(channel, "off").await?;
        let path = format!("/channels/{channel}/members/{user}");
        self.ask(&self.owner(channel), Method::PUT, &path, &json!({ "role": role })).await?;
        Ok(())
    }

    pub(super) async fn send(&self, sender: &str, channel: &str, body: &Value) -> Result<Value> {
        self.ask(sender, Method::POST, &format!("/channels/{channel}/messages"), body).await
    }

    /// Returns the author and the path of a message.
    pub(super) async fn message(&self, channel: &str, seq: u64) -> Result<(String, String)> {
        let path = format!("/channels/{channel}/messages/{seq}");
        let message = self.ask(&self.owner(channel), Method::GET, &path, &Value::Null).await?;
        Ok((message["sender_id"].as_str().unwrap_or_default().to_owned(), path))
    }

    /// Sends a request that must succeed.
    pub(super) async fn ask(&self, user: &str, method: Method, path: &str, body: &Value) -> Result<Value> {
        self.ask_by(&Bearer::all(user, &self.bearer.tenant), method, path, body).await
    }

    pub(super) async fn ask_by(&self, bearer: &Bearer, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.try_ask_by(bearer, method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path} of {} answered {status}: {}", bearer.user, answer["detail"]);
        }
        Ok(answer)
    }

    pub(super) async fn try_ask(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        self.try_ask_by(&Bearer::all(user, &self.bearer.tenant), method, path, body).await
    }

    async fn try_ask_by(
        &self,
        bearer: &Bearer,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let body = (!body.is_null()).then(|| body.to_string());
        let response = self.api(bearer)?.ask(method, path, &[], body.as_deref()).await?;
        Ok((response.status, response.json()))
    }

    /// Returns the API for the user of a token.
    pub(super) fn api(&self, bearer: &Bearer) -> Result<Api> {
        Ok(Api::with(self.http.clone(), &self.addresses.rest, &bearer.token()?))
    }
}

/// Returns the path of a reaction.
pub(super) fn reaction(channel: &str, seq: u64, emoji: &str) -> String {
    let encoded: String = emoji.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/channels/{channel}/messages/{seq}/reactions/{encoded}")
}
