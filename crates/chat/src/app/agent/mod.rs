//! The agent: replies to user messages, once each.
//!
//! A worker acquires a reply lease before it calls a model, and renews it during generation. Another worker that gets
//! the same record waits, and continues if the lease expires. A question ends with a reply or with a notice. Both are
//! appended under one key ([`RecordKey::Reply`]), so that there is only one of them.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use serde_json::{Map, Value};

use crate::{
    app::{
        access::SameChannel,
        agent::draft::ReplyDraft,
        send::{SendCache, SendMessage, SendResult, send},
    },
    model::{
        channel::{AgentMode, AgentSettings, Channel},
        draft::DraftStatus,
        error::{ChatError, Result},
        id::UserId,
        incarnation::ChannelKey,
        limits::{
            CHANGE_ATTEMPTS, CONTENT_BYTES, CONTEXT_MESSAGES, DEADLINE_MARGIN, DELTA_INTERVAL, LEASE_DURATION,
            LEASE_RENEWAL_INTERVAL, MAX_MODEL_RETRY_AFTER, MIN_PARTIAL_REPLY_DURATION, MIN_TIME_FOR_MODEL_CALL,
            MODEL_CALLS, MODEL_FAILURES, MODEL_IDLE_TIMEOUT,
        },
        message::{ContentType, Message, Role, StoredMessage},
        message_ref::MessageRef,
        text::content::{is_blank, is_refused},
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{Backoff, CHANGE_BACKOFF, Clock},
        draft_sink::DraftSink,
        language_model::{LanguageModel, ModelError, Piece, Prompt, Usage},
        message_store::{MessageStore, Range, RecordKey},
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::{Acquire, MessageKey, ReplyLease, ReplyLeases},
    },
};

pub mod built_in;
pub mod context;
pub mod draft;

use context::{estimated_tokens, turns};

/// Name by which users call the agent after an `@`, unless the deployment sets another.
pub const NAME: &str = "assistant";

const STOPPED: &str = "I was stopped before I had begun.";

/// Wait between two calls of a model that does not say when to retry.
const MODEL_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(8) };

/// Budgets of a deployment's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Maximum size of a prompt, in estimated tokens.
    pub context_tokens: usize,
    /// Replies to one user, over all channels.
    pub user: Bucket,
    /// Replies in one channel.
    pub channel: Bucket,
    /// Maximum number of tokens for one user per day, in UTC.
    pub tokens_per_day: u64,
}

/// Agent, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a, Channels, Messages, Model, Sink, Time> {
    /// Channels, reply leases and token usage.
    pub channels: &'a Channels,
    /// Messages.
    pub messages: &'a Messages,
    /// Language model.
    pub model: &'a Model,
    /// Receiver of drafts.
    pub drafts: &'a Sink,
    /// Time and random numbers.
    pub clock: &'a Time,
    /// Name by which users call the agent after an `@`.
    pub name: &'a str,
    /// Budgets.
    pub budgets: Budgets,
    /// Time at which the invocation ends.
    pub deadline: Timestamp,
}

/// Result for one message.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyOutcome {
    /// The channel does not want a reply to the message, or the channel or the message is deleted.
    NotWanted,
    /// The message already has a reply or a notice.
    Answered,
    /// This call stored a reply.
    Replied(Message),
    /// This call stored a notice that there is no reply.
    Failed(Message),
}

/// End of a generation.
enum GenerationEnd {
    Complete {
        truncated: bool,
    },
    Cancelled,
    Failed(ModelError),
    /// Another worker has acquired the reply lease.
    LeaseLost,
    /// The invocation is about to end.
    DeadlineReached,
}

impl<Channels, Messages, Model, Sink, Time> Agent<'_, Channels, Messages, Model, Sink, Time>
where
    Channels: ChannelStore + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Model: LanguageModel,
    Sink: DraftSink,
    Time: Clock,
{
    /// Replies to a message, if its channel wants that. Repeated calls store only one reply.
    ///
    /// `known` is the channel as read for the previous message of the same batch. It is reused until the agent replies
    /// to a message, since a reply takes long.
    ///
    /// # Errors
    /// [`ChatError::Contended`] when another worker holds the lease or the time left is too short, and
    /// [`ChatError::Store`]. The caller retries both.
    pub async fn answer(&self, stored: &StoredMessage, known: &mut Option<Channel>) -> Result<ReplyOutcome> {
        let Message { channel_id, seq, role, .. } = &stored.message;
        if *role != Role::User {
            return Ok(ReplyOutcome::NotWanted);
        }
        let known_here = known.take().filter(|channel| channel.key() == stored.channel());
        let found = match known_here {
            Some(channel) => Some(channel),
            // A channel that reuses the id is another channel.
            None => self.channels.channel(channel_id).await?.filter(|channel| channel.key() == stored.channel()),
        };
        let Some(channel) = found else { return Ok(ReplyOutcome::NotWanted) };
        if channel.archived_at.is_some() || !should_reply(&channel.agent, &stored.message, self.name) {
            *known = Some(channel);
            return Ok(ReplyOutcome::NotWanted);
        }
        // A model call that the end of the invocation would cut off is not started: the next invocation has more time.
        if self.clock.now().plus(MIN_TIME_FOR_MODEL_CALL) >= self.stop_at() {
            return Err(retry_later());
        }
        let question = MessageKey { channel: stored.channel(), seq: *seq };
        let owner = format!("{:032x}", self.clock.random());
        let Some(claim) = self.acquire_lease(&question, &owner).await? else { return Ok(ReplyOutcome::Answered) };
        let outcome = Box::pin(self.answer_leased(&channel.agent, &question, &owner, claim, stored)).await;
        if outcome.is_err() {
            // If the release fails, the lease expires.
            let _ = self.channels.release(&question, &owner).await;
        }
        outcome
    }

    /// Acquires the reply lease of the question. Returns `None` if the question already has a reply.
    async fn acquire_lease(&self, question: &MessageKey, owner: &str) -> Result<Option<ReplyLease>> {
        loop {
            let now = self.clock.now();
            let claimed = self.channels.acquire(question, owner, now.plus(LEASE_DURATION), now).await?;
            // Checked under the lease: no other worker can be about to reply.
            if self.is_answered(question).await? {
                if matches!(claimed, Acquire::Acquired(_)) {
                    let _ = self.channels.release(question, owner).await;
                }
                return Ok(None);
            }
            match claimed {
                Acquire::Acquired(claim) => return Ok(Some(claim)),
                Acquire::Held { until } => {
                    let wait = now.until(until).clamp(Duration::from_millis(50), LEASE_RENEWAL_INTERVAL);
                    if now.plus(wait) >= self.stop_at() {
                        return Err(retry_later());
                    }
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn is_answered(&self, question: &MessageKey) -> Result<bool> {
        let key = RecordKey::Reply { seq: question.seq };
        let record = self.messages.idempotency_record(&question.channel, &key).await?;
        Ok(record.is_some())
    }

    fn stop_at(&self) -> Timestamp {
        let reserve = i64::try_from(DEADLINE_MARGIN.as_millis()).unwrap_or_default();
        Timestamp::from_millis(self.deadline.as_millis() - reserve)
    }

    async fn answer_leased(
        &self,
        settings: &AgentSettings,
        question: &MessageKey,
        owner: &str,
        mut claim: ReplyLease,
        stored: &StoredMessage,
    ) -> Result<ReplyOutcome> {
        // Read again, since the message may have been edited or deleted.
        let found = self.messages.message(&question.channel, question.seq, self.clock.now()).await?;
        let Some(message) = found.filter(|message| message.deleted_at.is_none()) else {
            return Ok(ReplyOutcome::NotWanted);
        };
        if claim.cancelled {
            return self.post_failure_notice(stored, STOPPED, "cancelled").await;
        }
        if claim.calls == 0
            && let Some(notice) = self.over_budget(&question.channel, &message).await?
        {
            return self.post_failure_notice(stored, notice, "over_budget").await;
        }
        let prompt = self.prompt(settings, &question.channel, &message).await?;
        let mut failures = 0;
        loop {
            if claim.calls >= MODEL_CALLS {
                let error = ModelError::Unavailable("all calls are used up".to_owned());
                return self.post_failure_notice(stored, error.for_people(), "failed").await;
            }
            let until = self.clock.now().plus(LEASE_DURATION);
            claim = self.channels.renew(question, owner, until, true).await?.ok_or_else(retry_later)?;
            let started = self.clock.now();
            let mut draft = ReplyDraft::new(self.drafts, question.channel.clone(), question.seq, self.clock);
            let mut usage = None;
            let mut shown = false;
            let written = self.write(question, owner, prompt.clone(), &mut draft, &mut usage, &mut shown).await;
            let written = match written {
                Ok(written) => written,
                Err(error) => {
                    if shown {
                        draft.end(DraftStatus::Failed, None).await;
                    }
                    return Err(error);
                }
            };
            let error = match written {
                GenerationEnd::Complete { truncated: cut } if !is_blank(&draft.text) => {
                    let mark = cut.then_some("truncated");
                    return self.append(stored, draft, shown, usage, started, &prompt, mark).await;
                }
                GenerationEnd::Complete { .. } => ModelError::Malformed("the reply is empty".to_owned()),
                GenerationEnd::Cancelled if is_blank(&draft.text) => {
                    if shown {
                        draft.end(DraftStatus::Cancelled, None).await;
                    }
                    return self.post_failure_notice(stored, STOPPED, "cancelled").await;
                }
                GenerationEnd::Cancelled => {
                    return self.append(stored, draft, shown, usage, started, &prompt, Some("cancelled")).await;
                }
                // A repeated generation would take as long.
                GenerationEnd::DeadlineReached
                    if !is_blank(&draft.text) && started.until(self.clock.now()) >= MIN_PARTIAL_REPLY_DURATION =>
                {
                    return self.append(stored, draft, shown, usage, started, &prompt, Some("truncated")).await;
                }
                GenerationEnd::LeaseLost | GenerationEnd::DeadlineReached => {
                    self.record_usage(stored, &prompt, usage, &draft.text).await;
                    if shown {
                        draft.end(DraftStatus::Failed, None).await;
                    }
                    return Err(retry_later());
                }
                GenerationEnd::Failed(error) => error,
            };
            if usage.is_some() || !draft.text.is_empty() {
                self.record_usage(stored, &prompt, usage, &draft.text).await;
            }
            if shown {
                draft.end(DraftStatus::Failed, None).await;
            }
            tracing::warn!(channel_id = %question.channel.channel_id, seq = question.seq, %error, "model call failed");
            failures += 1;
            let wait = match &error {
                ModelError::Busy { retry_after: Some(wait) } => *wait,
                _ => MODEL_BACKOFF.delay(self.clock, failures - 1),
            };
            if !error.is_transient() || failures >= MODEL_FAILURES || wait > MAX_MODEL_RETRY_AFTER {
                return self.post_failure_notice(stored, error.for_people(), "failed").await;
            }
            if self.wait(question, owner, wait).await? {
                return self.post_failure_notice(stored, STOPPED, "cancelled").await;
            }
        }
    }

    /// Waits and renews the lease meanwhile. Returns `true` if a user has stopped the reply.
    async fn wait(&self, question: &MessageKey, owner: &str, wait: Duration) -> Result<bool> {
        let end = self.clock.now().plus(wait);
        if end >= self.stop_at() {
            return Err(retry_later());
        }
        while self.clock.now() < end {
            self.clock.sleep(self.clock.now().until(end).min(LEASE_RENEWAL_INTERVAL)).await;
            let until = self.clock.now().plus(LEASE_DURATION);
            let claim = self.channels.renew(question, owner, until, false).await?.ok_or_else(retry_later)?;
            if claim.cancelled {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn prompt(&self, settings: &AgentSettings, channel: &ChannelKey, message: &Message) -> Result<Prompt> {
        let before = Range::Before(message.seq);
        let earlier = self.messages.messages(channel, before, CONTEXT_MESSAGES, self.clock.now()).await?;
        Ok(Prompt {
            instructions: settings.instructions.clone(),
            turns: turns(&earlier, message, self.budgets.context_tokens),
            model: settings.model.clone(),
        })
    }

    /// Returns the notice for the budget that is used up, if one is.
    async fn over_budget(&self, channel: &ChannelKey, message: &Message) -> Result<Option<&'static str>> {
        let (user, now) = (&message.sender_id, self.clock.now());
        if self.channels.tokens_used(user, now).await? >= self.budgets.tokens_per_day {
            return Ok(Some("You have used up what I may say to you today. I am back tomorrow (UTC)."));
        }
        if self.channels.take(user, &LimitedAction::AgentReply, self.budgets.user, now).await?.is_some() {
            return Ok(Some("You ask faster than I may answer. Give me a minute."));
        }
        // The bucket belongs to the channel, whichever user asks.
        if self.channels.take(user, &LimitedAction::Reply(channel), self.budgets.channel, now).await?.is_some() {
            return Ok(Some("I am asked faster than I may answer in this channel. Give me a minute."));
        }
        Ok(None)
    }

    /// Runs the model, and shows the draft.
    async fn write(
        &self,
        question: &MessageKey,
        owner: &str,
        prompt: Prompt,
        draft: &mut ReplyDraft<'_, Sink>,
        usage: &mut Option<Usage>,
        shown: &mut bool,
    ) -> Result<GenerationEnd> {
        let mut pieces = pin!(futures::stream::once(self.model.reply(prompt)).flat_map(|reply| match reply {
            Ok(pieces) => pieces,
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }));
        let mut tick = pin!(self.clock.sleep(DELTA_INTERVAL));
        let mut lease = pin!(self.clock.sleep(LEASE_RENEWAL_INTERVAL));
        let mut heard = self.clock.now();
        loop {
            // Biased order: a model that never pauses leaves time for the other branches, and a run can be repeated.
            tokio::select! {
                biased;
                () = &mut tick => {
                    // A reply that arrives within the first interval is not shown as a draft.
                    if draft.has_news() {
                        draft.show(DraftStatus::Writing).await;
                    } else if !*shown {
                        draft.show(DraftStatus::Thinking).await;
                    }
                    *shown = true;
                    tick.set(self.clock.sleep(DELTA_INTERVAL));
                }
                () = &mut lease => {
                    let now = self.clock.now();
                    if now >= self.stop_at() {
                        return Ok(GenerationEnd::DeadlineReached);
                    }
                    if heard.until(now) >= MODEL_IDLE_TIMEOUT {
                        return Ok(GenerationEnd::Failed(ModelError::Unavailable("it sent nothing in time".to_owned())));
                    }
                    match self.channels.renew(question, owner, now.plus(LEASE_DURATION), false).await? {
                        None => return Ok(GenerationEnd::LeaseLost),
                        Some(ReplyLease { cancelled: true, .. }) => return Ok(GenerationEnd::Cancelled),
                        Some(_) => lease.set(self.clock.sleep(LEASE_RENEWAL_INTERVAL)),
                    }
                }
                piece = pieces.next() => {
                    heard = self.clock.now();
                    match piece {
                        None => return Ok(GenerationEnd::Complete { truncated: false }),
                        Some(Err(error)) => return Ok(GenerationEnd::Failed(error)),
                        Some(Ok(Piece::Usage(used))) => *usage = Some(used),
                        Some(Ok(Piece::Text(text))) => {
                            let room = CONTENT_BYTES - draft.text.len();
                            let fits = text.floor_char_boundary(room);
                            // Messages must not contain control characters, so they are removed from the model's text.
                            let clean: String = text[..fits].chars().filter(|c| !is_refused(*c)).collect();
                            let enough = draft.add(&clean);
                            if fits < text.len() {
                                return Ok(GenerationEnd::Complete { truncated: true });
                            }
                            if enough && *shown {
                                draft.show(DraftStatus::Writing).await;
                            }
                        }
                    }
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a reply")]
    async fn append(
        &self,
        stored: &StoredMessage,
        mut draft: ReplyDraft<'_, Sink>,
        shown: bool,
        usage: Option<Usage>,
        started: Timestamp,
        prompt: &Prompt,
        mark: Option<&str>,
    ) -> Result<ReplyOutcome> {
        let usage = usage.unwrap_or_else(|| estimated(prompt, &draft.text));
        self.record_usage(stored, prompt, Some(usage), &draft.text).await;
        let metadata = [
            ("draft_id", Value::from(draft.id().to_string())),
            ("model", Value::from(self.model.name(prompt.model.as_deref()))),
            ("input_tokens", Value::from(usage.input_tokens)),
            ("output_tokens", Value::from(usage.output_tokens)),
            ("duration_ms", Value::from(millis(started.until(self.clock.now())))),
        ];
        let mut metadata: Map<String, Value> =
            metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        metadata.extend(mark.map(|mark| ("status".to_owned(), Value::from(mark))));
        if shown && draft.has_news() {
            draft.show(DraftStatus::Writing).await;
        }
        let sent = self.send(stored, Role::Assistant, draft.text.clone(), metadata).await;
        if shown {
            let status = match (&sent, mark) {
                (Ok(_), Some("cancelled")) => DraftStatus::Cancelled,
                (Ok(_), _) => DraftStatus::Done,
                (Err(_), _) => DraftStatus::Failed,
            };
            let seq = sent.as_ref().ok().and_then(|sent| sent.as_ref()).map(|sent| sent.message().seq);
            draft.end(status, seq).await;
        }
        let Some(sent) = sent? else { return Ok(ReplyOutcome::Answered) };
        tracing::info!(
            channel_id = %stored.message.channel_id,
            seq = stored.message.seq,
            reply_seq = sent.message().seq,
            input_tokens = usage.input_tokens,
            output_tokens = usage.output_tokens,
            duration_ms = millis(started.until(self.clock.now())),
            status = mark.unwrap_or("complete"),
            "reply stored"
        );
        Ok(ReplyOutcome::Replied(sent.message().clone()))
    }

    /// Records the tokens that a call used, whether it succeeded or not.
    async fn record_usage(&self, stored: &StoredMessage, prompt: &Prompt, usage: Option<Usage>, text: &str) {
        let usage = usage.unwrap_or_else(|| estimated(prompt, text));
        let (user, tokens) = (&stored.message.sender_id, usage.input_tokens + usage.output_tokens);
        if let Err(error) = self.channels.record_tokens(user, tokens, self.clock.now()).await {
            tracing::warn!(%error, "recording tokens failed");
        }
    }

    /// Posts a notice that there is no reply.
    async fn post_failure_notice(&self, stored: &StoredMessage, notice: &str, status: &str) -> Result<ReplyOutcome> {
        let metadata = Map::from_iter([("status".to_owned(), Value::from(status))]);
        let sent = self.send(stored, Role::System, notice.to_owned(), metadata).await?;
        Ok(sent.map_or(ReplyOutcome::Answered, |sent| ReplyOutcome::Failed(sent.message().clone())))
    }

    /// Appends the reply or the notice. Returns `None` if another run was first, or the channel is archived or deleted.
    async fn send(
        &self,
        stored: &StoredMessage,
        role: Role,
        content: String,
        metadata: Map<String, Value>,
    ) -> Result<Option<SendResult>> {
        let Message { channel_id, seq, .. } = &stored.message;
        let message = SendMessage {
            channel_id: channel_id.clone(),
            sender_id: UserId::assistant(),
            role,
            draft: crate::model::message::NewMessage {
                content,
                content_type: ContentType::Markdown,
                metadata: Some(metadata),
                reply_to: Some(*seq),
            },
            record_key: Some(RecordKey::Reply { seq: *seq }),
            incarnation: Some(stored.incarnation),
            // Replies have their own budgets.
            bucket: None,
            trace: stored.trace.clone(),
        };
        match send(self.messages, self.clock, message, &mut SendCache::default()).await {
            Ok(sent) => Ok(Some(sent)),
            Err(ChatError::IdempotencyKeyReused | ChatError::ChannelArchived | ChatError::ChannelNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Stops the reply to a message, on behalf of its author or a moderator. The reply ends within one to two seconds. The
/// text generated so far is stored. A complete reply is not changed.
///
/// # Errors
/// Those of [`crate::app::edit::edit`] that concern permissions.
pub async fn cancel(
    channels: &(impl ChannelStore + ReplyLeases),
    messages: &impl MessageStore,
    clock: &impl Clock,
    revision: &MessageRef,
) -> Result<()> {
    let mut same = SameChannel::default();
    for attempt in 0..CHANGE_ATTEMPTS {
        let editable = crate::app::edit::authorize_edit(channels, messages, clock, revision).await?;
        same.require(&editable.access.channel)?;
        let question = MessageKey { channel: editable.access.key(), seq: revision.seq };
        if channels.cancel(&editable.authority(), &question, clock.now()).await? {
            return Ok(());
        }
        CHANGE_BACKOFF.pause(clock, attempt).await;
    }
    Err(ChatError::contended())
}

fn retry_later() -> ChatError {
    ChatError::contended()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Estimates the tokens of a reply, if the model does not report them.
fn estimated(prompt: &Prompt, text: &str) -> Usage {
    let count = |text: &str| u64::try_from(estimated_tokens(text)).unwrap_or(u64::MAX);
    let input = prompt.turns.iter().map(|turn| count(&turn.text)).chain(prompt.instructions.as_deref().map(count));
    Usage { input_tokens: input.sum(), output_tokens: count(text) }
}

fn should_reply(agent: &AgentSettings, message: &Message, name: &str) -> bool {
    match agent.mode {
        AgentMode::Always => true,
        AgentMode::Mention => mentions(&message.content, name),
        AgentMode::Off => false,
    }
}

/// Whether the text mentions the agent: `@` and its name, in any case, not as a part of a longer name.
fn mentions(text: &str, name: &str) -> bool {
    let (text, mention) = (text.to_lowercase(), format!("@{}", name.to_lowercase()));
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(&mention).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

#[cfg(test)]
mod tests;
