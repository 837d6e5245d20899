//! Keys of `chat_channels`.

use std::fmt::Display;

use chat::{
    model::{
        id::{ChannelId, IdempotencyKey, MessageId, UserId},
        incarnation::{ChannelKey, Incarnation, KeyError},
        limits::LARGEST_SEQ,
        rev::Rev,
        seq::Seq,
        text::search_key::SearchKey,
        time::Timestamp,
    },
    ports::{
        message_store::{Range, RecordKey},
        rate_limiter::LimitedAction,
        reply_leases::MessageKey,
    },
};

use super::{Keys, META, sort_range::SortRange};
use crate::dynamodb::item::{Item, s};

const ACCESS: &str = "access";
const INSTRUCTIONS: &str = "instructions";
const MEMBER: &str = "member#";
const INVITED: &str = "invited#";
const CHOSEN: &str = "chosen#";
const PUBLIC: &str = "public#";
const PENDING: &str = "pending#";
const ROOT: &str = "root#";
const CHANGES: &str = "changes#";
const REQUESTED: &str = "idem#";
const CREATED: &str = "created#";
const DRAFT: &str = "draft#";

/// Maximum length of a sort key, in bytes ("Constraints in Amazon DynamoDB").
const SORT_KEY_BYTES: usize = 1_024;

impl Keys {
    pub(crate) fn meta(&self, channel: &ChannelId) -> Item {
        in_channels(self.name(channel), META)
    }

    pub(crate) fn access(&self, channel: &ChannelKey) -> Item {
        in_channels(self.name(channel), ACCESS)
    }

    pub(crate) fn instructions(&self, channel: &ChannelKey) -> Item {
        in_channels(self.name(channel), INSTRUCTIONS)
    }

    pub(crate) fn member(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_channels(self.name(channel), format!("{MEMBER}{user}"))
    }

    /// Returns the range of the members, in the order of their ids.
    pub(crate) fn members(&self, channel: &ChannelKey, after: Option<&UserId>) -> SortRange {
        SortRange::below(self.name(channel), MEMBER).after(after.map(UserId::as_str))
    }

    /// Returns the key of a membership in its user's list.
    pub(crate) fn listed(&self, user: &UserId, channel: &ChannelKey) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        in_channels(self.user(user), format!("{MEMBER}{channel_id}#{incarnation}"))
    }

    /// Returns the range of a user's memberships by channel id.
    pub(crate) fn memberships(&self, user: &UserId) -> SortRange {
        SortRange::below(self.user(user), MEMBER)
    }

    /// Returns the key of a membership that its user chose, with the time at which it began.
    pub(crate) fn chosen(&self, user: &UserId, channel: &ChannelKey, joined_at: Timestamp) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        let at = joined_at.as_millis();
        in_channels(self.user(user), format!("{CHOSEN}{at:016}#{channel_id}#{incarnation}"))
    }

    /// Returns the range of the memberships that a user chose, in the order in which they began.
    pub(crate) fn all_chosen(&self, user: &UserId) -> SortRange {
        SortRange::below(self.user(user), CHOSEN)
    }

    /// Returns the key of the number of existing channels that a user created.
    pub(crate) fn created(&self, user: &UserId) -> Item {
        in_channels(self.user(user), "created")
    }

    pub(crate) fn invitation(&self, channel: &ChannelKey, user: &UserId) -> Item {
        in_channels(self.name(channel), format!("{INVITED}{user}"))
    }

    /// Returns the key of an invitation in its user's list.
    pub(crate) fn listed_invitation(&self, user: &UserId, channel: &ChannelKey) -> Item {
        let ChannelKey { channel_id, incarnation } = channel;
        in_channels(self.user(user), format!("{INVITED}{channel_id}#{incarnation}"))
    }

    /// Returns the range of a user's invitations by channel id, after all incarnations of the id `after`.
    pub(crate) fn invitations(&self, user: &UserId, after: Option<&ChannelId>) -> SortRange {
        let mut range = SortRange::below(self.user(user), INVITED);
        if let Some(after) = after {
            // `$` follows `#` in ASCII, and precedes every character of an id.
            range.first = format!("{INVITED}{after}$");
        }
        range
    }

    pub(crate) fn creation(&self, channel: &ChannelKey, user: &UserId, key: &IdempotencyKey) -> Item {
        in_channels(self.name(channel), format!("{CREATED}{user}#{key}"))
    }

    pub(crate) fn record(&self, channel: &ChannelKey, key: &RecordKey) -> Item {
        let sk = match key {
            RecordKey::Request { sender_id, key } => format!("{REQUESTED}{sender_id}#{key}"),
            RecordKey::Reply { seq } => format!("answered#{}", digits(*seq)),
        };
        in_channels(self.name(channel), sk)
    }

    pub(crate) fn in_thread(&self, channel: &ChannelKey, root: Seq, seq: Seq) -> Item {
        in_channels(self.name(channel), format!("{}{}", thread(root), digits(seq)))
    }

    /// Returns the range of the messages in a thread.
    pub(crate) fn thread(&self, channel: &ChannelKey, root: Seq, range: Range) -> SortRange {
        of_seqs(self.name(channel), &thread(root), range)
    }

    pub(crate) fn root(&self, channel: &ChannelKey, seq: Seq) -> Item {
        in_channels(self.name(channel), format!("{ROOT}{}", digits(seq)))
    }

    /// Returns the range of the roots of threads.
    pub(crate) fn roots(&self, channel: &ChannelKey, range: Range) -> SortRange {
        of_seqs(self.name(channel), ROOT, range)
    }

    pub(crate) fn reply_lease(&self, question: &MessageKey) -> Item {
        in_channels(self.name(&question.channel), format!("claim#{}", digits(question.seq)))
    }

    /// Returns the key of the piece of a draft that follows `position` characters.
    pub(crate) fn draft_piece(&self, question: &MessageKey, draft: MessageId, position: usize) -> Item {
        let sk = format!("{}{}", draft_prefix(question, draft), digits(position));
        in_channels(self.name(&question.channel), sk)
    }

    /// Returns the range of the pieces of a draft, in the order of their positions.
    pub(crate) fn draft_pieces(&self, question: &MessageKey, draft: MessageId) -> SortRange {
        SortRange::below(self.name(&question.channel), &draft_prefix(question, draft))
    }

    /// Returns the key of the number of a channel's last change.
    pub(crate) fn last_change(&self, channel: &ChannelId) -> Item {
        in_channels(format!("{CHANGES}{}", self.name(channel)), "last")
    }

    /// Returns the partition of the records of a channel's changes.
    pub(crate) fn change_records(&self, channel: &ChannelKey) -> String {
        format!("{CHANGES}{}", self.name(channel))
    }

    /// Returns the key of the record of a change.
    pub(crate) fn change(&self, channel: &ChannelKey, rev: Rev) -> Item {
        in_channels(self.change_records(channel), digits(rev))
    }

    /// Returns the range of the records of changes after `after`, in the order of their numbers.
    pub(crate) fn changes(&self, channel: &ChannelKey, after: Rev) -> SortRange {
        // A larger number has more digits, and would sort before the end of the range.
        let first = after.next().min(Rev::new(LARGEST_SEQ + 1));
        let partition = self.change_records(channel);
        SortRange { partition, first: digits(first), last: digits(LARGEST_SEQ) }
    }

    /// Returns the key of the bucket that `user` takes from for `action`.
    pub(crate) fn bucket(&self, user: &UserId, action: &LimitedAction<'_>) -> Item {
        match action {
            LimitedAction::Typing(channel) => in_channels(self.user(user), format!("rate#{}#{channel}", action.name())),
            // All users of the channel take from the same bucket.
            LimitedAction::Reply(channel) => in_channels(self.name(channel), format!("rate#{}", action.name())),
            _ => in_channels(self.user(user), format!("rate#{}", action.name())),
        }
    }

    /// Returns the key of the tokens used for a user on the day of `now`, in UTC.
    pub(crate) fn tokens(&self, user: &UserId, now: Timestamp) -> Item {
        let day: String = now.to_string().chars().take("2026-01-01".len()).collect();
        in_channels(self.user(user), format!("tokens#{day}"))
    }

    /// Returns the key of a public channel in the list of public channels.
    pub(crate) fn public(&self, name: &str, channel: &ChannelId) -> Item {
        in_channels(self.public_list(), format!("{}#{channel}", SearchKey::of(name).as_str()))
    }

    /// Returns the range of public channels whose names begin with `name_prefix`, after the sort key `after`. A key
    /// that does not continue the prefix is ignored, because the list did not return it.
    pub(crate) fn publics(&self, name_prefix: &str, after: Option<&str>) -> SortRange {
        let first = SearchKey::of(name_prefix).as_str().to_owned();
        // No character sorts after it.
        let last = format!("{first}\u{10ffff}");
        let rest = after
            .filter(|after| after.len() < SORT_KEY_BYTES && *after < last.as_str())
            .and_then(|after| after.strip_prefix(first.as_str()))
            .filter(|rest| !rest.is_empty());
        SortRange { partition: self.public_list(), first: first.clone(), last }.after(rest)
    }

    fn public_list(&self) -> String {
        format!("{PUBLIC}{}", self.prefix)
    }
}

fn in_channels(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    Item::from([("channel_id".to_owned(), s(partition)), ("sk".to_owned(), s(sort))])
}

/// Returns a number with leading zeros, so that it sorts as text: [`LARGEST_SEQ`] has 16 digits.
fn digits(number: impl Display) -> String {
    format!("{number:016}")
}

fn draft_prefix(question: &MessageKey, draft: MessageId) -> String {
    format!("{DRAFT}{}#{draft}#", digits(question.seq))
}

fn thread(root: Seq) -> String {
    format!("thread#{}#", digits(root))
}

/// Returns the range of sort keys that consist of a prefix and a `seq`. It is empty if no `seq` is in `range`.
fn of_seqs(partition: String, prefix: &str, range: Range) -> SortRange {
    let (first, last) = match range {
        Range::Newest => (Seq::FIRST, Seq::LARGEST),
        Range::Before(seq) => (Seq::FIRST, Seq::new(seq.get().saturating_sub(1))),
        Range::After(seq) => (seq.next(), Seq::LARGEST),
    };
    SortRange { partition, first: format!("{prefix}{}", digits(first)), last: format!("{prefix}{}", digits(last)) }
}

/// Returns the key of a pending end.
pub(crate) fn pending(id: &Incarnation) -> Item {
    in_channels(PENDING, id.to_string())
}

/// Returns the partition of all pending ends. Their ids sort by time.
pub(crate) fn pendings() -> &'static str {
    PENDING
}

/// Reads the user in the sort key of a member.
pub(crate) fn member_of(sk: &str) -> Option<UserId> {
    sk.strip_prefix(MEMBER)?.parse().ok()
}

/// Returns whether a sort key is of the record of a request of `user`.
pub(crate) fn is_record_of(sk: &str, user: &UserId) -> bool {
    let rest = sk.strip_prefix(REQUESTED).or_else(|| sk.strip_prefix(CREATED));
    // An id holds no `#`.
    rest.and_then(|rest| rest.split('#').next()) == Some(user.as_str())
}

/// Reads the `seq` of the question in the sort key of a piece of a draft.
pub(crate) fn draft_question(sk: &str) -> Option<Seq> {
    sk.strip_prefix(DRAFT)?.split('#').next()?.parse().ok().map(Seq::new)
}

/// Reads the channel in the sort key of a membership in its user's list.
pub(crate) fn listed_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(MEMBER))
}

/// Reads the channel in the sort key of an invitation in its user's list.
pub(crate) fn listed_invitation_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(INVITED))
}

/// Reads the channel in the sort key of a membership that its user chose.
pub(crate) fn chosen_channel(sk: &str) -> Result<ChannelKey, KeyError> {
    listed_key(sk.strip_prefix(CHOSEN).and_then(|rest| Some(rest.split_once('#')?.1)))
}

fn listed_key(text: Option<&str>) -> Result<ChannelKey, KeyError> {
    let (id, incarnation) = text.and_then(|key| key.split_once('#')).ok_or(KeyError)?;
    Ok(ChannelKey { channel_id: id.parse().map_err(|_| KeyError)?, incarnation: incarnation.parse()? })
}

/// Reads the user in the sort key of an invitation.
pub(crate) fn invited_of(sk: &str) -> Option<UserId> {
    sk.strip_prefix(INVITED)?.parse().ok()
}

/// Reads the channel in the sort key of the list of public channels. A name may contain a `#`, an id cannot.
pub(crate) fn public_channel(sk: &str) -> Option<ChannelId> {
    sk.rsplit_once('#')?.1.parse().ok()
}

/// Reads the number of a change in the sort key of its record.
pub(crate) fn rev_of(sk: &str) -> Option<Rev> {
    // The digits have leading zeros, which the text of a `Rev` has not.
    sk.parse().ok().map(Rev::new)
}

/// Reads the position at the end of the sort key of a draft's piece.
pub(crate) fn position_of(sk: &str) -> Option<usize> {
    sk.rsplit_once('#')?.1.parse().ok()
}

/// Reads the `seq` at the end of a sort key.
pub(crate) fn seq_of(sk: &str) -> Option<Seq> {
    // The digits have leading zeros, which the text of a `Seq` has not.
    sk.rsplit_once('#')?.1.parse().ok().map(Seq::new)
}
