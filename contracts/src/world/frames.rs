//! Provider states that make a frame, and the sockets that receive it.

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ProviderState, requests::reaction};
use crate::{model::Line, socket::Socket, states::Parameters, tokens::Bearer};

/// Maximum number of channels of a socket.
const CHANNELS_OF_A_SOCKET: usize = 100;

impl ProviderState {
    /// Causes a frame, and receives it on a socket of the caller.
    pub(super) async fn make_frame(&mut self, state: &str, with: &Parameters) -> Result<Value> {
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

    pub(super) async fn open(&self, user: &str, channel: &str) -> Result<Socket> {
        let token = Bearer::all(user, &self.bearer.tenant).token()?;
        Socket::open(&self.addresses.websocket, &token, &[channel.to_owned()]).await
    }
}
