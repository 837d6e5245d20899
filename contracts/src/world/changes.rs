//! Frames about channels, members and the socket itself.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use switchboard_client::Method;

use super::ProviderState;
use crate::{
    socket::Socket,
    states::Parameters,
    tokens::{Bearer, Kind},
};

/// Number of frames that are more than a socket may send.
const FLOOD: usize = 5_000;

impl ProviderState {
    /// Changes a channel, and receives the frame about it on a socket of the caller.
    pub(super) async fn change_channel(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        if state == "a channel is created" {
            return self.create_on_another_device(channel, &with.text("name")).await;
        }
        self.require_channel(channel, "off").await?;
        let (kind, method, body) = match state {
            "a channel is changed" => ("channel.updated", Method::PATCH, json!({ "name": with.text("name") })),
            _ => ("channel.deleted", Method::DELETE, Value::Null),
        };
        self.listen(channel).await?;
        self.ask(&self.owner(channel), method, &format!("/channels/{channel}"), &body).await?;
        self.expect_kind(channel, kind).await
    }

    /// Creates a channel as the caller, whose socket receives all channels of its user.
    async fn create_on_another_device(&mut self, channel: &str, name: &str) -> Result<Value> {
        let caller = self.bearer.user.clone();
        let mut socket = self.open_for(&Bearer::all(&caller, &self.bearer.tenant), &[]).await?;
        let body = json!({
            "channel_id": channel, "name": name, "visibility": "public", "agent": { "mode": "off" },
        });
        self.ask(&caller, Method::POST, "/channels", &body).await?;
        self.owners.insert(channel.to_owned(), caller);
        let frame = socket.expect_frame("channel.created", |frame| frame["type"] == "channel.created").await?;
        self.sockets.push(socket);
        Ok(frame)
    }

    /// Changes a membership, and receives the frame about it on a socket of the caller.
    pub(super) async fn change_member(&mut self, channel: &str, state: &str, with: &Parameters) -> Result<Value> {
        let user = with.text("user_id");
        let path = format!("/channels/{channel}/members/{user}");
        self.require_channel(channel, "off").await?;
        if state == "a user joins" {
            self.listen(channel).await?;
            self.ask(&user, Method::PUT, &path, &Value::Null).await?;
            return self.expect_kind(channel, "member.joined").await;
        }
        self.require_member(channel, &user, "member").await?;
        self.listen(channel).await?;
        let (kind, method, body) = match state {
            "a member gets a role" => ("member.updated", Method::PUT, json!({ "role": with.text("role") })),
            _ => ("member.removed", Method::DELETE, Value::Null),
        };
        self.ask(&self.owner(channel), method, &path, &body).await?;
        self.expect_kind(channel, kind).await
    }

    /// Moves the read mark of a member, and receives the frame about it on a socket of the caller.
    pub(super) async fn read(&mut self, channel: &str, user: &str) -> Result<Value> {
        self.require_member(channel, user, "member").await?;
        self.change(channel, &json!({ "read_receipts": true })).await?;
        let sent = self.send(&self.owner(channel), channel, &json!({ "content": "hi" })).await?;
        self.listen(channel).await?;
        let mark = json!({ "seq": sent["seq"] });
        self.ask(user, Method::PUT, &format!("/channels/{channel}/read"), &mark).await?;
        self.expect_frame(channel, "read.updated", user).await
    }

    /// Makes the server close a socket of the caller, and returns the frame before the close.
    pub(super) async fn have_closed(&mut self, channel: &str, reason: &str) -> Result<Value> {
        let is_closing = |frame: &Value| frame["type"] == "closing";
        let caller = Bearer::all(&self.bearer.user, &self.bearer.tenant);
        let channels = [channel.to_owned()];
        self.require_channel(channel, "off").await?;
        match reason {
            "token_expired" => {
                let brief = Bearer { kind: Kind::Brief, ..caller };
                let mut socket = self.open_for(&brief, &channels).await?;
                socket.expect_frame("closing", is_closing).await
            }
            "removed" => {
                self.require_member(channel, &caller.user, "member").await?;
                let mut socket = self.open_for(&caller, &channels).await?;
                let path = format!("/channels/{channel}/members/{}", caller.user);
                self.ask(&self.owner(channel), Method::DELETE, &path, &Value::Null).await?;
                socket.expect_frame("closing", is_closing).await
            }
            "too_many_frames" => {
                let socket = self.open_for(&caller, &channels).await?;
                socket.flood(r#"{"action":"ping"}"#, FLOOD, "closing", is_closing).await
            }
            other => bail!("the server closes a socket for token_expired, removed or too_many_frames, never {other}"),
        }
    }

    async fn expect_kind(&mut self, channel: &str, kind: &str) -> Result<Value> {
        let socket = self.listen(channel).await?;
        socket.expect_frame(kind, |frame| frame["type"] == kind && frame["channel_id"] == channel).await
    }

    /// Opens a socket, and waits until it receives its channels.
    async fn open_for(&self, bearer: &Bearer, channels: &[String]) -> Result<Socket> {
        let mut socket = Socket::open(&self.addresses.websocket, &bearer.token()?, channels).await?;
        socket.catch_frame("hello", |frame| frame["type"] == "hello").await?;
        Ok(socket)
    }
}
