//! Size of pages: the JSON of their messages.

use std::io::{self, Write};

use serde::Serialize;

use crate::model::{limits::USERS_LISTED_PER_REACTION, message::Message};

/// Bytes that the JSON of a message has at most beside its texts, metadata and reactions: names and punctuation, nine
/// numbers of 20 digits, four times, two ids of messages.
const FIXED_BYTES: usize = 1_024;

/// Bytes that the JSON of a byte of text has at most: those of `\u0001`.
const BYTES_PER_BYTE: usize = 6;

/// Bytes that the summary of a reaction has at most beside its texts.
const REACTION_BYTES: usize = 96;

/// Returns the number of messages, from the first, whose JSON fits `most` bytes. It is at least one, unless there is
/// none.
pub(crate) fn fitting<'a>(messages: impl Iterator<Item = &'a Message> + Clone, most: usize) -> usize {
    // Nearly every page is far from the limit, and then no message is written for its size.
    let (count, at_most) = messages.clone().fold((0, 0), |(count, bytes), one| (count + 1, bytes + bound(one)));
    if at_most <= most {
        return count;
    }
    let (mut fits, mut bytes) = (0, 0);
    for message in messages {
        bytes += json_bytes(message);
        if fits > 0 && bytes > most {
            break;
        }
        fits += 1;
    }
    fits
}

/// Returns a number of bytes that the JSON of a message does not exceed.
fn bound(message: &Message) -> usize {
    let Message { channel_id, sender_id, content, metadata, agent, reactions, .. } = message;
    let model = agent.as_ref().and_then(|agent| agent.model.as_deref()).unwrap_or_default();
    let texts = channel_id.as_str().len() + sender_id.as_str().len() + content.len() + model.len();
    let reactions: usize = reactions
        .iter()
        .map(|(emoji, users)| {
            let listed = users.iter().take(USERS_LISTED_PER_REACTION).map(|user| user.as_str().len() + 3);
            REACTION_BYTES + BYTES_PER_BYTE * emoji.as_str().len() + BYTES_PER_BYTE * listed.sum::<usize>()
        })
        .sum();
    FIXED_BYTES + BYTES_PER_BYTE * texts + metadata.as_ref().map_or(0, json_bytes) + reactions
}

/// Returns the size of a value's JSON in bytes.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Serializing an accepted message does not fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        model::{
            agent_data::{AgentData, ReplyStatus},
            message::{ContentType, Role},
            reaction::Reactions,
            seq::Seq,
            thread::ThreadSummary,
            time::Timestamp,
        },
        testing::stored_message,
    };

    /// Returns a message with every field, and the longest numbers and times.
    fn full(content: &str) -> Message {
        let plain = stored_message("c", u64::MAX, content).message;
        let (largest, latest) = (Seq::new(u64::MAX), Timestamp::from_millis(i64::MAX));
        let agent = AgentData::of_status(ReplyStatus::OverBudget);
        Message {
            channel_id: "c".repeat(128).parse().unwrap(),
            version: u64::MAX,
            sender_id: "u".repeat(255).parse().unwrap(),
            role: Role::System,
            content_type: ContentType::Markdown,
            created_at: latest,
            metadata: json!({ "a": ["\u{1}", 1e-7] }).as_object().cloned(),
            reply_to: Some(largest),
            agent: Some(AgentData {
                draft_id: Some(plain.message_id),
                model: Some("\u{1}".repeat(40)),
                input_tokens: Some(u64::MAX),
                output_tokens: Some(u64::MAX),
                duration_ms: Some(u64::MAX),
                ..agent
            }),
            thread_seq: Some(largest),
            thread: Some(ThreadSummary { reply_count: u64::MAX, last_reply_seq: largest, last_reply_at: latest }),
            edited_at: Some(latest),
            reactions: Reactions::from([(
                "👍".parse().unwrap(),
                (0..40).map(|number| format!("user{number}").parse().unwrap()).collect(),
            )]),
            deleted_at: Some(latest),
            ..plain
        }
    }

    #[test]
    fn a_page_holds_at_least_one_message_and_no_more_than_fit() {
        let messages = [full("a"), full("b"), full("c")];
        let size = json_bytes(&messages[0]);
        assert_eq!(fitting([].iter(), 0), 0);
        for (most, expected) in [(0, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (3 * size, 3), (usize::MAX, 3)] {
            assert_eq!(fitting(messages.iter(), most), expected, "{most} of {size}");
        }
    }

    proptest! {
        #[test]
        fn no_message_is_larger_than_its_bound(content in prop::collection::vec(any::<char>(), 0..200)) {
            let content: String = content.into_iter().collect();
            for message in [full(&content), stored_message("c", 1, &content).message, full(&"\u{1}".repeat(2_000))] {
                prop_assert!(json_bytes(&message) <= bound(&message));
            }
        }
    }
}
