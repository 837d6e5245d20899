//! The REST API.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Changes, Channel, Channels, Error, Me, Member, Message, NewMessage, Page, Reply, Response, Sent, Threads, Ticket,
    path::segment,
};

/// Media type of a change (RFC 7396): omitted fields stay, and `null` removes a field.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Timeout of a request: one second more than API Gateway's own 29 s.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The REST API, for one user.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    /// Creates a client of the API at `url`, for the user of `token`.
    ///
    /// # Errors
    /// Fails if the HTTP client cannot be created.
    pub fn new(url: &str, token: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self::with(http, url, token))
    }

    /// Creates a client of the API at `url` from an HTTP client, for the user of `token`; empty for none.
    #[must_use]
    pub fn with(http: reqwest::Client, url: &str, token: &str) -> Self {
        Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// Returns a client for the user of another token, over the same connections.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Returns the token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns whether the service works. Needs no token.
    ///
    /// # Errors
    /// Fails with [`Error`], like all methods below.
    pub async fn is_healthy(&self) -> Result<bool, Error> {
        let response = Response::read(self.http.get(format!("{}/health", self.url)).send().await?).await?;
        Ok(response.parse::<Value>()?["status"] == "ok")
    }

    /// Returns the user, the scopes and the end of the token.
    pub async fn me(&self) -> Result<Me, Error> {
        json_of(self.request(Method::GET, "/me")).await
    }

    /// Returns the first page of the user's channels, newest activity first.
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
        tagged(self.request(Method::GET, &format!("/channels/{}", segment(id)))).await
    }

    /// Returns a channel, or `None` if it has not changed since its tag was read.
    pub async fn changed_channel(&self, id: &str, tag: &str) -> Result<Option<Channel>, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}", segment(id)));
        let response = answered(request.header(header::IF_NONE_MATCH, tag)).await?.accepted()?;
        Ok(if response.status == StatusCode::NOT_MODIFIED { None } else { Some(response.parse()?) })
    }

    /// Renames a channel if it has not changed since its tag was read.
    pub async fn rename_channel(&self, id: &str, tag: &str, name: &str) -> Result<Channel, Error> {
        let request = self.request(Method::PATCH, &format!("/channels/{}", segment(id)));
        json_of(changing(request.header(header::IF_MATCH, tag), &json!({ "name": name }))).await
    }

    /// Sets the agent's instructions in a channel, or removes them. The agent's other settings stay.
    pub async fn instruct_agent(&self, id: &str, instructions: Option<&str>) -> Result<Channel, Error> {
        let request = self.request(Method::PATCH, &format!("/channels/{}", segment(id)));
        json_of(changing(request, &json!({ "agent": { "instructions": instructions } }))).await
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

    /// Returns a member of a channel.
    pub async fn member(&self, channel: &str, user: &str) -> Result<Member, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/members/{}", segment(channel), segment(user)))).await
    }

    /// Makes a user a member, or sets a member's role. Returns the role.
    pub async fn add_member(&self, channel: &str, user: &str, role: Option<&str>) -> Result<String, Error> {
        let path = format!("/channels/{}/members/{}", segment(channel), segment(user));
        let mut request = self.request(Method::PUT, &path);
        if let Some(role) = role {
            request = request.json(&json!({ "role": role }));
        }
        let member: Value = json_of(request).await?;
        Ok(member["role"].as_str().unwrap_or_default().to_owned())
    }

    /// Returns the first page of the ids of channels that the user is invited to. [`Self::add_member`] with the own id
    /// accepts.
    pub async fn invitations(&self) -> Result<Vec<String>, Error> {
        let page: Value = json_of(self.request(Method::GET, "/invitations")).await?;
        Ok(texts(&page["invitations"], "channel_id"))
    }

    /// Leaves a channel, declines an invitation, or removes a member.
    pub async fn remove_member(&self, channel: &str, user: &str) -> Result<(), Error> {
        let path = format!("/channels/{}/members/{}", segment(channel), segment(user));
        nothing_of(self.request(Method::DELETE, &path)).await
    }

    /// Sends a message. A repeated request with the same `key` returns the same message.
    pub async fn send(&self, channel: &str, message: &NewMessage, key: &str) -> Result<Sent, Error> {
        let request = self.request(Method::POST, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.header("idempotency-key", key).json(message)).await
    }

    /// Returns up to one page of messages after the number `after`, oldest first.
    pub async fn messages_after(&self, channel: &str, after: u64) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("after", after)])).await
    }

    /// Returns the messages after the number `after`. If there are none, waits up to `wait` seconds for one.
    pub async fn wait_for_messages(&self, channel: &str, after: u64, wait: u64) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("after", after), ("wait", wait)])).await
    }

    /// Returns up to `limit` messages that changed after the change number `after`, each in its current state.
    pub async fn changes_after(&self, channel: &str, after: u64, limit: u16) -> Result<Changes, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/changes", segment(channel)));
        json_of(request.query(&[("after", after), ("limit", u64::from(limit))])).await
    }

    /// Returns the agent's reply to a message, as far as it is stored.
    pub async fn reply(&self, channel: &str, seq: u64) -> Result<Reply, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/messages/{seq}/reply", segment(channel)))).await
    }

    /// Returns up to `limit` of the newest messages, newest first.
    pub async fn newest(&self, channel: &str, limit: u16) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("limit", limit)])).await
    }

    /// Returns up to `limit` messages, half of them up to and including the number `seq`, oldest first.
    pub async fn messages_around(&self, channel: &str, seq: u64, limit: u16) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("around", seq), ("limit", u64::from(limit))])).await
    }

    /// Returns the newest messages that are not in threads, newest first.
    pub async fn newest_outside_threads(&self, channel: &str) -> Result<Page, Error> {
        let request = self.request(Method::GET, &format!("/channels/{}/messages", segment(channel)));
        json_of(request.query(&[("replies", false)])).await
    }

    /// Returns the first page of a channel's threads, newest first.
    pub async fn threads(&self, channel: &str) -> Result<Threads, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/threads", segment(channel)))).await
    }

    /// Returns one message, with the tag that [`Api::edit`] takes.
    pub async fn message(&self, channel: &str, seq: u64) -> Result<(Message, String), Error> {
        tagged(self.request(Method::GET, &format!("/channels/{}/messages/{seq}", segment(channel)))).await
    }

    /// Returns the newest replies in the thread of a message, newest first.
    pub async fn replies(&self, channel: &str, seq: u64) -> Result<Page, Error> {
        json_of(self.request(Method::GET, &format!("/channels/{}/messages/{seq}/replies", segment(channel)))).await
    }

    /// Edits a message if it has not changed since its tag was read.
    pub async fn edit(&self, channel: &str, seq: u64, tag: &str, content: &str) -> Result<Message, Error> {
        let request = self.request(Method::PATCH, &format!("/channels/{}/messages/{seq}", segment(channel)));
        json_of(changing(request.header(header::IF_MATCH, tag), &json!({ "content": content }))).await
    }

    /// Deletes a message.
    pub async fn delete(&self, channel: &str, seq: u64) -> Result<(), Error> {
        nothing_of(self.request(Method::DELETE, &format!("/channels/{}/messages/{seq}", segment(channel)))).await
    }

    /// Returns the users of the first page of reactions to a message, by emoji.
    pub async fn reactors(&self, channel: &str, seq: u64) -> Result<Vec<String>, Error> {
        let path = format!("/channels/{}/messages/{seq}/reactions", segment(channel));
        let found: Value = json_of(self.request(Method::GET, &path)).await?;
        Ok(texts(&found["reactions"], "user_id"))
    }

    /// Adds a reaction to a message, or removes it.
    pub async fn react(&self, channel: &str, seq: u64, emoji: &str, add: bool) -> Result<(), Error> {
        let path = format!("/channels/{}/messages/{seq}/reactions/{}", segment(channel), segment(emoji));
        nothing_of(self.request(if add { Method::PUT } else { Method::DELETE }, &path)).await
    }

    /// Cancels the agent's reply to a message.
    pub async fn cancel_reply(&self, channel: &str, seq: u64) -> Result<(), Error> {
        let path = format!("/channels/{}/messages/{seq}/reply/cancel", segment(channel));
        nothing_of(self.request(Method::POST, &path)).await
    }

    /// Returns the ids of the first present users.
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

    /// Sends any other request. A body is JSON, unless `headers` declare another type.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Value, Error> {
        self.ask(method, path, headers, body).await?.accepted()?.parse()
    }

    /// Sends any other request, and returns its response whatever the status. A body is JSON, unless `headers` declare
    /// another type.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Response, Error> {
        let mut request =
            headers.iter().fold(self.request(method, path), |request, (name, value)| request.header(*name, *value));
        if let Some(body) = body {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            request = request.body(body.to_owned());
        }
        answered(request).await
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

/// Adds the changes of an object to its request.
fn changing(request: RequestBuilder, changes: &Value) -> RequestBuilder {
    request.header(header::CONTENT_TYPE, MERGE_PATCH).body(changes.to_string())
}

/// Returns an object with its tag, for a change that depends on it.
async fn tagged<T: DeserializeOwned>(request: RequestBuilder) -> Result<(T, String), Error> {
    let response = answered(request).await?.accepted()?;
    let tag = response.header(header::ETAG.as_str()).unwrap_or_default().to_owned();
    Ok((response.parse()?, tag))
}

async fn json_of<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    answered(request).await?.accepted()?.parse()
}

async fn nothing_of(request: RequestBuilder) -> Result<(), Error> {
    answered(request).await?.accepted().map(drop)
}

async fn answered(request: RequestBuilder) -> Result<Response, Error> {
    let request = request.header(header::ACCEPT, "application/json, application/problem+json");
    Response::read(request.send().await?).await
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_response_without_end_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut [0; 4_096]).await.unwrap() > 0);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let block = vec![b'x'; 65_536];
            while socket.write_all(&block).await.is_ok() {}
        });
        let answer = Api::new(&url, "token").unwrap().me().await;
        assert!(matches!(answer, Err(Error::TooLong)), "{answer:?}");
        server.await.unwrap();
    }
}
