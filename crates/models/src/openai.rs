//! Chat completions with server-sent events ("Create chat completion" and "Chat completion chunk object" in the OpenAI
//! API reference).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use chat::{
    model::limits::MODEL_IDLE_TIMEOUT,
    ports::language_model::{ModelError, Pieces, Prompt},
};
use futures::{Stream, StreamExt};
use reqwest::{StatusCode, Url, header};
use serde_json::{Value, json};

use crate::{
    chunk,
    continuation::{Continuation, Prefix},
    conversation,
    events::{Events, Item, malformed},
    limits::ReplyLimits,
    refusal::Refusal,
    reply::{self, Finish, Progress, Reply, Source},
    settings::SettingsError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of a server with this protocol.
#[derive(Debug)]
pub struct OpenAi {
    client: reqwest::Client,
    url: Url,
    key: Option<header::HeaderValue>,
    continuation: Continuation,
    /// `true` when the server refused `stream_options`.
    refuses_stream_options: AtomicBool,
}

impl OpenAi {
    /// Creates a client for the server whose paths begin with `url`.
    pub fn new(url: &str, key: Option<String>) -> Result<Self, SettingsError> {
        let url = Url::parse(&format!("{}/chat/completions", url.trim_end_matches('/')));
        let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or(SettingsError::Url)?;
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(MODEL_IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let key = key.and_then(|key| header::HeaderValue::try_from(format!("Bearer {}", key.trim())).ok());
        let key = key.map(|mut key| {
            key.set_sensitive(true);
            key
        });
        let (continuation, refuses_stream_options) = (Continuation::None, AtomicBool::new(false));
        Ok(Self { client, url, key, continuation, refuses_stream_options })
    }

    /// Sets the way in which the server is asked to continue a reply.
    #[must_use]
    pub fn continuing(self, continuation: Continuation) -> Self {
        Self { continuation, ..self }
    }

    /// Starts a reply. Older servers refuse `stream_options`, so a request that is refused for it is repeated once without
    /// it, and later requests of this client do not have it.
    pub async fn reply(&self, model: &str, prompt: Prompt) -> Result<Pieces, ModelError> {
        let prefix = Prefix::of(&prompt, self.continuation);
        let mut body = Self::body(model, &prompt, prefix.as_ref());
        loop {
            if self.refuses_stream_options.load(Ordering::Relaxed) {
                body.as_object_mut().map(|fields| fields.remove("stream_options"));
            }
            let response = self.send(&body).await?;
            if response.status().is_success() {
                return Self::decoded(response, prefix.as_ref());
            }
            let refusal = Refusal::read(response).await;
            if !refusal.is_of_stream_options || body.get("stream_options").is_none() {
                return Err(refusal.error);
            }
            // Such a server reports the usage unasked, or not at all. The refused request cost nothing.
            self.refuses_stream_options.store(true, Ordering::Relaxed);
        }
    }

    async fn send(&self, body: &Value) -> Result<reqwest::Response, ModelError> {
        // A compressed stream arrives in large parts, if a proxy compresses it.
        let mut request = self.client.post(self.url.clone()).header(header::ACCEPT_ENCODING, "identity").json(body);
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, key);
        }
        request.send().await.map_err(unavailable)
    }

    /// Returns the pieces of a response, unless it is encoded although that was not asked for.
    fn decoded(response: reqwest::Response, prefix: Option<&Prefix<'_>>) -> Result<Pieces, ModelError> {
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(ModelError::Refused("the response has a Content-Encoding".to_owned()));
        }
        Ok(Self::pieces_after(response.bytes_stream(), ReplyLimits::default(), prefix))
    }

    /// Returns the body of a request. A prefix of the reply is in it, unless the server is not asked to continue one.
    #[must_use]
    pub fn request(model: &str, prompt: &Prompt, continuation: Continuation) -> Value {
        Self::body(model, prompt, Prefix::of(prompt, continuation).as_ref())
    }

    /// Returns the body of a request with a prefix of the reply. Speakers are not in the field `name` of a message. It
    /// allows no `.` and no `:`, which ids may contain. Servers differ in whether they accept it, and templates of models
    /// ignore it.
    fn body(model: &str, prompt: &Prompt, prefix: Option<&Prefix<'_>>) -> Value {
        let mut messages = vec![json!({ "role": "system", "content": conversation::instructions(prompt) })];
        messages.extend(
            conversation::parts(&prompt.turns)
                .into_iter()
                .map(|part| json!({ "role": if part.is_user { "user" } else { "assistant" }, "content": part.text })),
        );
        let mut body = json!({
            "model": model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(prefix) = prefix {
            prefix.add_to(&mut body);
        }
        body
    }

    /// Returns the error of a response that is no success.
    #[must_use]
    pub fn refusal(status: StatusCode, body: &[u8]) -> ModelError {
        Refusal::of(status, body).error
    }

    /// Returns the pieces of a reply in the body of a successful response, independent of the chunks.
    pub fn pieces<E>(body: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Pieces
    where
        E: std::fmt::Display + Send + 'static,
    {
        Self::pieces_within(body, ReplyLimits::default())
    }

    /// Returns the pieces of a reply, with other limits.
    pub fn pieces_within<E>(body: impl Stream<Item = Result<Bytes, E>> + Send + 'static, limits: ReplyLimits) -> Pieces
    where
        E: std::fmt::Display + Send + 'static,
    {
        Self::pieces_after(body, limits, None)
    }

    /// Returns the pieces that follow a prefix of the reply.
    fn pieces_after<E>(
        body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        limits: ReplyLimits,
        prefix: Option<&Prefix<'_>>,
    ) -> Pieces
    where
        E: std::fmt::Display + Send + 'static,
    {
        reply::pieces(Completion { events: Events::new(body.boxed(), limits) }, prefix)
    }
}

/// The stream of a reply.
struct Completion<E> {
    events: Events<E>,
}

impl<E: std::fmt::Display + 'static> Source for Completion<E> {
    async fn advance(&mut self, reply: &mut Reply) -> Result<Progress, ModelError> {
        let event = match self.events.next().await? {
            Item::End => return Ok(Progress::End),
            Item::Bytes => return Ok(Progress::More),
            Item::Json(completion) => {
                chunk::read(&completion, "", reply)?;
                return Ok(Progress::More);
            }
            Item::Event(event) => event,
        };
        let data = event.data.trim();
        if data == "[DONE]" {
            reply.finish(Finish::Complete);
            return Ok(Progress::End);
        }
        let chunk = match serde_json::from_str(data) {
            Ok(chunk) => chunk,
            Err(_) if event.event == "error" => Value::from(data),
            // Keep-alives, which may have a name and any data.
            Err(_) if data.is_empty() || event.event != "message" => return Ok(Progress::More),
            // The rest of the event is lost.
            Err(_) if self.events.is_over() => return Ok(Progress::End),
            Err(error) => return Err(malformed(&error)),
        };
        chunk::read(&chunk, &event.event, reply)?;
        Ok(if reply.is_whole() { Progress::End } else { Progress::More })
    }
}

fn unavailable(error: reqwest::Error) -> ModelError {
    // Without the URL, which may contain a key.
    ModelError::Unavailable(error.without_url().to_string())
}
