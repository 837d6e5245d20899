//! From a request to a message, and back.

use std::{collections::HashMap, sync::Mutex};

use auth::Verifier;
use chat::{
    clock::{Clock, SystemClock},
    id::{ChannelId, IdempotencyKey},
    message::{Draft, Head, MessageStore, Role},
    send::{Send, Sent, send},
    validation::Violation,
};
use http::{HeaderValue, Response, StatusCode, header};
use http_api::{ApiRequest, Problem, response, rest::caller};
use lambda_http::Body;

/// Channels whose head is remembered between invocations; the least of memory, the most of saved reads.
const REMEMBERED_HEADS: usize = 1_000;

/// Accepts messages.
pub(crate) struct Handler<Messages> {
    messages: Messages,
    verifier: Verifier,
    heads: Mutex<HashMap<ChannelId, Head>>,
}

impl<Messages: MessageStore> Handler<Messages> {
    pub(crate) fn new(messages: Messages, verifier: Verifier) -> Self {
        Self { messages, verifier, heads: Mutex::default() }
    }

    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let sender_id = caller(&request, &self.verifier).await?;
        let channel_id: ChannelId = request.path_id("channel_id")?;
        let mut violations = Vec::new();
        let idempotency_key = idempotency_key(&request, &mut violations);
        let draft = draft(&request, &mut violations)?;
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        let traceparent = telemetry::traceparent::of_request(
            request.header("traceparent"),
            request.header("x-amzn-trace-id"),
            SystemClock.random(),
        );
        let message = Send {
            channel_id: channel_id.clone(),
            sender_id,
            role: Role::User,
            draft,
            idempotency_key,
            traceparent: Some(traceparent),
        };
        let mut head = self.recall(&channel_id);
        let sent = send(&self.messages, &SystemClock, message, &mut head).await;
        self.remember(channel_id, head);
        answer(&sent?)
    }

    fn recall(&self, channel: &ChannelId) -> Option<Head> {
        self.heads.lock().ok()?.get(channel).cloned()
    }

    fn remember(&self, channel: ChannelId, head: Option<Head>) {
        let Ok(mut heads) = self.heads.lock() else { return };
        match head {
            Some(head) => {
                if heads.len() >= REMEMBERED_HEADS && !heads.contains_key(&channel) {
                    heads.clear();
                }
                heads.insert(channel, head);
            }
            None => {
                heads.remove(&channel);
            }
        }
    }
}

fn idempotency_key(request: &ApiRequest, violations: &mut Vec<Violation>) -> Option<IdempotencyKey> {
    let value = request.headers().get("idempotency-key")?;
    let key = value.to_str().ok().and_then(|text| text.parse().ok());
    if key.is_none() {
        let message = "must be 1 to 255 visible ASCII characters";
        violations.push(Violation::new("Idempotency-Key", "malformed", message));
    }
    key
}

fn draft(request: &ApiRequest, violations: &mut Vec<Violation>) -> Result<Draft, Problem> {
    let mut fields = request.fields()?;
    let mut draft = Draft {
        content: fields.required("content", "a string"),
        content_type: fields.optional("content_type", "\"text/plain\" or \"text/markdown\"").unwrap_or_default(),
        metadata: fields.optional("metadata", "an object"),
        reply_to: fields.optional("reply_to", "the seq of a message"),
    };
    let found = fields.finish();
    let content_is_wrong = found.iter().any(|violation| violation.field == "content");
    // A content of the wrong type is told once, not as an empty one too.
    violations
        .extend(draft.check().into_iter().filter(|violation| !(content_is_wrong && violation.field == "content")));
    violations.extend(found);
    Ok(draft)
}

fn answer(sent: &Sent) -> Result<Response<Body>, Problem> {
    let message = sent.message();
    let location = format!("/channels/{}/messages?after={}&limit=1", message.channel_id, message.seq - 1);
    let mut response = match sent {
        Sent::Created(_) => response::json(StatusCode::CREATED, message)?,
        Sent::Replayed(_) => {
            let mut response = response::json(StatusCode::OK, message)?;
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            response
        }
    };
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
