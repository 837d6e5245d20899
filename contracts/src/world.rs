//! The state of one interaction: its own tenant in the running stack, and the data that its provider states have
//! created. It also holds the frame that the last of them has received from a socket.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    model::{Line, Model},
    socket::Socket,
    stack::Addresses,
    states::{Parameters, find},
    tokens::{Bearer, INVITING_SCOPES, Kind},
};

/// The user of requests' tokens and of listening sockets, unless a state names another.
const CALLER: &str = "alice";

/// Offset of the time at which the emptied bucket is full again, in milliseconds: longer than any run.
const FULL_IN_AN_HOUR: u128 = 3_600_000;

/// Maximum number of channels of a socket.
const CHANNELS_OF_A_SOCKET: usize = 100;

/// Values that a state provides to generators.
pub type Values = HashMap<String, Value>;

/// The state of one interaction.
#[derive(Debug)]
pub struct ProviderState {
    addresses: Addresses,
    model: Model,
    http: reqwest::Client,
    bearer: Bearer,
    owners: HashMap<String, String>,
    listeners: HashMap<String, Socket>,
    sockets: Vec<Socket>,
    frame: Option<Value>,
}

impl ProviderState {
    /// Returns an empty state; no other state may use the tenant.
    #[must_use]
    pub fn new(addresses: Addresses, model: Model, http: reqwest::Client, tenant: &str) -> Self {
        Self {
            addresses,
            model,
            http,
            bearer: Bearer::all(CALLER, tenant),
            owners: HashMap::new(),
            listeners: HashMap::new(),
            sockets: Vec::new(),
            frame: None,
        }
    }

    /// Returns the token of requests.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.bearer
    }

    /// Returns the frame that the last state has received from a socket.
    #[must_use]
    pub fn frame(&self) -> Option<&Value> {
        self.frame.as_ref()
    }

    /// Sets up a provider state.
    ///
    /// # Errors
    /// Fails if the state or a parameter does not exist, or if a request fails.
    pub async fn set_up(&mut self, name: &str, parameters: Map<String, Value>) -> Result<Values> {
        if name.is_empty() {
            return Ok(Values::new());
        }
        let state = find(name).with_context(|| {
            format!("there is no provider state \"{name}\"; `cargo contracts states` lists all states")
        })?;
        let with = Parameters::of(state, parameters)?;
        let outcome = if state.makes_a_frame {
            self.make_frame(state.name, &with).await.map(|frame| {
                self.frame = Some(frame);
                Values::new()
            })
        } else {
            self.apply(state.name, &with).await
        };
        outcome.with_context(|| format!("the state \"{}\" cannot be set up", state.name))
    }

    async fn apply(&mut self, state: &str, with: &Parameters) -> Result<Values> {
        let channel = with.text("channel_id");
        match state {
            "nothing exists" => {}
            "a channel exists" => self.create_channel(&channel, with).await?,
            "a user is a member" => {
                let (user, role) = (with.text("user_id"), with.text("role"));
                self.require_channel(&channel, "off").await?;
                let path = format!("/channels/{channel}/members/{user}");
                self.ask(&self.owner(&channel), Method::PUT, &path, &json!({ "role": role })).await?;
            }
            "a user is invited" => {
                let (user, role) = (with.text("user_id"), with.text("role"));
                self.require_channel(&channel, "off").await?;
                let path = format!("/channels/{channel}/members/{user}");
                let scopes = INVITING_SCOPES.to_owned();
                let inviter = Bearer { scopes, ..Bearer::all(&self.owner(&channel), &self.bearer.tenant) };
                self.ask_by(&inviter, Method::PUT, &path, &json!({ "role": role })).await?;
            }
            "the channel has messages" => {
                self.require_channel(&channel, "off").await?;
                for number in 1..=with.number("count")? {
                    let content = format!("{} {number}", with.text("content"));
                    let body = json!({ "content": content, "content_type": with.text("content_type") });
                    self.send(&with.text("sender_id"), &channel, &body).await?;
                }
            }
            "the message has replies" => {
                for number in 1..=with.number("count")? {
                    let body = json!({ "content": format!("reply {number}"), "reply_to": with.number("seq")? });
                    self.send(&with.text("sender_id"), &channel, &body).await?;
                }
            }
            "the message was edited" => {
                let (author, path) = self.message(&channel, with.number("seq")?).await?;
                self.ask(&author, Method::PATCH, &path, &json!({ "content": with.text("content") })).await?;
            }
            "the message was deleted" => {
                let (author, path) = self.message(&channel, with.number("seq")?).await?;
                self.ask(&author, Method::DELETE, &path, &Value::Null).await?;
            }
            "a user reacted to the message" => {
                let path = reaction(&channel, with.number("seq")?, &with.text("emoji"));
                self.ask(&with.text("user_id"), Method::PUT, &path, &Value::Null).await?;
            }
            "the channel is archived" => self.change(&channel, &json!({ "archived": true })).await?,
            "the channel was changed" => self.change(&channel, &json!({ "name": "Changed" })).await?,
            "the request was sent before" => {
                let bearer = self.bearer.token()?;
                let request = self.http.post(format!("{}{}", self.addresses.rest, with.text("path")));
                let body = with.json("body").unwrap_or(Value::Null);
                let request = request.bearer_auth(bearer).header("idempotency-key", with.text("key")).json(&body);
                request.send().await?;
            }
            "a user is connected" => {
                self.require_channel(&channel, "off").await?;
                let mut socket = self.open(&with.text("user_id"), &channel).await?;
                let connection_id = socket.connection_id().await?;
                self.sockets.push(socket);
                return Ok(Values::from([("connection_id".to_owned(), json!(connection_id))]));
            }
            "the caller is" => self.bearer.user = with.text("user_id"),
            "the token has expired" => self.bearer.kind = Kind::Expired,
            "the token has the scopes" => self.bearer.scopes = with.text("scopes"),
            "the token is limited to channels" => {
                let channels = with.text("channels");
                self.bearer.channels = Some(channels.split(',').map(|name| name.trim().to_owned()).collect());
            }
            "the keys of the token's issuer cannot be had" => self.bearer.kind = Kind::Unverifiable,
            "the caller does this too often" => self.empty_bucket(&with.text("action"), &channel).await?,
            "a stored message cannot be read" => self.break_message(&channel, with.number("seq")?).await?,
            other => bail!("there is no code to set up \"{other}\""),
        }
        Ok(Values::new())
    }

    /// Causes a frame, and receives it on a socket of the caller.
    async fn make_frame(&mut self, state: &str, with: &Parameters) -> Result<Value> {
        let channel = with.text("channel_id");
        match state {
            "a socket has no room for all channels" => return self.crowd().await,
            "the agent answers" | "the agent gives up" | "the agent writes a reply" => {
                return self.have_answered(&channel, state, with).await;
            }
            _ => self.require_channel(&channel, "off").await?,
        }
        let user = with.text("user_id");
        match state {
            "a message is sent" => {
                let mut body = json!({ "content": with.text("content"), "content_type": with.text("content_type") });
                for name in ["metadata", "reply_to"] {
                    if let Some(value) = with.json(name) {
                        body[name] = value;
                    }
                }
                self.listen(&channel).await?;
                let sent = self.send(&with.text("sender_id"), &channel, &body).await?;
                self.hear_event(&channel, "message.created", &sent["seq"]).await
            }
            "a message is edited" | "a message is deleted" | "a message gets a reaction" => {
                self.change_message(&channel, state, with).await
            }
            "a user comes" | "a user goes" => {
                self.listen(&channel).await?;
                let socket = self.open(&user, &channel).await?;
                let joined = self.expect_frame(&channel, "presence.joined", &user).await?;
                if state == "a user comes" {
                    self.sockets.push(socket);
                    return Ok(joined);
                }
                socket.close().await?;
                self.expect_frame(&channel, "presence.left", &user).await
            }
            "a user types" => {
                self.listen(&channel).await?;
                self.ask(&user, Method::POST, &format!("/channels/{channel}/typing"), &Value::Null).await?;
                self.expect_frame(&channel, "typing", &user).await
            }
            "the client pings" | "the client sends a frame" => {
                let ping = state == "the client pings";
                let (text, answer) =
                    if ping { (r#"{"action":"ping"}"#.to_owned(), "pong") } else { (with.text("text"), "error") };
                let socket = self.listen(&channel).await?;
                socket.send_text(&text).await?;
                socket.expect_frame("an answer", |frame| frame["type"] == answer).await
            }
            other => bail!("there is no code for the frame of \"{other}\""),
        }
    }

    async fn change_message(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        let (user, seq) = (with.text("sender_id"), with.number("seq")?);
        let path = format!("/channels/{channel}/messages/{seq}");
        if self.try_ask(&user, Method::GET, &path, &Value::Null).await?.0 == StatusCode::NOT_FOUND {
            self.send(&user, channel, &json!({ "content": "hi" })).await?;
        }
        self.listen(channel).await?;
        let (kind, (method, path, body)) = match state {
            "a message is edited" => {
                ("message.updated", (Method::PATCH, path, json!({ "content": with.text("content") })))
            }
            "a message is deleted" => ("message.deleted", (Method::DELETE, path, Value::Null)),
            _ => ("message.updated", (Method::PUT, reaction(channel, seq, &with.text("emoji")), Value::Null)),
        };
        self.ask(&user, method, &path, &body).await?;
        self.hear_event(channel, kind, &json!(seq)).await
    }

    /// Sends the agent a message as bob, and lets the model write as much as the state requires.
    async fn have_answered(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        if self.owners.contains_key(channel) {
            self.change(channel, &json!({ "agent": { "mode": "always" } })).await?;
        } else {
            self.require_channel(channel, "always").await?;
        }
        self.listen(channel).await?;
        let question = format!("question {}", self.bearer.tenant);
        if state == "the agent gives up" {
            self.model.refuse(&question);
            self.send("bob", channel, &json!({ "content": question })).await?;
            return self.hear_role(channel, "system").await;
        }
        let lines = self.model.expect(&question);
        let asked = self.send("bob", channel, &json!({ "content": question })).await?;
        if state == "the agent answers" {
            lines.send(Line::Say("An answer.".to_owned()))?;
            lines.send(Line::End)?;
            return self.hear_role(channel, "assistant").await;
        }
        let status = with.text("status");
        let thinking = self.hear_draft(channel, "thinking").await?;
        lines.send(Line::Say("Some words".to_owned()))?;
        let writing = self.hear_draft(channel, "writing").await?;
        match status.as_str() {
            "cancelled" => {
                let path = format!("/channels/{channel}/messages/{}/reply/cancel", asked["seq"]);
                self.ask("bob", Method::POST, &path, &Value::Null).await?;
                return self.hear_draft(channel, "cancelled").await;
            }
            "failed" => {
                drop(lines);
                return self.hear_draft(channel, "failed").await;
            }
            "thinking" | "writing" | "done" => {}
            other => bail!("a draft is thinking, writing, done, cancelled or failed, never {other}"),
        }
        // Ends the reply in any case, so that it does not continue during the next interaction.
        lines.send(Line::End)?;
        let done = self.hear_draft(channel, "done").await?;
        Ok(match status.as_str() {
            "thinking" => thinking,
            "writing" => writing,
            _ => done,
        })
    }

    async fn expect_frame(&mut self, channel: &str, kind: &str, user: &str) -> Result<Value> {
        let socket = self.listen(channel).await?;
        socket.expect_frame(kind, |frame| frame["type"] == kind && frame["user_id"] == user).await
    }

    async fn hear_event(&mut self, channel: &str, kind: &str, seq: &Value) -> Result<Value> {
        self.hear_one(channel, kind, |event| event["type"] == kind && event["seq"] == *seq).await
    }

    async fn hear_role(&mut self, channel: &str, role: &str) -> Result<Value> {
        self.hear_one(channel, "a message of the agent", |event| event["message"]["role"] == role).await
    }

    /// Returns the frame with the event that `wanted` accepts. An earlier event may be in the same frame if the stream
    /// is read late. It is not part of the interaction, and is removed.
    async fn hear_one(&mut self, channel: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let find = |frame: &Value| frame["events"].as_array()?.iter().find(|event| wanted(event)).cloned();
        let socket = self.listen(channel).await?;
        let mut frame = socket.expect_frame(what, |frame| find(frame).is_some()).await?;
        if let Some(event) = find(&frame) {
            frame["events"] = json!([event]);
        }
        Ok(frame)
    }

    async fn hear_draft(&mut self, channel: &str, status: &str) -> Result<Value> {
        let socket = self.listen(channel).await?;
        let is_draft = |frame: &Value| frame["type"] == "message.delta" && frame["status"] == status;
        socket.expect_frame("a piece of a draft", is_draft).await
    }

    /// Makes the caller a member of one channel more than a socket can have, and opens a socket.
    async fn crowd(&mut self) -> Result<Value> {
        let caller = self.bearer.user.clone();
        for number in 0..=CHANNELS_OF_A_SOCKET {
            let channel = format!("channel-{number}");
            self.require_channel(&channel, "off").await?;
            self.ask("olga", Method::PUT, &format!("/channels/{channel}/members/{caller}"), &Value::Null).await?;
        }
        let token = Bearer::all(&caller, &self.bearer.tenant).token()?;
        let mut socket = Socket::open(&self.addresses.websocket, &token, &[]).await?;
        let frame = socket.expect_frame("channels.left_out", |frame| frame["type"] == "channels.left_out").await?;
        self.sockets.push(socket);
        Ok(frame)
    }

    /// Returns the caller's socket for a channel.
    async fn listen(&mut self, channel: &str) -> Result<&mut Socket> {
        if !self.listeners.contains_key(channel) {
            let socket = self.open(&self.bearer.user.clone(), channel).await?;
            self.listeners.insert(channel.to_owned(), socket);
        }
        self.listeners.get_mut(channel).context("a socket that was just opened")
    }

    async fn open(&self, user: &str, channel: &str) -> Result<Socket> {
        let token = Bearer::all(user, &self.bearer.tenant).token()?;
        Socket::open(&self.addresses.websocket, &token, &[channel.to_owned()]).await
    }

    async fn create_channel(&mut self, channel: &str, with: &Parameters) -> Result<()> {
        let owner = with.text("owner");
        let mut body = json!({
            "channel_id": channel, "name": with.text("name"), "visibility": with.text("visibility"),
            "agent": { "mode": with.text("agent") },
        });
        if let Some(days) = with.json("retention_days") {
            body["retention_days"] = days;
        }
        self.ask(&owner, Method::POST, "/channels", &body).await?;
        self.owners.insert(channel.to_owned(), owner);
        Ok(())
    }

    async fn require_channel(&mut self, channel: &str, agent: &str) -> Result<()> {
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

    fn owner(&self, channel: &str) -> String {
        self.owners.get(channel).cloned().unwrap_or_else(|| "olga".to_owned())
    }

    async fn change(&mut self, channel: &str, changes: &Value) -> Result<()> {
        self.require_channel(channel, "off").await?;
        self.ask(&self.owner(channel), Method::PATCH, &format!("/channels/{channel}"), changes).await?;
        Ok(())
    }

    async fn send(&self, sender: &str, channel: &str, body: &Value) -> Result<Value> {
        self.ask(sender, Method::POST, &format!("/channels/{channel}/messages"), body).await
    }

    /// Returns the author and the path of a message.
    async fn message(&self, channel: &str, seq: u64) -> Result<(String, String)> {
        let path = format!("/channels/{channel}/messages/{seq}");
        let message = self.ask(&self.owner(channel), Method::GET, &path, &Value::Null).await?;
        Ok((message["sender_id"].as_str().unwrap_or_default().to_owned(), path))
    }

    /// Sends a request that must succeed.
    async fn ask(&self, user: &str, method: Method, path: &str, body: &Value) -> Result<Value> {
        self.ask_by(&Bearer::all(user, &self.bearer.tenant), method, path, body).await
    }

    async fn ask_by(&self, bearer: &Bearer, method: Method, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.try_ask_by(bearer, method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path} of {} answered {status}: {}", bearer.user, answer["detail"]);
        }
        Ok(answer)
    }

    async fn try_ask(&self, user: &str, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        self.try_ask_by(&Bearer::all(user, &self.bearer.tenant), method, path, body).await
    }

    async fn try_ask_by(
        &self,
        bearer: &Bearer,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let token = bearer.token()?;
        let mut request = self.http.request(method, format!("{}{path}", self.addresses.rest)).bearer_auth(token);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or_default()))
    }

    /// Returns the channel key in the store (`crates/chat-aws/src/dynamodb/keys/`), without the tenant.
    async fn key_of(&self, channel: &str) -> Result<String> {
        let key = json!({
            "channel_id": { "S": format!("{}~{channel}", self.bearer.tenant) }, "sk": { "S": "meta" },
        });
        let found = self.dynamodb("GetItem", &json!({ "TableName": "chat_channels", "Key": key })).await?;
        let incarnation = found["Item"]["incarnation"]["S"].as_str();
        Ok(format!("{channel}@{}", incarnation.with_context(|| format!("there is no channel {channel}"))?))
    }

    /// Empties a token bucket of the caller in the store (`crates/chat-aws/src/rate.rs`).
    async fn empty_bucket(&self, action: &str, channel: &str) -> Result<()> {
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

    /// Removes the content of a message in the store (`crates/chat-aws/src/messages.rs`).
    async fn break_message(&self, channel: &str, seq: u64) -> Result<()> {
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

fn reaction(channel: &str, seq: u64, emoji: &str) -> String {
    let encoded: String = emoji.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/channels/{channel}/messages/{seq}/reactions/{encoded}")
}
