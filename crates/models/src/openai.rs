//! Chat completions with server-sent events ("Create chat completion" and "Chat completion chunk object" in the OpenAI
//! API reference).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chat::{
    model::limits::MODEL_IDLE_TIMEOUT,
    ports::language_model::{ModelError, Piece, Pieces, Prompt, Usage},
};
use futures::{Stream, StreamExt, stream};
use reqwest::{StatusCode, Url, header};
use serde_json::{Value, json};

use crate::{
    conversation,
    events::Events,
    limits::{CODE_CHARS, REFUSAL_BYTES, ReplyLimits, TOKENS},
    settings::SettingsError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of a server with this protocol.
#[derive(Debug)]
pub struct OpenAi {
    client: reqwest::Client,
    url: Url,
    key: Option<header::HeaderValue>,
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
        Ok(Self { client, url, key })
    }

    /// Starts a reply.
    pub async fn reply(&self, model: &str, prompt: Prompt) -> Result<Pieces, ModelError> {
        let mut request = self.client.post(self.url.clone()).json(&Self::request(model, &prompt));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, key);
        }
        let response = request.send().await.map_err(unavailable)?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(Self::pieces(response.bytes_stream()))
    }

    /// Returns the body of a request. Speakers are not in the field `name` of a message. It allows no `.` and no `:`,
    /// which ids may contain. Servers differ in whether they accept it, and templates of models ignore it.
    #[must_use]
    pub fn request(model: &str, prompt: &Prompt) -> Value {
        let mut messages = vec![json!({ "role": "system", "content": conversation::instructions(prompt) })];
        messages.extend(
            conversation::parts(&prompt.turns)
                .into_iter()
                .map(|part| json!({ "role": if part.is_user { "user" } else { "assistant" }, "content": part.text })),
        );
        json!({
            "model": model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        })
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
        let events = Events::new(body.boxed(), limits);
        let reply = stream::try_unfold((events, End::Open), async |(mut events, mut end)| {
            loop {
                if end == End::Done {
                    return Ok(None);
                }
                let data = match events.next().await {
                    Ok(Some(data)) => data,
                    // The text is complete; only the token usage may be missing. Some servers omit the closing event.
                    Ok(None) | Err(_) if end == End::Finished => return Ok(None),
                    Ok(None) => return Err(ModelError::Unavailable("the reply ended early".to_owned())),
                    Err(error) => return Err(error),
                };
                if data.trim() == "[DONE]" {
                    return Ok(None);
                }
                let chunk: Value = serde_json::from_str(&data)
                    .map_err(|error| ModelError::Malformed(format!("an event is not JSON: {error}")))?;
                if let Some(piece) = piece(&chunk, &mut end)? {
                    return Ok(Some((piece, (events, end))));
                }
            }
        });
        reply.boxed()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The choice is complete; the usage may follow.
    Finished,
    /// The reply is complete.
    Done,
}

/// Returns the content of a chunk.
fn piece(chunk: &Value, end: &mut End) -> Result<Option<Piece>, ModelError> {
    if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
        return Err(told(StatusCode::INTERNAL_SERVER_ERROR, error));
    }
    let choice = &chunk["choices"][0];
    match choice["finish_reason"].as_str() {
        Some("content_filter") => return Err(ModelError::Filtered),
        Some(_) => *end = End::Finished,
        None => {}
    }
    if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
        return Ok(Some(Piece::Text(text.to_owned())));
    }
    let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) else { return Ok(None) };
    let count = |name: &str| usage[name].as_u64().unwrap_or_default().min(TOKENS);
    if *end == End::Finished {
        *end = End::Done;
    }
    let usage = Usage { input_tokens: count("prompt_tokens"), output_tokens: count("completion_tokens") };
    Ok(Some(Piece::Usage(usage)))
}

/// Returns the reason of a refused request.
async fn refusal(response: reqwest::Response) -> ModelError {
    let status = response.status();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| wait(value.to_str().ok()?.trim(), SystemTime::now()));
    // A server that is unavailable for a while may send it too.
    if status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && retry_after.is_some()) {
        return ModelError::Busy { retry_after };
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    // Of a longer body the beginning is read. It is not valid JSON then, and the status decides.
    while body.len() < REFUSAL_BYTES
        && let Some(Ok(chunk)) = chunks.next().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    told(status, &body["error"])
}

/// Returns the wait in `Retry-After`, in seconds or as a date ("Retry-After" in RFC 9110).
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Returns an error by its status and its `code`.
fn told(status: StatusCode, error: &Value) -> ModelError {
    let code = error["code"].as_str().or(error["type"].as_str()).unwrap_or_default();
    let code: String = code.chars().filter(char::is_ascii_graphic).take(CODE_CHARS).collect();
    match (status, code.as_str()) {
        (_, "context_length_exceeded") | (StatusCode::PAYLOAD_TOO_LARGE, _) => ModelError::TooLong,
        (_, "content_filter" | "content_policy_violation") => ModelError::Filtered,
        (_, "rate_limit_exceeded" | "insufficient_quota") => ModelError::Busy { retry_after: None },
        // Without the message of the error, which may quote the key or the prompt.
        (status, _) if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            ModelError::Unavailable(format!("status {} {code}", status.as_u16()))
        }
        (status, code) => ModelError::Refused(format!("status {} {code}", status.as_u16())),
    }
}

fn unavailable(error: reqwest::Error) -> ModelError {
    // Without the URL, which may contain a key.
    ModelError::Unavailable(error.without_url().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(wait(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
