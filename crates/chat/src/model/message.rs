//! Messages and their validation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::model::{
    agent_data::AgentData,
    id::{ChannelId, MessageId, UserId},
    incarnation::{ChannelKey, Incarnation},
    limits::{CONTENT_BYTES, METADATA_BYTES, METADATA_DEPTH},
    reaction::{ReactionChange, Reactions, differences, summary},
    rev::Rev,
    seq::Seq,
    text::content,
    thread::{self, ThreadSummary},
    time::Timestamp,
    trace::TraceContext,
    validation::Violation,
};

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A user.
    User,
    /// The agent.
    Agent,
    /// Switchboard itself: notices.
    System,
}

/// Content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ContentType {
    /// Plain text, shown unchanged.
    #[default]
    #[serde(rename = "text/plain")]
    Plain,
    /// Markdown.
    #[serde(rename = "text/markdown")]
    Markdown,
}

/// Message, as it is stored and as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Id of the channel.
    pub channel_id: ChannelId,
    /// Number in the channel: 1, 2, 3 … without a gap.
    pub seq: Seq,
    /// Id of the message.
    pub message_id: MessageId,
    /// Number of the message's state, from 1. Each edit, each deletion and each change of a reaction adds one.
    pub version: u64,
    /// Id of the sender.
    pub sender_id: UserId,
    /// Role of the author.
    pub role: Role,
    /// Content: 1 to 32,768 bytes of UTF-8.
    pub content: String,
    /// Content type.
    pub content_type: ContentType,
    /// Time at which the message was accepted.
    pub created_at: Timestamp,
    /// Data of the sender: at most 4,096 bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// `seq` of the message that this one quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    /// The agent's own data, on its replies and on notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentData>,
    /// `seq` of the root of the thread that this message is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_seq: Option<Seq>,
    /// Summary of the thread below this message, if there is one. A reply changes it, and leaves the version as it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "thread::summary")]
    pub thread: Option<ThreadSummary>,
    /// Time of the last change of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// Reactions: users by emoji in the table, a list with counts for clients.
    #[serde(default, skip_serializing_if = "Reactions::is_empty", serialize_with = "summary")]
    pub reactions: Reactions,
    /// Time of the deletion. The `seq` stays; the content, the metadata and the agent's data are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Message {
    /// Version of a message that was not changed.
    pub const FIRST_VERSION: u64 = 1;

    /// Returns the message with its next version. The write of an edit or a deletion requires the current version.
    #[must_use]
    pub fn revised(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    /// Returns the message after its deletion at `at`. Its `seq`, its sender and its place in a thread stay.
    #[must_use]
    pub fn tombstone(&self, at: Timestamp) -> Self {
        Self {
            content: String::new(),
            content_type: ContentType::Plain,
            metadata: None,
            agent: None,
            reactions: Reactions::new(),
            deleted_at: Some(at),
            ..self.revised()
        }
    }
}

/// Kind of a message's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The message was appended.
    Created,
    /// The content was changed.
    Updated,
    /// The message was deleted.
    Deleted,
    /// Only reactions were added or removed: these, at least one.
    Reacted(Vec<ReactionChange>),
}

impl Change {
    /// Returns the change that leads from one stored state of a message to a later one. Returns `None` if the version
    /// is the same: subscribers learn of that difference by other events.
    #[must_use]
    pub fn between(before: &Message, after: &Message) -> Option<Self> {
        if before.version == after.version {
            return None;
        }
        if after.deleted_at.is_some() {
            return Some(Self::Deleted);
        }
        let reacted =
            Message { version: after.version, reactions: after.reactions.clone(), ..before.clone() } == *after;
        let changes = if reacted { differences(&before.reactions, &after.reactions) } else { Vec::new() };
        Some(if changes.is_empty() { Self::Updated } else { Self::Reacted(changes) })
    }
}

/// Change of a message, as subscribers receive it.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageEvent {
    /// Kind of the change.
    pub change: Change,
    /// Message after the change. [`StoredMessage::rev`] is the number of the change.
    pub stored: StoredMessage,
    /// First number that the event covers. It is [`StoredMessage::rev`], unless events were merged.
    pub rev_from: Rev,
}

impl MessageEvent {
    /// Returns the event of one change.
    #[must_use]
    pub fn of(change: Change, stored: StoredMessage) -> Self {
        let rev_from = stored.rev;
        Self { change, stored, rev_from }
    }
}

/// Message in the table or in its stream, with fields that clients do not see.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Incarnation of the message's channel.
    pub incarnation: Incarnation,
    /// Number of the message's last change. [`Rev::ZERO`]: it was never changed.
    pub rev: Rev,
    /// Trace context of the request that sent the message or last changed it.
    pub trace: Option<TraceContext>,
    /// Time from which the message counts as absent.
    pub expires_at: Option<Timestamp>,
}

impl StoredMessage {
    /// Returns the key of the message's channel.
    #[must_use]
    pub fn channel(&self) -> ChannelKey {
        ChannelKey { channel_id: self.message.channel_id.clone(), incarnation: self.incarnation }
    }
}

/// Message to be sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewMessage {
    /// Content: 1 to 32,768 bytes of UTF-8. See [`content`] for its characters.
    pub content: String,
    /// Content type.
    pub content_type: ContentType,
    /// Metadata: at most 4,096 bytes of JSON, at most 16 levels deep.
    pub metadata: Option<Map<String, Value>>,
    /// `seq` of an existing message of the channel that this one quotes.
    pub reply_to: Option<Seq>,
    /// `seq` of the root of the thread that the message is to be in: an existing message that is in no thread itself.
    pub thread_seq: Option<Seq>,
}

impl NewMessage {
    /// Returns every rule that the message breaks. Also turns whole numbers in the metadata into integers, as
    /// `DynamoDB` returns them.
    pub fn check(&mut self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if self.content.is_empty() {
            violations.push(Violation::new("content", "required", "must not be empty"));
        } else if self.content.len() > CONTENT_BYTES {
            let message = format!("must be at most {CONTENT_BYTES} bytes of UTF-8, is {}", self.content.len());
            violations.push(Violation::new("content", "too_long", message));
        }
        if !self.content.is_empty() {
            violations.extend(content::flaws(&self.content).into_iter().map(|flaw| flaw.of("content")));
        }
        for (field, seq) in [("reply_to", self.reply_to), ("thread_seq", self.thread_seq)] {
            if seq == Some(Seq::ZERO) {
                violations.push(Violation::new(field, "out_of_range", "must be 1 or more"));
            }
        }
        if let Some(metadata) = &mut self.metadata {
            check_metadata(metadata, &mut violations);
        }
        violations
    }
}

fn check_metadata(metadata: &mut Map<String, Value>, violations: &mut Vec<Violation>) {
    let size = serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len());
    if size > METADATA_BYTES {
        let message = format!("must be at most {METADATA_BYTES} bytes of JSON, is {size}");
        violations.push(Violation::new("metadata", "too_long", message));
    }
    let mut problems = std::collections::BTreeSet::new();
    for (key, value) in metadata.iter_mut() {
        check_entry(key, value, 1, &mut problems);
    }
    violations.extend(problems.into_iter().map(|(code, message)| Violation::new("metadata", code, message)));
}

type Problems = std::collections::BTreeSet<(&'static str, &'static str)>;

fn check_entry(key: &str, value: &mut Value, depth: usize, problems: &mut Problems) {
    if key.is_empty() {
        problems.insert(("empty_name", "must have no empty names"));
    }
    check_value(value, depth, problems);
}

fn check_value(value: &mut Value, depth: usize, problems: &mut Problems) {
    if depth > METADATA_DEPTH {
        problems.insert(("too_deep", "must be at most 16 levels deep"));
        return;
    }
    match value {
        Value::Number(number) => match stored_number(number) {
            Some(stored) => *number = stored,
            None => {
                problems.insert(("out_of_range", "must have numbers of a magnitude between 1e-130 and 1e125, or 0"));
            }
        },
        Value::Array(values) => values.iter_mut().for_each(|value| check_value(value, depth + 1, problems)),
        Value::Object(entries) => {
            entries.iter_mut().for_each(|(key, value)| check_entry(key, value, depth + 1, problems));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Returns the number as `DynamoDB` returns it, or `None` if it is out of range ("Supported data types and naming rules
/// in Amazon DynamoDB").
fn stored_number(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    let float = number.as_f64()?;
    // The table stores a whole number without a point. Such a number is read as an integer if it is between -2^63 and
    // 2^64.
    if float.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&float) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in the range of u64")]
        return Some((float as u64).into());
    }
    if float.fract() == 0.0 && (-9_223_372_036_854_775_808.0..0.0).contains(&float) {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range of i64")]
        return Some((float as i64).into());
    }
    (1e-130..1e125).contains(&float.abs()).then(|| number.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::{agent_data::ReplyStatus, reaction::Toggle};

    fn codes(draft: &mut NewMessage) -> Vec<(String, &'static str)> {
        draft.check().into_iter().map(|violation| (violation.field, violation.code)).collect()
    }

    #[test]
    fn a_message_has_its_version_and_reactions_as_a_list() {
        let mut message = crate::testing::stored_message("c", 7, "hi").message;
        assert_eq!(serde_json::to_value(&message).unwrap().get("reactions"), None);
        let users: Vec<String> = (10..25).map(|number| format!("u{number}")).collect();
        let all = users.iter().map(|user| user.parse().unwrap()).collect();
        message.reactions =
            Reactions::from([("👍".parse().unwrap(), all), ("🎉".parse().unwrap(), ["bob".parse().unwrap()].into())]);
        message.agent = Some(AgentData::of_status(ReplyStatus::Complete));
        let json = serde_json::to_value(&message).unwrap();
        assert_eq!((&json["version"], &json["agent"]), (&json!(1), &json!({ "status": "complete" })));
        let expected = json!([
            { "emoji": "🎉", "count": 1, "user_ids": ["bob"] },
            { "emoji": "👍", "count": 15, "user_ids": users[..10] },
        ]);
        assert_eq!(json["reactions"], expected, "sorted by emoji, without a caller");
    }

    #[test]
    fn a_change_is_of_reactions_only_if_nothing_else_differs() {
        let before = crate::testing::stored_message("c", 7, "hi").message;
        let thumb = |users: &[&str]| {
            Reactions::from([("👍".parse().unwrap(), users.iter().map(|user| user.parse().unwrap()).collect())])
        };
        let one = Message { reactions: thumb(&["bob"]), ..before.revised() };
        let added = |count: usize, user: &str| ReactionChange {
            toggle: Toggle::Add,
            emoji: "👍".parse().unwrap(),
            user_id: user.parse().unwrap(),
            count,
        };
        let two = Message { reactions: thumb(&["bob", "carol"]), ..one.revised() };
        let edited = Message { content: "better".to_owned(), ..before.revised() };
        let both = Message { content: "better".to_owned(), ..one.revised() };
        let tombstone = Message {
            content: String::new(),
            deleted_at: Some(before.created_at),
            reactions: Reactions::new(),
            ..one.revised()
        };
        let skipped = vec![added(2, "bob"), added(2, "carol")];
        let removed = vec![ReactionChange { toggle: Toggle::Remove, ..added(0, "bob") }];
        for (from, to, expected) in [
            (&before, &before, None),
            (&before, &Message { reactions: thumb(&["bob"]), ..before.clone() }, None),
            (&before, &one, Some(Change::Reacted(vec![added(1, "bob")]))),
            (&before, &two, Some(Change::Reacted(skipped))),
            (&one, &before.revised().revised(), Some(Change::Reacted(removed))),
            (&before, &edited, Some(Change::Updated)),
            (&before, &both, Some(Change::Updated)),
            (&before, &before.revised(), Some(Change::Updated)),
            (&one, &tombstone, Some(Change::Deleted)),
        ] {
            assert_eq!(Change::between(from, to), expected, "version {} to {}", from.version, to.version);
        }
    }

    #[test]
    fn content_is_measured_in_bytes() {
        let mut fits = NewMessage { content: "é".repeat(CONTENT_BYTES / 2), ..NewMessage::default() };
        assert_eq!(codes(&mut fits), []);
        let mut over = NewMessage { content: "é".repeat(CONTENT_BYTES / 2 + 1), ..NewMessage::default() };
        assert_eq!(codes(&mut over), [("content".to_owned(), "too_long")]);
    }

    #[test]
    fn every_broken_rule_is_reported() {
        let metadata = json!({ "": 1, "big": "x".repeat(METADATA_BYTES), "number": 1e300 });
        let mut draft = NewMessage {
            content: String::new(),
            metadata: metadata.as_object().cloned(),
            reply_to: Some(Seq::ZERO),
            thread_seq: Some(Seq::ZERO),
            ..NewMessage::default()
        };
        let found: Vec<_> = codes(&mut draft).into_iter().map(|(_, code)| code).collect();
        assert_eq!(found, ["required", "out_of_range", "out_of_range", "too_long", "empty_name", "out_of_range"]);
    }

    #[test]
    fn control_characters_are_refused_because_json_makes_six_bytes_of_each() {
        assert_eq!(
            codes(&mut NewMessage { content: "a\u{1}".into(), ..NewMessage::default() }),
            [("content".to_owned(), "control_character")]
        );
        assert_eq!(codes(&mut NewMessage { content: "a\tb\r\nc".into(), ..NewMessage::default() }), []);
    }

    #[test]
    fn whole_numbers_become_integers() {
        let mut draft = NewMessage {
            content: "x".into(),
            metadata: json!({ "a": [1.0, 2.5, -3.0] }).as_object().cloned(),
            ..NewMessage::default()
        };
        assert_eq!(codes(&mut draft), []);
        assert_eq!(Value::Object(draft.metadata.unwrap()).to_string(), r#"{"a":[1,2.5,-3]}"#);
        // Whole numbers beyond the range of integers stay as they are, in the table too.
        let large =
            json!({ "a": [18_446_744_073_709_550.15, 1.8e19, -9.2e18, -1e19, 1.844_674_407_370_955_2e19, -0.0] });
        draft = NewMessage { content: "x".into(), metadata: large.as_object().cloned(), ..NewMessage::default() };
        assert_eq!(codes(&mut draft), []);
        let stored = "[18446744073709552,18000000000000000000,-9200000000000000000,-1e+19,1.8446744073709552e+19,0]";
        assert_eq!(draft.metadata.unwrap()["a"].to_string(), stored);
    }

    proptest! {
        #[test]
        fn a_valid_draft_always_fits_a_frame(content in "x[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{7f}-\u{9f}]{1,400}") {
            let mut draft = NewMessage { content: content.repeat(CONTENT_BYTES / content.len()), ..NewMessage::default() };
            prop_assert!(draft.check().is_empty());
            prop_assert!(serde_json::to_vec(&draft.content).unwrap().len() <= 2 * CONTENT_BYTES + 2);
        }
    }
}
