//! The agent: replies to user messages, once each.
//!
//! A worker acquires a reply lease before it calls a model, and renews it during generation. Text is stored before it is
//! shown. Another worker that gets the same record waits, and continues if the lease expires: with the stored text if the
//! model can continue it, and with another draft if not. A question ends with a reply or with a notice. Both are
//! appended under one key ([`RecordKey::Reply`]), so that there is only one of them.
//!
//! A reply ends without a message if its question or its channel is deleted meanwhile, the channel is archived, or its
//! agent is turned off. The append checks all of these in its transaction. A reply continues if its question is edited,
//! since the model has the earlier text. It also continues if the author loses access to the channel: the reply is for
//! the members, who still see the question.

use std::time::Duration;

use crate::{
    app::{
        access::{SameChannel, with_instructions},
        channel_messages::ChannelMessages,
    },
    model::{
        agent_data::ReplyStatus,
        channel::{AgentMode, AgentSettings, Channel},
        error::{ChatError, Result},
        incarnation::ChannelKey,
        limits::{
            CHANGE_ATTEMPTS, CONTEXT_MESSAGES, DEADLINE_MARGIN, LEASE_DURATION, LEASE_RENEWAL_INTERVAL,
            MAX_MODEL_RETRY_AFTER, MIN_TIME_FOR_MODEL_CALL, MODEL_CALLS, MODEL_FAILURES,
        },
        mention::mentions,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{Backoff, CHANGE_BACKOFF, Clock},
        draft_sink::DraftSink,
        language_model::{LanguageModel, ModelError, Prompt},
        message_store::{MessageStore, Range, RecordKey},
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::{Acquire, CancelResult, LeaseOwner, LeaseRenewal, MessageKey, ReplyLease, ReplyLeases},
    },
};

pub mod built_in;
pub mod context;
pub mod draft;
pub mod filter;
pub mod outcome;
pub mod progress;

mod continuation;
mod generation;
mod reply;
mod reply_draft;
mod unwanted;

use context::turns;
use unwanted::Unwanted;

/// Name by which users call the agent after an `@`, unless the deployment sets another.
pub const NAME: &str = "agent";

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
    /// The channel does not want a reply to the message, is archived or deleted, or the message is deleted.
    NotWanted,
    /// The message already has a reply or a notice.
    Answered,
    /// This call stored a reply.
    Replied(Message),
    /// This call stored a notice that there is no reply.
    Failed(Message),
}

/// Message that is to get a reply, with the reply lease on it.
struct Question<'a> {
    /// Message as it was sent.
    stored: &'a StoredMessage,
    key: MessageKey,
    /// Holder of the lease.
    owner: LeaseOwner,
    /// Model that the channel chose.
    model: Option<&'a str>,
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
        let Message { channel_id, seq, .. } = &stored.message;
        if !filter::is_of_user(&stored.message) {
            return Ok(ReplyOutcome::NotWanted);
        }
        let known_here = known.take().filter(|channel| channel.key() == stored.channel());
        let found = match known_here {
            Some(channel) => Some(channel),
            // A channel that reuses the id is another channel.
            None => self.channels.channel(channel_id).await?.filter(|channel| channel.key() == stored.channel()),
        };
        let Some(channel) = found else { return Ok(ReplyOutcome::NotWanted) };
        let key = MessageKey { channel: stored.channel(), seq: *seq };
        let model = channel.agent.model.as_deref();
        let question = Question { stored, key, owner: LeaseOwner::new(self.clock.random()), model };
        if let Some(reason) = Unwanted::in_channel(&channel) {
            let outcome = self.end_left_draft(&question, reason).await?;
            *known = Some(channel);
            return Ok(outcome);
        }
        if !should_reply(&channel.agent, &stored.message, self.name) {
            // Most messages ask for no reply. Only a record that comes late may have a draft of an earlier worker.
            let is_late = stored.message.created_at.until(self.clock.now()) >= LEASE_DURATION;
            let outcome = if is_late {
                self.end_left_draft(&question, Unwanted::AgentOff).await?
            } else {
                ReplyOutcome::NotWanted
            };
            *known = Some(channel);
            return Ok(outcome);
        }
        // A model call that the end of the invocation would cut off is not started: the next invocation has more time.
        if self.clock.now().plus(MIN_TIME_FOR_MODEL_CALL) >= self.stop_at() {
            return Err(retry_later());
        }
        // Most records of the stream come to an end before this read.
        let settings = with_instructions(self.channels, channel.clone()).await?.agent;
        let Some(lease) = self.acquire_lease(&question).await? else { return Ok(ReplyOutcome::Answered) };
        let outcome = Box::pin(self.answer_leased(&settings, &question, lease)).await;
        if outcome.is_err() {
            // If the release fails, the lease expires.
            let _ = self.channels.release(&question.key, question.owner).await;
        }
        outcome
    }

    /// Acquires the reply lease of the question. Returns `None` if the question already has a reply.
    async fn acquire_lease(&self, question: &Question<'_>) -> Result<Option<ReplyLease>> {
        let (key, owner) = (&question.key, question.owner);
        loop {
            let now = self.clock.now();
            let acquired = self.channels.acquire(key, owner, now.plus(LEASE_DURATION), now).await?;
            // Checked under the lease: no other worker can be about to reply.
            if is_answered(self.messages, key).await? {
                if matches!(acquired, Acquire::Acquired(_)) {
                    let _ = self.channels.release(key, owner).await;
                }
                return Ok(None);
            }
            match acquired {
                Acquire::Acquired(lease) => return Ok(Some(lease)),
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

    fn stop_at(&self) -> Timestamp {
        let reserve = i64::try_from(DEADLINE_MARGIN.as_millis()).unwrap_or_default();
        Timestamp::from_millis(self.deadline.as_millis() - reserve)
    }

    /// Replies to a question under its lease: with a reply, or with a notice.
    async fn answer_leased(
        &self,
        settings: &AgentSettings,
        question: &Question<'_>,
        mut lease: ReplyLease,
    ) -> Result<ReplyOutcome> {
        let MessageKey { channel, seq } = &question.key;
        let left = self.left_draft(question, &lease).await?;
        // Read again, since the message may have been edited or deleted.
        let found = self.messages.message(channel, *seq, self.clock.now()).await?;
        let Some(message) = found.filter(|message| message.deleted_at.is_none()) else {
            let Some(mut draft) = left else { return Ok(ReplyOutcome::NotWanted) };
            return Ok(self.end_unwanted(question, &mut draft, Unwanted::QuestionDeleted).await);
        };
        if lease.cancelled {
            let mut draft = left.unwrap_or_else(|| self.new_draft(question));
            let prompt = self.prompt(settings, channel, &message).await?;
            return self.end_cancelled(question, &mut draft, &prompt).await;
        }
        let left = left.filter(|draft| self.can_continue(question, draft));
        let mut draft = left.unwrap_or_else(|| self.new_draft(question));
        if lease.calls == 0
            && let Some(notice) = self.over_budget(channel, &message).await?
        {
            return self.post_failure_notice(question, &mut draft, notice, ReplyStatus::OverBudget).await;
        }
        let mut prompt = self.prompt(settings, channel, &message).await?;
        let mut failures = 0;
        loop {
            if lease.calls >= MODEL_CALLS {
                let error = ModelError::Unavailable("all calls are used up".to_owned());
                return self.post_failure_notice(question, &mut draft, error.for_people(), ReplyStatus::Failed).await;
            }
            // A draft that is not continued has no text here. The model is not asked again: another reply of this process
            // may have found out meanwhile that the model refuses prefixes, and the draft has its text nevertheless.
            prompt.prefix = draft.has_text().then(|| draft.text.clone());
            let renewal = LeaseRenewal::CallModel { draft_id: draft.id() };
            lease = self.renew_lease(question, renewal).await?.ok_or_else(retry_later)?;
            let error = match self.call_model(question, &prompt, &mut draft).await? {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            failures += 1;
            let wait = match &error {
                ModelError::Busy { retry_after: Some(wait) } => *wait,
                _ => MODEL_BACKOFF.delay(self.clock, failures - 1),
            };
            if !error.is_transient() || failures >= MODEL_FAILURES || wait > MAX_MODEL_RETRY_AFTER {
                return self.post_failure_notice(question, &mut draft, error.for_people(), ReplyStatus::Failed).await;
            }
            if !self.can_continue(question, &draft) {
                draft.replace(self.new_draft_id()).await;
            }
            if self.wait(question, wait).await? {
                return self.end_cancelled(question, &mut draft, &prompt).await;
            }
            if let Some(reason) = self.unwanted(question).await {
                return Ok(self.end_unwanted(question, &mut draft, reason).await);
            }
        }
    }

    /// Renews the lease from now on. Returns `None` if another worker holds it.
    async fn renew_lease(&self, question: &Question<'_>, renewal: LeaseRenewal) -> Result<Option<ReplyLease>> {
        let until = self.clock.now().plus(LEASE_DURATION);
        Ok(self.channels.renew(&question.key, question.owner, until, renewal).await?)
    }

    /// Waits and renews the lease meanwhile. Returns `true` if a user has stopped the reply.
    async fn wait(&self, question: &Question<'_>, wait: Duration) -> Result<bool> {
        let end = self.clock.now().plus(wait);
        if end >= self.stop_at() {
            return Err(retry_later());
        }
        while self.clock.now() < end {
            self.clock.sleep(self.clock.now().until(end).min(LEASE_RENEWAL_INTERVAL)).await;
            if self.renew_lease(question, LeaseRenewal::Keep).await?.ok_or_else(retry_later)?.cancelled {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn prompt(&self, settings: &AgentSettings, channel: &ChannelKey, message: &Message) -> Result<Prompt> {
        let before = Range::Before(message.seq);
        let earlier = self.messages.messages(channel, before, CONTEXT_MESSAGES, self.clock.now()).await?;
        Ok(Prompt {
            instructions: settings.instructions.text().map(str::to_owned),
            turns: turns(&earlier, message, self.budgets.context_tokens),
            model: settings.model.clone(),
            prefix: None,
        })
    }

    /// Returns the notice for the budget that is used up, if one is.
    async fn over_budget(&self, channel: &ChannelKey, message: &Message) -> Result<Option<&'static str>> {
        let (user, now) = (&message.sender_id, self.clock.now());
        if self.channels.tokens_used(user, now).await? >= self.budgets.tokens_per_day {
            return Ok(Some("You have used up what I may say to you today. I am back tomorrow (UTC)."));
        }
        if self.channels.take(user, &LimitedAction::AgentReply, self.budgets.user, now).await?.is_err() {
            return Ok(Some("You ask faster than I may answer. Give me a minute."));
        }
        // The bucket belongs to the channel, whichever user asks.
        if self.channels.take(user, &LimitedAction::Reply(channel), self.budgets.channel, now).await?.is_err() {
            return Ok(Some("I am asked faster than I may answer in this channel. Give me a minute."));
        }
        Ok(None)
    }
}

/// Stops the reply to a message while it is being written, on behalf of the author of the message or a moderator. The
/// reply ends within one to two seconds. The text generated so far is stored.
///
/// # Errors
/// [`ChatError::ReplyNotFound`] when no reply is being written, and those of [`ChannelMessages::edit`] that concern
/// permissions.
pub async fn cancel(
    messages: &ChannelMessages<'_, impl ChannelStore + ReplyLeases, impl MessageStore, impl Clock>,
    revision: &MessageRef,
) -> Result<()> {
    let ChannelMessages { channels, clock, .. } = *messages;
    let mut same = SameChannel::default();
    for attempt in 0..CHANGE_ATTEMPTS {
        let editable = messages.authorize_edit(revision).await.map_err(as_refusal_to_stop)?;
        same.require(&editable.access.channel)?;
        let question = MessageKey { channel: editable.access.key(), seq: revision.seq };
        // The lease is kept until it expires, also if the reply is complete.
        if is_answered(messages.messages, &question).await? {
            return Err(ChatError::ReplyNotFound);
        }
        match channels.cancel(&editable.authority(), &question, clock.now()).await? {
            CancelResult::Done => return Ok(()),
            CancelResult::NoReply => return Err(ChatError::ReplyNotFound),
            CancelResult::Stale => CHANGE_BACKOFF.pause(clock, attempt).await,
        }
    }
    Err(ChatError::contended())
}

/// Converts the refusal of an edit to that of a cancellation.
fn as_refusal_to_stop(error: ChatError) -> ChatError {
    match error {
        ChatError::Forbidden(_) => {
            ChatError::not_permitted("only the author of the question or a moderator stops its reply")
        }
        error => error,
    }
}

/// Returns whether a question has its reply, or the notice that there is none.
async fn is_answered(messages: &impl MessageStore, question: &MessageKey) -> Result<bool> {
    let key = RecordKey::Reply { seq: question.seq };
    let record = messages.idempotency_record(&question.channel, &key).await?;
    Ok(record.is_some())
}

fn retry_later() -> ChatError {
    ChatError::contended()
}

fn should_reply(agent: &AgentSettings, message: &Message, name: &str) -> bool {
    match agent.mode {
        AgentMode::Always => true,
        AgentMode::Mention => mentions(&message.content, name),
        AgentMode::Off => false,
    }
}

#[cfg(test)]
mod tests;
