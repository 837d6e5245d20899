//! Stored data of a user, as a scan of all tables finds it.

use serde::{Deserialize, Serialize};

use crate::model::{
    channel::Member,
    connection::ConnectionKey,
    id::{MessageId, UserId},
    incarnation::ChannelKey,
    message::StoredMessage,
    seq::Seq,
    text::emoji::Emoji,
};

/// Extent of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Content of messages, reactions, memberships, invitations, read marks, connections, tickets, drafts, and all
    /// items about the user alone. The id stays as the sender of deleted messages.
    Content,
    /// The id too. An alias takes its place.
    ContentAndId,
}

/// Place of a stored item. Only the store reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemPlace(pub String);

/// Position in a scan. Only the store reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScanPosition(pub String);

/// Item with data of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct UserItem {
    /// Place of the item.
    pub place: ItemPlace,
    /// Data of the user in it.
    pub data: UserData,
}

/// Data of a user in an item. An item with several kinds is found once for each.
#[derive(Debug, Clone, PartialEq)]
pub enum UserData {
    /// Message that the user sent. It is not deleted.
    Message(Box<StoredMessage>),
    /// Message of the agent with a quote: the reply to the user, if the user sent the quoted message. It is not deleted.
    Reply {
        /// Channel.
        channel: ChannelKey,
        /// `seq` of the reply.
        seq: Seq,
        /// `seq` of the quoted message.
        question: Seq,
    },
    /// Piece of a draft: of the reply to the user, if the user sent the question.
    DraftPiece {
        /// Channel.
        channel: ChannelKey,
        /// `seq` of the question.
        question: Seq,
    },
    /// Reaction of the user.
    Reaction {
        /// Channel.
        channel: ChannelKey,
        /// `seq` of the message.
        seq: Seq,
        /// Emoji.
        emoji: Emoji,
    },
    /// Membership, or a copy of it in a list.
    Membership {
        /// Channel.
        channel: ChannelKey,
        /// The membership, if the item has it.
        member: Option<Member>,
        /// Read mark, if the item has it.
        read_seq: Option<Seq>,
    },
    /// Invitation of the user.
    Invitation {
        /// Channel.
        channel: ChannelKey,
        /// `true` for its copy in the user's list.
        is_copy: bool,
    },
    /// Connection.
    Connection {
        /// Key of the connection.
        connection: ConnectionKey,
        /// `true` for its copy in the user's list.
        is_copy: bool,
    },
    /// Item about the user alone, or an expired message.
    Own {
        /// Kind, such as `ticket` or `token bucket`.
        kind: &'static str,
    },
    /// Field that names the user, in an item about others: the sender of a deleted message, the creator of a channel, or
    /// one of the subscriptions that listen to presence. Only [`Extent::ContentAndId`] finds it.
    Name,
    /// Message of another author that mentions the user, or whose metadata holds the id. Only [`Extent::ContentAndId`]
    /// finds it.
    Mention(Box<StoredMessage>),
    /// Other text with the id as a whole word. An erasure does not change it, because the word may mean something else.
    /// Only [`Extent::ContentAndId`] finds it.
    Word,
}

impl UserData {
    /// Returns the channel in which a change has to be made, if it is made in one.
    #[must_use]
    pub fn channel(&self) -> Option<ChannelKey> {
        match self {
            Self::Message(stored) | Self::Mention(stored) => Some(stored.channel()),
            Self::Reply { channel, .. }
            | Self::DraftPiece { channel, .. }
            | Self::Reaction { channel, .. }
            | Self::Membership { channel, .. }
            | Self::Invitation { channel, .. } => Some(channel.clone()),
            Self::Connection { .. } | Self::Own { .. } | Self::Name | Self::Word => None,
        }
    }

    /// Returns the `seq` of the message that tells whether the item is of the user, if another message tells it.
    #[must_use]
    pub fn question(&self) -> Option<Seq> {
        match self {
            Self::Reply { question, .. } | Self::DraftPiece { question, .. } => Some(*question),
            _ => None,
        }
    }
}

/// Returns an alias for a user whose id is erased. It says nothing of the id, so `id` must be random.
#[must_use]
pub fn alias(id: MessageId) -> Option<UserId> {
    format!("erased-{}", id.to_string().to_ascii_lowercase()).parse().ok()
}

/// Returns whether `text` has `id` as a whole word: no character that ids may have stands beside it.
#[must_use]
pub fn has_word(text: &str, id: &UserId) -> bool {
    let id = id.as_str();
    text.match_indices(id).any(|(at, _)| {
        let before = text[..at].chars().rev();
        let after = text[at + id.len()..].chars();
        !continues(before) && !continues(after)
    })
}

/// Returns whether a word goes on with these characters. A full stop or a colon belongs to the word if more of it follows.
fn continues(characters: impl Iterator<Item = char>) -> bool {
    let mut rest = characters.skip_while(|c| matches!(c, '.' | ':'));
    rest.next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '='))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{id::Seed, time::Timestamp};

    #[test]
    fn only_whole_words_are_the_id() {
        let ann = "ann".parse().unwrap();
        for text in ["ann", "ask ann.", "user#ann", "a~ann", "@ann:", "(ann)", "ann@x", "Annex, ann", "... ann..."] {
            assert!(has_word(text, &ann), "{text}");
        }
        for text in ["", "annual", "Ann", "joann", "ann-marie", "ann_2", "=ann", "é ann2", "ann.smith", "x:ann"] {
            assert!(!has_word(text, &ann), "{text}");
        }
    }

    #[test]
    fn an_alias_is_an_id_that_no_word_of_the_user_is_in() {
        let seed = Seed { now: Timestamp::from_secs(1_800_000_000), random: 7 };
        let alias = alias(MessageId::generate(seed)).unwrap();
        assert!(alias.as_str().starts_with("erased-") && !has_word(alias.as_str(), &"erased".parse().unwrap()));
        assert_eq!(alias.as_str(), alias.as_str().to_ascii_lowercase());
    }

    proptest! {
        #[test]
        fn a_word_is_found_wherever_it_stands(before in "[ #~(]?", after in "[ .,#~)]?", id in "[a-z]{1,8}") {
            let user = id.parse().unwrap();
            let text = format!("{before}{id}{after}");
            prop_assert!(has_word(&text, &user));
            let longer = format!("x{id}");
            prop_assert!(!has_word(&longer, &user) || longer.starts_with(&id));
        }
    }
}
