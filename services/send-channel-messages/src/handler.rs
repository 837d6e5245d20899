//! Converts requests to messages: sending, editing, deleting, reacting.

use std::time::Duration;

use auth::{Scope, Verifier};
use chat::{
    app::{
        agent::cancel,
        channel_messages::ChannelMessages,
        edit::Edit,
        rate_limit::check_rate_limit,
        send::{SendMessage, SendResult, send, unstored::limit_unstored},
    },
    model::{
        access::Caller,
        error::ChatError,
        id::ChannelId,
        message::{NewMessage, Role},
        message_ref::MessageRef,
        message_view::MessageView,
        reaction::Toggle,
        rev::Rev,
        text::{Flaw, emoji::Emoji},
        token_bucket::Bucket,
        validation::Violation,
    },
    ports::{
        clock::{Clock, SystemClock},
        message_store::RecordKey,
        rate_limiter::LimitedAction,
    },
};
use chat_aws::{DynamoChannels, DynamoMessages, trace};
use http::{HeaderValue, Response, StatusCode};
use http_api::{
    ApiRequest, Problem,
    conditions::tagged,
    response,
    rest::{authenticate, path_channel},
    routes::{MessageRoute, Route},
};
use lambda_http::Body;
use serde::Serialize;
use telemetry::{OpenTelemetrySpanExt, metrics};
use tracing::Span;

use crate::cache::SendCaches;

const CONTENT_TYPES: &str = "\"text/plain\" or \"text/markdown\"";

/// Accepts messages, their changes, and reactions to them.
pub(crate) struct Handler {
    channels: DynamoChannels,
    messages: DynamoMessages,
    verifier: Verifier,
    buckets: Buckets,
    /// Time for which records of changes are stored.
    change_duration: Duration,
    caches: SendCaches,
}

/// Rate limits per user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    /// Sends, changes and reactions.
    pub(crate) send: Bucket,
    /// Send requests that store nothing.
    pub(crate) nothing: Bucket,
}

impl Buckets {
    /// Returns the problem of a send after too many that stored nothing.
    fn refused(&self, wait: Duration) -> Problem {
        ChatError::TooManyRequests(self.nothing.exhausted(LimitedAction::SendNothing.name(), wait)).into()
    }
}

impl Handler {
    pub(crate) fn new(
        channels: DynamoChannels,
        messages: DynamoMessages,
        verifier: Verifier,
        buckets: Buckets,
        change_duration: Duration,
    ) -> Self {
        Self { channels, messages, verifier, buckets, change_duration, caches: SendCaches::default() }
    }

    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let route = request.route();
        if !matches!(route, Some(Route::Send | Route::Message(_))) {
            return Err(request.misrouted());
        }
        let caller = authenticate(&request, &self.verifier, Scope::Write).await?.caller;
        let channel_id = path_channel(&request, &caller)?;
        match route {
            Some(Route::Message(route)) => self.change(&request, route, channel_id, caller).await,
            _ => self.send(&request, channel_id, caller).await,
        }
    }

    /// Changes a message: its content, its reactions, or the agent's reply to it.
    async fn change(
        &self,
        request: &ApiRequest,
        route: MessageRoute,
        channel_id: ChannelId,
        caller: Caller,
    ) -> Result<Response<Body>, Problem> {
        let seq = request.path_seq()?;
        let Caller { user_id, tenant, .. } = caller;
        let (channels, messages) =
            (&self.channels.for_tenant(tenant.as_ref()), &self.messages.for_tenant(tenant.as_ref()));
        let changes = if route == MessageRoute::Edit { changes(request)? } else { Edit::default() };
        let bucket = self.buckets.send;
        request.took_token(check_rate_limit(channels, &SystemClock, &user_id, &LimitedAction::Send, bucket).await?);
        let condition = request.conditions().for_change();
        let messages =
            ChannelMessages { channels, messages, clock: &SystemClock, change_duration: self.change_duration };
        let message = MessageRef { channel_id, seq, caller: user_id, trace: trace::current() };
        match route {
            MessageRoute::AddReaction => messages.react(&message, &emoji(request)?, Toggle::Add).await?,
            MessageRoute::RemoveReaction => messages.react(&message, &emoji(request)?, Toggle::Remove).await?,
            MessageRoute::Delete => messages.delete(&message, condition.as_ref()).await?,
            MessageRoute::CancelReply => {
                cancel(&messages, &message).await?;
                return Ok(response::accepted());
            }
            MessageRoute::Edit => {
                let edited = messages.edit(&message, condition.as_ref(), &changes).await?;
                let version = edited.version;
                let view = MessageView::of(edited, &message.caller);
                return Ok(tagged(response::json(StatusCode::OK, &view)?, version));
            }
        }
        Ok(response::no_content())
    }

    async fn send(
        &self,
        request: &ApiRequest,
        channel_id: ChannelId,
        caller: Caller,
    ) -> Result<Response<Body>, Problem> {
        let mut violations = Vec::new();
        let idempotency_key = request.idempotency_key(&mut violations);
        let draft = draft(request, &mut violations)?;
        Problem::require_valid(violations)?;
        let Caller { user_id: sender_id, tenant, .. } = caller;
        // Checked without a store, because a refused request would otherwise cost a transaction.
        if let Some(wait) = self.caches.wait(tenant.as_ref(), &sender_id, SystemClock.now()) {
            return Err(self.buckets.refused(wait));
        }
        let messages = self.messages.for_tenant(tenant.as_ref());
        let message = SendMessage {
            channel_id: channel_id.clone(),
            sender_id: sender_id.clone(),
            role: Role::User,
            draft,
            agent: None,
            record_key: idempotency_key.map(|key| RecordKey::Request { sender_id: sender_id.clone(), key }),
            incarnation: None,
            bucket: Some(self.buckets.send),
            trace: trace::current(),
        };
        let mut cache = self.caches.get(tenant.as_ref(), &channel_id, &sender_id);
        let sent = send(&messages, &SystemClock, message, &mut cache).await;
        let (channels, now) = (self.channels.for_tenant(tenant.as_ref()), SystemClock.now());
        if let (Ok(SendResult::Created(_)), Some(quota)) = (&sent, cache.tokens.quota(self.buckets.send, now)) {
            request.took_token(quota);
        }
        self.caches.set(tenant.clone(), channel_id, sender_id.clone(), cache);
        let refused = limit_unstored(&channels, &sender_id, self.buckets.nothing, now, &sent).await;
        if let Some(wait) = refused? {
            self.caches.refuse(tenant, sender_id, now.plus(wait));
            return Err(self.buckets.refused(wait));
        }
        let sent = sent?;
        Span::current().set_attribute("switchboard.seq", i64::try_from(sent.message().seq.get()).unwrap_or(i64::MAX));
        metrics::count(&metrics::MESSAGES_ACCEPTED, 1);
        answer(request, &sent)
    }
}

fn changes(request: &ApiRequest) -> Result<Edit, Problem> {
    let mut fields = request.fields()?;
    let changes = Edit {
        content: fields.patch_required("content", "a string"),
        content_type: fields.patch_required("content_type", CONTENT_TYPES),
        metadata: fields.patch("metadata", "an object or null"),
    };
    Problem::require_valid(fields.finish())?;
    Ok(changes)
}

/// Message that was sent, with a number of the channel's changes.
#[derive(Serialize)]
struct SentView {
    #[serde(flatten)]
    message: MessageView,
    rev: Rev,
}

/// Returns the path parameter `emoji`.
fn emoji(request: &ApiRequest) -> Result<Emoji, Problem> {
    let text = request.path_text("emoji")?;
    text.parse().map_err(|flaw: Flaw| Problem::invalid(vec![flaw.of("emoji")]))
}

fn draft(request: &ApiRequest, violations: &mut Vec<Violation>) -> Result<NewMessage, Problem> {
    let mut fields = request.fields()?;
    let mut draft = NewMessage {
        content: fields.required("content", "a string"),
        content_type: fields.optional("content_type", CONTENT_TYPES).unwrap_or_default(),
        metadata: fields.optional("metadata", "an object"),
        reply_to: fields.optional("reply_to", "the seq of a message"),
        thread_seq: fields.optional("thread_seq", "the seq of a message that is in no thread"),
    };
    let found = fields.finish();
    let content_is_wrong = found.iter().any(|violation| violation.field == "content");
    // Content of the wrong type is reported once, and not also as empty.
    violations
        .extend(draft.check().into_iter().filter(|violation| !(content_is_wrong && violation.field == "content")));
    violations.extend(found);
    Ok(draft)
}

fn answer(request: &ApiRequest, sent: &SendResult) -> Result<Response<Body>, Problem> {
    let message = sent.message();
    let view = SentView { message: MessageView::of(message.clone(), &message.sender_id), rev: sent.rev() };
    let shown = |status| Ok::<_, Problem>(tagged(response::json(status, &view)?, message.version));
    let mut response = match sent {
        SendResult::Created(_) => shown(StatusCode::CREATED)?,
        SendResult::Replayed(_) => {
            let mut response = shown(StatusCode::OK)?;
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            response
        }
    };
    request.locate(&mut response, &message.seq.to_string());
    Ok(response)
}
