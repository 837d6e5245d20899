//! From a request to a message, and back: sending, editing, deleting.

use std::{collections::HashMap, sync::Mutex};

use auth::Verifier;
use chat::{
    channel::ChannelStore,
    clock::{Clock, SystemClock},
    id::{ChannelId, IdempotencyKey, UserId},
    message::{Draft, Head, MessageStore, Role},
    revision::{Edit, Revision, delete, edit},
    send::{Send, Sent, send},
    validation::Violation,
};
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_api::{ApiRequest, Problem, response, rest::caller};
use lambda_http::Body;

/// Channels whose head is remembered between invocations; the least of memory, the most of saved reads.
const REMEMBERED_HEADS: usize = 1_000;

const CONTENT_TYPES: &str = "\"text/plain\" or \"text/markdown\"";

/// Accepts messages and their changes.
pub(crate) struct Handler<Channels, Messages> {
    channels: Channels,
    messages: Messages,
    verifier: Verifier,
    heads: Mutex<HashMap<ChannelId, Head>>,
}

impl<Channels: ChannelStore, Messages: MessageStore> Handler<Channels, Messages> {
    pub(crate) fn new(channels: Channels, messages: Messages, verifier: Verifier) -> Self {
        Self { channels, messages, verifier, heads: Mutex::default() }
    }

    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let user = caller(&request, &self.verifier).await?;
        let channel_id: ChannelId = request.path_id("channel_id")?;
        let Some(seq) = request.path_seq()? else { return self.send(&request, channel_id, user).await };
        let revision = Revision { channel_id, seq, caller: user, traceparent: Some(traceparent(&request)) };
        if *request.method() == Method::DELETE {
            delete(&self.channels, &self.messages, &SystemClock, &revision).await?;
            return Ok(response::no_content());
        }
        let changes = changes(&request)?;
        let edited = edit(&self.channels, &self.messages, &SystemClock, &revision, changes).await?;
        response::json(StatusCode::OK, &edited)
    }

    async fn send(
        &self,
        request: &ApiRequest,
        channel_id: ChannelId,
        sender_id: UserId,
    ) -> Result<Response<Body>, Problem> {
        let mut violations = Vec::new();
        let idempotency_key = idempotency_key(request, &mut violations);
        let draft = draft(request, &mut violations)?;
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        let message = Send {
            channel_id: channel_id.clone(),
            sender_id,
            role: Role::User,
            draft,
            idempotency_key,
            traceparent: Some(traceparent(request)),
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

fn traceparent(request: &ApiRequest) -> String {
    telemetry::traceparent::of_request(
        request.header("traceparent"),
        request.header("x-amzn-trace-id"),
        SystemClock.random(),
    )
}

fn changes(request: &ApiRequest) -> Result<Edit, Problem> {
    let mut fields = request.fields()?;
    let without_metadata = fields.is_null("metadata");
    let metadata = fields.optional("metadata", "an object or null");
    let changes = Edit {
        content: fields.optional("content", "a string"),
        content_type: fields.optional("content_type", CONTENT_TYPES),
        metadata: if without_metadata { Some(None) } else { metadata.map(Some) },
    };
    let violations = fields.finish();
    if violations.is_empty() { Ok(changes) } else { Err(Problem::invalid(violations)) }
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
        content_type: fields.optional("content_type", CONTENT_TYPES).unwrap_or_default(),
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
    let location = format!("/channels/{}/messages/{}", message.channel_id, message.seq);
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
