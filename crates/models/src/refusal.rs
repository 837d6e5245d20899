//! Errors of servers of OpenAI's protocol, before a reply and within it.

use std::time::{Duration, SystemTime};

use chat::ports::language_model::ModelError;
use futures::StreamExt;
use reqwest::{
    StatusCode,
    header::{self, HeaderMap},
};
use serde_json::Value;

use crate::limits::{CODE_CHARS, REFUSAL_BYTES, RETRY_AFTER};

/// Words of errors without a code of their own for a prompt that is too long. Each server and each model has others.
const OF_LENGTH: [&str; 12] = [
    "too long",
    "too many input tokens",
    "tokens exceeded",
    "context length",
    "context size",
    "context window",
    "context the overflows",
    "token limit",
    "input token count",
    "tokens + `max_new_tokens` must be",
    "prompt contains",
    "maximum input length",
];

/// Whether the message of an error reports a prompt that is too long.
pub(crate) fn is_of_length(message: &str) -> bool {
    let message = message.to_lowercase();
    OF_LENGTH.iter().any(|words| message.contains(words))
}

/// A refused request.
pub(crate) struct Refusal {
    pub(crate) error: ModelError,
    /// `true` when the server refuses the parameter `stream_options`.
    pub(crate) is_of_stream_options: bool,
}

impl Refusal {
    /// Reads a response that is no success.
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        // A server that is unavailable for a while may send it too.
        if retry_after.is_some() && (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
            return Self { error: ModelError::Busy { retry_after }, is_of_stream_options: false };
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        // Of a longer body the beginning is read. It is not valid JSON then, and the status decides.
        while body.len() < REFUSAL_BYTES
            && let Some(Ok(chunk)) = chunks.next().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
        }
        Self::of(status, &body)
    }

    /// Reads the body of a response with this status.
    pub(crate) fn of(status: StatusCode, body: &[u8]) -> Self {
        let is_invalid = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        let is_of_stream_options = is_invalid && String::from_utf8_lossy(body).contains("stream_options");
        Self { error: told(status, &serde_json::from_slice(body).unwrap_or_default()), is_of_stream_options }
    }
}

/// Returns the wait that a server asks for: `retry-after-ms` (`_parse_retry_after_header` in `src/openai/_base_client.py`
/// of openai/openai-python), or `Retry-After`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|value| seconds(value, 1_000.0));
    millis.or_else(|| wait(text(header::RETRY_AFTER.as_str())?, now))
}

/// Returns the wait in `Retry-After`, in seconds or as a date ("Retry-After" in RFC 9110).
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if let Some(wait) = seconds(value, 1.0) {
        return Some(wait);
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default().min(RETRY_AFTER))
}

/// Returns the time in a decimal number, of which `per_second` are a second.
fn seconds(value: &str, per_second: f64) -> Option<Duration> {
    let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = value.parse().ok().filter(|_| is_decimal)?;
    Some(Duration::try_from_secs_f64(number / per_second).unwrap_or(RETRY_AFTER).min(RETRY_AFTER))
}

/// Whether a field `error` has one.
pub(crate) fn is_told(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Returns the error of a body with this status.
///
/// Most servers send `{"error": {"message", "type", "code"}}` ("Error codes" in the OpenAI guides). Others send the error
/// as a string (TGI, native errors of Ollama), its fields without `error` around them (Mistral, older versions of vLLM),
/// a `detail` (servers with `FastAPI`), or all of it in an array (Gemini). `OpenRouter` and vLLM give a status as `code`.
pub(crate) fn told(status: StatusCode, body: &Value) -> ModelError {
    let body = body.get(0).unwrap_or(body);
    let error = if is_told(&body["error"]) { &body["error"] } else { body };
    let fields = [&error["code"], &error["type"], &error["status"], &body["error_type"], &error["innererror"]["code"]];
    let codes: Vec<&str> = fields.into_iter().filter_map(Value::as_str).filter(|code| !code.is_empty()).collect();
    let statuses = [&error["code"], &error["status"], &error["http_status_code"]];
    let code = statuses.into_iter().find_map(error_status);
    // Within a reply, only the error has a status.
    let status = if status == StatusCode::INTERNAL_SERVER_ERROR { code.unwrap_or(status) } else { status };
    let is = |known: &[&str]| codes.iter().any(|code| known.iter().any(|known| known.eq_ignore_ascii_case(code)));
    let is_flagged = error["metadata"]["flagged_input"].is_string() || error["metadata"]["reasons"].is_array();
    if is(&["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "data_inspection_failed"])
        || is_flagged
    {
        return ModelError::Filtered;
    }
    if status == StatusCode::TOO_MANY_REQUESTS
        || is(&["rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "resource_exhausted"])
        || is(&["overloaded", "overloaded_error", "engine_overloaded_error"])
    {
        return ModelError::Busy { retry_after: retry_delay(error) };
    }
    let is_length = is(&["context_length_exceeded", "exceed_context_size_error"]) || any_message(error, is_of_length);
    let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
    if status == StatusCode::PAYLOAD_TOO_LARGE || (is_length && !is_denied) {
        return ModelError::TooLong;
    }
    // Without the message of the error, which may quote the key or the prompt.
    let code = codes.first().copied().unwrap_or_default();
    let code: String = code.chars().filter(char::is_ascii_graphic).take(CODE_CHARS).collect();
    let reason = format!("status {} {code}", status.as_u16());
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        ModelError::Unavailable(reason)
    } else {
        ModelError::Refused(reason)
    }
}

/// Returns the status in a code, which may be a string (`LiteLLM`).
fn error_status(code: &Value) -> Option<StatusCode> {
    let number = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

/// Whether a message of the error fulfills a condition. A message may hold another error: that of a server behind the
/// server, or one for each field of the request. The values of these fields are not searched.
fn any_message(error: &Value, is: fn(&str) -> bool) -> bool {
    match error {
        Value::String(text) => is(text),
        Value::Array(errors) => errors.iter().any(|error| any_message(error, is)),
        Value::Object(fields) => {
            let inner = ["message", "detail", "msg", "error"].map(|name| fields.get(name));
            inner.into_iter().flatten().any(|error| any_message(error, is))
        }
        _ => false,
    }
}

/// Returns the wait within an error of Gemini (`RetryInfo` in `google/rpc/error_details.proto` of googleapis/googleapis).
fn retry_delay(error: &Value) -> Option<Duration> {
    let mut details = error["details"].as_array().into_iter().flatten();
    details.find_map(|detail| seconds(detail["retryDelay"].as_str()?.strip_suffix('s')?, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, millis) in [
            ("7", Some(7_000)),
            ("0", Some(0)),
            ("1.5", Some(1_500)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Thu, 01 Jan 2099 00:00:00 GMT", Some(86_400_000)),
            ("18446744073709551615", Some(86_400_000)),
            ("99999999999999999999999999", Some(86_400_000)),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e3", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(value, now), millis.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn milliseconds_are_more_exact() {
        let headers = |values: &[(&'static str, &'static str)]| -> HeaderMap {
            values.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
        };
        let now = SystemTime::now();
        for (values, millis) in [
            (&[("retry-after-ms", "250"), ("retry-after", "1")][..], Some(250)),
            (&[("retry-after-ms", "soon"), ("retry-after", "1")], Some(1_000)),
            (&[("retry-after", "2")], Some(2_000)),
            (&[], None),
        ] {
            assert_eq!(retry_after(&headers(values), now), millis.map(Duration::from_millis), "{values:?}");
        }
    }
}
