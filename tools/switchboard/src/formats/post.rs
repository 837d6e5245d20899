//! Posts of other products, and the rules of our messages.

use std::collections::{BTreeMap, BTreeSet};

use chat::{
    app::transfer::ReactionRecord,
    model::{
        id::{ChannelId, MessageId, Seed, UserId},
        limits::{CONTENT_BYTES, REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::ContentType,
        text::{content, emoji::Emoji},
        time::Timestamp,
    },
};
use sha2::{Digest, Sha256};

use super::{Losses, emoji};

/// Message of another product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Id, unique in its channel.
    pub id: String,
    /// Sender.
    pub sender_id: UserId,
    /// Content.
    pub content: String,
    /// Content type.
    pub content_type: ContentType,
    /// Time.
    pub created_at: Timestamp,
    /// Time of the last edit.
    pub edited_at: Option<Timestamp>,
    /// Whether the post was deleted. Its number stays, since it has replies.
    pub is_deleted: bool,
    /// Names of emoji, each with a user.
    pub reactions: Vec<(String, UserId)>,
    /// Whether the post has replies in a thread.
    pub is_root: bool,
    /// Id of the root of the thread that the post is in.
    pub root: Option<String>,
}

impl Post {
    /// Returns the contents of the messages for the post: several if it is longer than a message, and none if nothing of
    /// it is visible.
    pub(super) fn contents(&self) -> Vec<String> {
        if self.is_deleted {
            return vec![String::new()];
        }
        let text: String = self.content.chars().filter(|c| !content::is_refused(*c)).collect();
        let parts = split(text.trim_end());
        parts.into_iter().filter(|part| !content::is_blank(part)).map(str::to_owned).collect()
    }

    /// Returns the id of a message for the post. It depends on the channel and the post only, so that a repeated import
    /// writes the same message.
    pub(super) fn message_id(&self, channel: &ChannelId, part: usize) -> MessageId {
        let digest = Sha256::digest(format!("{channel}\n{}\n{part}", self.id));
        let random = digest.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        MessageId::generate(Seed { now: self.created_at, random })
    }

    /// Returns the reactions with emoji of Unicode, up to the maximum of a message.
    pub(super) fn reactions(&self, losses: &mut Losses) -> Vec<ReactionRecord> {
        let mut users_of = BTreeMap::<Emoji, BTreeSet<UserId>>::new();
        for (name, user) in &self.reactions {
            let Some(emoji) = emoji::of_name(name) else {
                losses.add("reactions with a custom emoji");
                continue;
            };
            if users_of.len() >= REACTIONS_PER_MESSAGE && !users_of.contains_key(&emoji) {
                losses.add("reactions beyond the maximum of a message");
                continue;
            }
            let users = users_of.entry(emoji).or_default();
            if users.len() >= USERS_PER_REACTION && !users.contains(user) {
                losses.add("reactions beyond the maximum of a message");
            } else {
                users.insert(user.clone());
            }
        }
        let record =
            |(emoji, users): (Emoji, BTreeSet<UserId>)| ReactionRecord { emoji, user_ids: users.into_iter().collect() };
        users_of.into_iter().map(record).collect()
    }
}

/// Splits a text into parts of at most [`CONTENT_BYTES`], at the end of a line if there is one.
fn split(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > CONTENT_BYTES {
        let most = (0..=CONTENT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let end = text[..most].rfind('\n').map_or(most, |line| line + 1);
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn post(content: &str) -> Post {
        Post {
            id: "1".to_owned(),
            sender_id: "olga".parse().unwrap(),
            content: content.to_owned(),
            content_type: ContentType::Plain,
            created_at: Timestamp::from_secs(1_355_517_523),
            edited_at: None,
            is_deleted: false,
            reactions: Vec::new(),
            is_root: false,
            root: None,
        }
    }

    #[test]
    fn contents_obey_the_rules_of_messages() {
        assert_eq!(post("a\u{7}b\tc\n").contents(), ["ab\tc"]);
        assert_eq!(post(" \u{200b}\n").contents(), [""; 0]);
        assert_eq!(Post { is_deleted: true, ..post("x") }.contents(), [""]);
    }

    #[test]
    fn a_long_post_becomes_several_messages() {
        let text = format!("{}\n{}", "a".repeat(30_000), "b".repeat(30_000));
        let parts = post(&text).contents();
        assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [30_001, 30_000]);
        let ids = [0, 1].map(|part| post(&text).message_id(&"c".parse().unwrap(), part));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0], post("edited").message_id(&"c".parse().unwrap(), 0));
    }

    #[test]
    fn reactions_of_custom_emoji_and_beyond_the_maximum_are_counted() {
        let user = |number: usize| format!("u{number}").parse::<UserId>().unwrap();
        let mut reactions: Vec<(String, UserId)> = (0..101).map(|number| ("+1".to_owned(), user(number))).collect();
        reactions.extend([
            ("party-parrot".to_owned(), user(1)),
            ("tada".to_owned(), user(1)),
            ("tada".to_owned(), user(1)),
        ]);
        let mut losses = Losses::default();
        let found = Post { reactions, ..post("x") }.reactions(&mut losses);
        assert_eq!(found.iter().map(|one| one.user_ids.len()).collect::<Vec<_>>(), [1, 100], "🎉 sorts before 👍");
        let counts: Vec<_> = losses.counts().collect();
        assert_eq!(counts, [("reactions beyond the maximum of a message", 1), ("reactions with a custom emoji", 1)]);
    }

    proptest! {
        #[test]
        fn no_part_is_too_long_and_none_is_lost(text in "[a-zé✓\n]{0,400}", times in 1_usize..400) {
            let text = text.repeat(times);
            let parts = split(&text);
            prop_assert!(parts.iter().all(|part| part.len() <= CONTENT_BYTES));
            prop_assert_eq!(parts.concat(), text);
        }
    }
}
