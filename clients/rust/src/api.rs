//! The REST API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Channel, Channels, Message, NewMessage, Page, Ticket};

/// Timeout of a request: one second more than API Gateway's own 29 s.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The REST API, for one user.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// An invalid field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Violation {
    /// The field.
    pub field: String,
    /// Code for programs.
    pub code: String,
    /// Text for people.
    pub message: String,
}

/// An error response (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Description for people.
    pub detail: String,
    /// Id by which an operator finds the request.
    pub instance: String,
    /// Invalid fields.
    pub errors: Vec<Violation>,
    /// Time to wait before the same request.
    pub retry_after: Option<Duration>,
}

/// Reason why a request has no usable response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused the request.
    #[error("{} ({})", .0.detail, .0.status)]
    Refused(Problem),
    /// The server did not respond, or its response cannot be parsed.
    #[error("no answer: {0}")]
    NoAnswer(#[from] reqwest::Error),
}

impl Error {
    /// Returns whether the same request may succeed later. A retry must carry the same `Idempotency-Key`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 500..),
        }
    }

    /// Returns whether the user has to sign in again.
    #[must_use]
    pub fn needs_another_token(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16())
    }
}

/// Body of a problem. Every field may be missing in a response of a proxy.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemBody {
    detail: String,
    instance: String,
    errors: Vec<Violation>,
}

/// Encodes a text as one path segment.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().fold(String::new(), |mut path, byte| {
        if plain(byte) {
            path.push(char::from(byte))
        } else {
            path.push_str(&format!("%{byte:02X}"))
        }
        path
    })
}

impl Api {
    /// Creates a client of the API at `url`, for the user of `token`.
    ///
    /// # Errors
    /// Fails if the HTTP client cannot be created.
    pub fn new(url: &str, token: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// Returns whether the service works. Needs no token.
    ///
    /// # Errors
    /// Fails with [`Error`], like all methods below.
    pub async fn is_healthy(&self) -> Result<bool, Error> {
        let response = self.http.get(format!("{}/health", self.url)).send().await?;
        let health: Value = response.json().await?;
        Ok(health["status"] == "ok")
    }

    /// Returns the first page of the user's channels.
    pub async fn channels(&self) -> Result<Channels, Error> {
        json_of(self.request(Method::GET, "/channels")).await
    }

    /// Returns the first page of the public channels whose names begin with `prefix`.
    pub async fn public_channels(&self, prefix: &str) -> Result<Channels, Error> {
        let request = self.request(Method::GET, "/channels");
        json_of(request.query(&[("visibility", "public"), ("name_prefix", prefix)])).await
    }

    /// Creates a channel. A repeated request with the same `key` returns the same channel.
    pub async fn create_channel(&self, id: &str, name: &str, visibility: &str, key: &str) -> Result<Channel, Error> {
        let body = json!({ "channel_id": id, "name": name, "visibility": visibility });
        json_of(self.request(Method::POST, "/channels").header("idempotency-key", key).json(&body)).await
    }

    /// Returns a channel, with the tag that [`Api::rename_channel`] requires.
    pub async fn channel(&self, id: &str) -> Result<(Channel, String), Error> {
        let response = answered(self.request(Method::GET, &format!("/channels/{}", segment(id)))).await?;
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        Ok((response.json().await?, tag))
    }

    /// Renames a channel if it has not changed since its tag was read.
    pub async fn rename_channel(&self, id: &str, tag: &str, name: &str) -> Result<Channel, Error> {
        let request = self.request(Method::PATCH, &format!("/channels/{}", segment(id)));
        json_of(request.header(header::IF_MATCH, tag).json(&json!({ "name": name }))).await
    }

    /// Deletes a channel.
    pub async fn delete_channel(&self, id: &str) -> Result<(), Error> {
        nothing_of(self.request(Method::DELETE, &format!("/channels/{}", segment(id)))).await
    }

    /// Returns the first page of the ids of a channel's members.
    pub async fn members(&self, channel: &str) -> Result<Vec<String>, Error> {
        let members: Value =
            json_of(self.request(Method::GET, &format!("/channels/{}/members", segment(channel)))).await?;
        Ok(texts(&members["members"], "user_id"))
    }

    /// Makes a user a member, or sets a member's role.
    pub async fn put_member(&self, channel: &str, user: &str, role: Option<&str>) -> Result<String, Error> {
        let path = format!("/channels/{}/members/{}", segment(channel), segment(user));
        let mut request = self.request(Method::PUT, &path);
        if let Some(role) = role {
            request = request.json(&json!({ "role": role }));
        }
        let member: Value = json_of(request).await?;
        Ok(member["role"].as_str().unwrap_or_default().to_owned())
    }

    /// Returns the first page of the ids of channels that the user is invited to. [`Self::put_member`] with the own id
    /// accepts.
    pub async fn invitations(&self) -> Result<Vec<String>, Error> {
        let page: Value = json_of(self.request(Method::GET, "/channels?membership=invited")).await?;
        Ok(texts(&page["invitations"], "channel_id"))
    }

    /// Leaves a channel, declines an invitation, or removes a member.
    pub async fn remove_member(&self, channel: &str, user: &str) -> Result<(), Error> {
        let path = format!("/channels/{}/members/{}", segment(channel), segment(user));
        nothing_of(self.request(Method::DELETE, &path)).await
    }

    /// Sends a message. A repeated request with the same `key` returns the same message.
    pub async fn send(&self, channel: &str, message: &NewMessage, key: &str) -> Result<Message, Error> {
        let request = self.request(Method::POST, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.header("idempotency-key", key).json(message)).await
    }

    /// Returns up to one page of messages after the number `after`, oldest first.
    pub async fn messages_after(&self, channel: &str, after: u64) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("after", after)])).await
    }

    /// Returns up to `limit` of the newest messages, newest first.
    pub async fn newest(&self, channel: &str, limit: u16) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("limit", limit)])).await
    }

    /// Returns one message.
    pub async fn message(&self, channel: &str, seq: u64) -> Result<Message, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/messages/{seq}", segment(channel)))).await
    }

    /// Returns the first page of the thread of a message.
    pub async fn replies(&self, channel: &str, seq: u64) -> Result<Page, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/messages/{seq}/replies", segment(channel)))).await
    }

    /// Edits a message.
    pub async fn edit(&self, channel: &str, seq: u64, content: &str) -> Result<Message, Error> {
        let request = self.request(Method::PATCH, &format!("/channels/{}/messages/{seq}", segment(channel)));
        json_of(request.json(&json!({ "content": content }))).await
    }

    /// Deletes a message.
    pub async fn delete(&self, channel: &str, seq: u64) -> Result<(), Error> {
        nothing_of(self.request(Method::DELETE, &format!("/channels/{}/messages/{seq}", segment(channel)))).await
    }

    /// Adds a reaction to a message, or removes it.
    pub async fn react(&self, channel: &str, seq: u64, emoji: &str, add: bool) -> Result<(), Error> {
        let path = format!("/channels/{}/messages/{seq}/reactions/{}", segment(channel), segment(emoji));
        nothing_of(self.request(if add { Method::PUT } else { Method::DELETE }, &path)).await
    }

    /// Cancels the agent's reply to a message.
    pub async fn stop_reply(&self, channel: &str, seq: u64) -> Result<(), Error> {
        let path = format!("/channels/{}/messages/{seq}/reply/cancel", segment(channel));
        nothing_of(self.request(Method::POST, &path)).await
    }

    /// Returns the present users.
    pub async fn present(&self, channel: &str) -> Result<Vec<String>, Error> {
        let found: Value =
            json_of(self.request(Method::GET, &format!("/channels/{}/presence", segment(channel)))).await?;
        Ok(texts(&found["users"], "user_id"))
    }

    /// Moves the read mark. Returns its position.
    pub async fn mark_read(&self, channel: &str, seq: u64) -> Result<u64, Error> {
        let request = self.request(Method::PUT, &format!("/channels/{}/read", segment(channel)));
        let mark: Value = json_of(request.json(&json!({ "seq": seq }))).await?;
        Ok(mark["read_seq"].as_u64().unwrap_or_default())
    }

    /// Notifies the channel that the user is typing.
    pub async fn typing(&self, channel: &str) -> Result<(), Error> {
        nothing_of(self.request(Method::POST, &format!("/channels/{}/typing", segment(channel)))).await
    }

    /// Creates a ticket for one socket.
    pub async fn ticket(&self, channels: &[&str]) -> Result<Ticket, Error> {
        json_of(self.request(Method::POST, "/connections/tickets").json(&json!({ "channels": channels }))).await
    }

    /// Renews an open socket with this client's token. Returns the new end of the socket.
    pub async fn renew(&self, connection: &str) -> Result<String, Error> {
        let path = format!("/connections/{}/token", segment(connection));
        let renewed: Value = json_of(self.request(Method::POST, &path)).await?;
        Ok(renewed["expires_at"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends any other request.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let request =
            headers.iter().fold(self.request(method, path), |request, (name, value)| request.header(*name, *value));
        json_of(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }
}

/// Returns the `field` of each of `items`.
fn texts(items: &Value, field: &str) -> Vec<String> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item[field].as_str().map(str::to_owned)).collect()
}

async fn json_of<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    Ok(answered(request).await?.json().await?)
}

async fn nothing_of(request: RequestBuilder) -> Result<(), Error> {
    answered(request).await.map(drop)
}

async fn answered(request: RequestBuilder) -> Result<reqwest::Response, Error> {
    let response = request.header(header::ACCEPT, "application/json, application/problem+json").send().await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let ProblemBody { detail, instance, errors } = response.json().await.unwrap_or_default();
    let retry_after = retry_after.map(Duration::from_secs);
    Err(Error::Refused(Problem { status, detail, instance, errors, retry_after }))
}

/// Creates a message from its text alone.
impl<T: Into<String>> From<T> for NewMessage {
    fn from(content: T) -> Self {
        Self { content: content.into(), reply_to: None }
    }
}
