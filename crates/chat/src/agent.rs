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
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        channel::Visibility,
        testing::{MemoryStore, TestClock, broken, stored_message},
    };

    #[test]
    fn only_the_whole_name_is_a_mention() {
        for text in ["@assistant", "hey @Assistant, hi", "(@assistant)", "@assistants @assistant"] {
            assert!(mentions(text), "{text}");
        }
        for text in ["", "assistant", "@assistants", "me@assistant", "@assistant-2", "@assist"] {
            assert!(!mentions(text), "{text}");
        }
    }

    /// A model that counts, fails at times, and never says the same thing twice.
    #[derive(Default)]
    struct Counting(AtomicU32);

    impl LanguageModel for Counting {
        async fn reply(&self, prompt: Prompt<'_>) -> Result<Reply, StoreError> {
            let call = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            if call % 3 == 1 {
                return Err(broken());
            }
            let content = format!("answer {call} to {}", prompt.message.seq);
            Ok(Reply { content, content_type: ContentType::Plain })
        }
    }

    #[tokio::test]
    async fn the_agent_answers_as_its_channel_wants_and_never_itself() {
        let clock = TestClock::new(1);
        for (mode, content, role, answers) in [
            (AgentMode::Always, "hi", Role::User, true),
            (AgentMode::Always, "hi", Role::Assistant, false),
            (AgentMode::Always, "hi", Role::System, false),
            (AgentMode::Mention, "hi", Role::User, false),
            (AgentMode::Mention, "hi @assistant", Role::User, true),
            (AgentMode::Off, "hi @assistant", Role::User, false),
        ] {
            let store = MemoryStore::new(1, 0).with_channel("c", Visibility::Private).with_agent("c", mode);
            let mut stored = stored_message("c", 0, content);
            stored.message.role = role;
            let reply = answer(&store, &store, &BuiltInResponder, &clock, &stored).await;
            // The message itself is not in the store, so a reply to it is refused: what counts is whether it was tried.
            assert_eq!(reply.is_err(), answers, "{mode:?} {content} {role:?}");
        }
    }

    proptest! {
        /// One record, delivered many times, to many workers at once, with failing stores and models.
        #[test]
        fn a_message_gets_one_answer_however_often_it_is_delivered(seed in any::<u64>(), faults in 0..40_u32) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (clock, model) = (TestClock::new(seed), Counting::default());
                let store = MemoryStore::new(seed, faults).with_channel("c", Visibility::Public);
                let question = Send {
                    channel_id: "c".parse().unwrap(),
                    sender_id: "alice".parse().unwrap(),
                    role: Role::User,
                    draft: Draft { content: "hi".to_owned(), ..Draft::default() },
                    idempotency_key: Some("q".parse().unwrap()),
                    traceparent: None,
                };
                while send(&store, &clock, question.clone(), &mut None).await.is_err() {}
                let stored = StoredMessage { message: store.all().remove(0), traceparent: None, expires_at: None };
                let workers = (0..4).map(async |_| {
                    for _ in 0..3 {
                        while answer(&store, &store, &model, &clock, &stored).await.is_err() {}
                    }
                });
                join_all(workers).await;
                let answers = store.all().iter().filter(|message| message.reply_to == Some(1)).count();
                assert_eq!(answers, 1);
            });
        }
    }
}
