//! Provider states that make a frame, and the sockets that receive it.

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use super::{ProviderState, requests::reaction};
use crate::{
    socket::{Lost, Socket},
    states::Parameters,
    tokens::Bearer,
};

/// Maximum number of channels of a socket.
const CHANNELS_OF_A_SOCKET: usize = 100;

/// Concurrent edits, and the number of times that they are repeated until one event covers several of them. A user may
/// send 50 changes at once.
const EDITS_AT_ONCE: u64 = 4;
const ROUNDS_OF_EDITS: u64 = 10;

impl ProviderState {
    /// Causes a frame, and receives it on a socket of the caller.
    pub(super) async fn make_frame(&mut self, state: &str, with: &Parameters) -> Result<Value> {
        let channel = with.text("channel_id");
        match state {
            "a socket has no room for all channels" => return self.crowd().await,
            "the agent answers" | "the agent gives up" | "the agent writes a reply" => {
                return self.have_answered(&channel, state, with).await;
            }
            "the server closes a socket" => return self.have_closed(&channel, &with.text("reason")).await,
            "a channel is created" | "a channel is changed" | "a channel is deleted" => {
                return self.change_channel(&channel, state, with).await;
            }
            "a user joins" | "a member gets a role" | "a member is removed" => {
                return self.change_member(&channel, state, with).await;
            }
            "a member reads" => return self.read(&channel, &with.text("user_id")).await,
            _ => self.require_channel(&channel, "off").await?,
        }
        let user = with.text("user_id");
        match state {
            "a message is sent" => {
                let mut body = json!({ "content": with.text("content"), "content_type": with.text("content_type") });
                for name in ["metadata", "reply_to", "thread_seq"] {
                    if let Some(value) = with.json(name) {
                        body[name] = value;
                    }
                }
                self.listen(&channel).await?;
                let sent = self.send(&with.text("sender_id"), &channel, &body).await?;
                self.hear_event(&channel, "message.created", &sent["seq"]).await
            }
            "a message is edited several times at once" => self.edit_at_once(&channel, with).await,
            "a message is edited"
            | "a message is deleted"
            | "a message gets a reaction"
            | "a message loses a reaction" => self.change_message(&channel, state, with).await,
            "a socket opens" => {
                let mut socket = self.open(&self.bearer.user.clone(), &channel).await?;
                let hello = socket.catch_frame("hello", |frame| frame["type"] == "hello").await?;
                self.sockets.push(socket);
                Ok(hello)
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

    /// Returns the path of a message, which is sent first if the channel has none.
    async fn require_message(&self, channel: &str, user: &str, seq: u64) -> Result<String> {
        let path = format!("/channels/{channel}/messages/{seq}");
        if self.try_ask(user, Method::GET, &path, &Value::Null).await?.0 == StatusCode::NOT_FOUND {
            self.send(user, channel, &json!({ "content": "hi" })).await?;
        }
        Ok(path)
    }

    /// Edits a message several times at once, until one event covers several of the edits. Fails with [`Lost`] if each
    /// edit comes in an event of its own.
    async fn edit_at_once(&mut self, channel: &str, with: &Parameters) -> Result<Value> {
        let (user, seq) = (with.text("sender_id"), with.number("seq")?);
        let path = self.require_message(channel, &user, seq).await?;
        self.listen(channel).await?;
        for round in 0..ROUNDS_OF_EDITS {
            let bodies: Vec<Value> = (0..EDITS_AT_ONCE)
                .map(|number| json!({ "content": format!("{} {round}.{number}", with.text("content")) }))
                .collect();
            let edits = bodies.iter().map(|body| self.ask(&user, Method::PATCH, &path, body));
            let versions = try_join_all(edits).await?;
            let last = versions.iter().filter_map(|edited| edited["version"].as_u64()).max();
            let covers = |event: &Value| event["rev_from"].is_u64();
            let is_awaited = |event: &Value| covers(event) || event["version"].as_u64() == last;
            let frame = self.hear_one(channel, "an edited message", is_awaited).await?;
            if covers(&frame["events"][0]) {
                return Ok(frame);
            }
        }
        Err(Lost::new("an event that covers several edits").into())
    }

    async fn change_message(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        let (user, seq) = (with.text("sender_id"), with.number("seq")?);
        let path = self.require_message(channel, &user, seq).await?;
        let reaction = reaction(channel, seq, &with.text("emoji"));
        if state == "a message loses a reaction" {
            self.ask(&user, Method::PUT, &reaction, &Value::Null).await?;
        }
        self.listen(channel).await?;
        let (kind, (method, path, body)) = match state {
            "a message is edited" => {
                ("message.updated", (Method::PATCH, path, json!({ "content": with.text("content") })))
            }
            "a message is deleted" => ("message.deleted", (Method::DELETE, path, Value::Null)),
            "a message gets a reaction" => ("reaction.added", (Method::PUT, reaction, Value::Null)),
            _ => ("reaction.removed", (Method::DELETE, reaction, Value::Null)),
        };
        self.ask(&user, method, &path, &body).await?;
        self.hear_event(channel, kind, &json!(seq)).await
    }

    pub(super) async fn expect_frame(&mut self, channel: &str, kind: &str, user: &str) -> Result<Value> {
        let socket = self.listen(channel).await?;
        socket.expect_frame(kind, |frame| frame["type"] == kind && frame["user_id"] == user).await
    }

    async fn hear_event(&mut self, channel: &str, kind: &str, seq: &Value) -> Result<Value> {
        self.hear_one(channel, kind, |event| event["type"] == kind && event["seq"] == *seq).await
    }

    /// Returns the frame with the event that `wanted` accepts. An earlier event may be in the same frame if the stream
    /// is read late. It is not part of the interaction, and is removed.
    pub(super) async fn hear_one(
        &mut self,
        channel: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let find = |frame: &Value| frame["events"].as_array()?.iter().find(|event| wanted(event)).cloned();
        let socket = self.listen(channel).await?;
        let mut frame = socket.expect_frame(what, |frame| find(frame).is_some()).await?;
        if let Some(event) = find(&frame) {
            frame["events"] = json!([event]);
        }
        Ok(frame)
    }

    /// Opens a socket of the caller, who is a member of as many channels as a socket can have. Then the owner of another
    /// channel adds the caller, which the open socket leaves out.
    async fn crowd(&mut self) -> Result<Value> {
        let caller = self.bearer.user.clone();
        for number in 0..CHANNELS_OF_A_SOCKET {
            self.require_member(&format!("channel-{number}"), &caller, "member").await?;
        }
        let token = Bearer::all(&caller, &self.bearer.tenant).token()?;
        let mut socket = Socket::open(&self.addresses.websocket, &token, &[]).await?;
        socket.catch_frame("hello", |frame| frame["type"] == "hello").await?;
        self.require_member(&format!("channel-{CHANNELS_OF_A_SOCKET}"), &caller, "member").await?;
        let frame = socket.expect_frame("channels.left_out", |frame| frame["type"] == "channels.left_out").await?;
        self.sockets.push(socket);
        Ok(frame)
    }

    /// Returns the caller's socket for a channel.
    pub(super) async fn listen(&mut self, channel: &str) -> Result<&mut Socket> {
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
