//! The agent: when it answers, and that it answers once.

use std::future::Future;

use crate::{
    channel::{AgentMode, AgentSettings, ChannelStore},
    clock::Clock,
    error::{ChatError, Result, StoreError},
    id::{IdempotencyKey, UserId},
    message::{ContentType, Draft, Message, MessageStore, Role, StoredMessage},
    send::{Send, Sent, send},
};

mod built_in;

pub use built_in::BuiltInResponder;

/// The name by which users call the agent in channels where it answers mentions only.
pub const MENTION: &str = "@assistant";

/// What a model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// What the channel tells its agent.
    pub instructions: Option<&'a str>,
    /// The message to answer.
    pub message: &'a Message,
}

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The words; bounded by the content limit of a message.
    pub content: String,
    /// How to show them.
    pub content_type: ContentType,
}

/// A language model.
pub trait LanguageModel: std::marker::Send + Sync {
    /// Answers a prompt.
    fn reply(&self, prompt: Prompt<'_>) -> impl Future<Output = Result<Reply, StoreError>> + std::marker::Send;
}

/// Answers a message, if its channel wants that. `None`: there was nothing to answer.
///
/// However often it runs for the same message, the channel gets one reply: it is appended under
/// [`IdempotencyKey::reply_to`].
///
/// # Errors
/// [`ChatError::Contended`] and [`ChatError::Store`]: try again.
pub async fn answer(
    channels: &impl ChannelStore,
    messages: &impl MessageStore,
    model: &impl LanguageModel,
    clock: &impl Clock,
    stored: &StoredMessage,
) -> Result<Option<Sent>> {
    let message = &stored.message;
    if message.role != Role::User {
        return Ok(None);
    }
    let Some(channel) = channels.channel(&message.channel_id).await? else { return Ok(None) };
    if channel.archived_at.is_some() || !wants_answer(&channel.agent, message) {
        return Ok(None);
    }
    let key = IdempotencyKey::reply_to(message.seq);
    let assistant = UserId::assistant();
    if messages.idempotency_record(&message.channel_id, &assistant, &key).await?.is_some() {
        return Ok(None);
    }
    let prompt = Prompt { instructions: channel.agent.instructions.as_deref(), message };
    let reply = model.reply(prompt).await?;
    let reply = Send {
        channel_id: message.channel_id.clone(),
        sender_id: assistant,
        role: Role::Assistant,
        draft: Draft {
            content: reply.content,
            content_type: reply.content_type,
            metadata: None,
            reply_to: Some(message.seq),
        },
        idempotency_key: Some(key),
        traceparent: stored.traceparent.clone(),
    };
    match send(messages, clock, reply, &mut None).await {
        Ok(sent) => Ok(Some(sent)),
        // Another run was first with other words, or the channel has ended: nothing is left to do.
        Err(ChatError::IdempotencyKeyReused | ChatError::ChannelArchived | ChatError::ChannelNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn wants_answer(agent: &AgentSettings, message: &Message) -> bool {
    match agent.mode {
        AgentMode::Always => true,
        AgentMode::Mention => mentions(&message.content),
        AgentMode::Off => false,
    }
}

/// Whether the text calls the agent: [`MENTION`], in any case, not as a part of a longer name.
fn mentions(text: &str) -> bool {
    let text = text.to_lowercase();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(MENTION).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_is_a_mention() {
        for text in ["@assistant", "hey @Assistant, hi", "(@assistant)", "@assistants @assistant"] {
            assert!(mentions(text), "{text}");
        }
        for text in ["", "assistant", "@assistants", "me@assistant", "@assistant-2", "@assist"] {
            assert!(!mentions(text), "{text}");
        }
    }
}
