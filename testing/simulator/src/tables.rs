//! State outside the stores: the sockets, and the oracle's notes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use chat::{
    app::edit::Edit,
    model::{
        id::{ChannelId, ConnectionId, MessageId, UserId},
        incarnation::ChannelKey,
        rev::Rev,
        seq::Seq,
        time::Timestamp,
        version_condition::VersionCondition,
    },
};
use serde_json::Value;

/// A message's number in its channel, as the key of a reply lease.
pub(crate) type QuestionKey = (ChannelKey, Seq);

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) sockets: BTreeMap<ConnectionId, Socket>,
    pub(crate) notes: Notes,
    pub(crate) guests: Guests,
    pub(crate) violations: Vec<String>,
}

/// Subscriptions of the hall with their users.
type Listing = BTreeMap<(ConnectionId, Timestamp), UserId>;

/// Records of the stream about the subscriptions of the hall.
#[derive(Default)]
pub(crate) struct Guests {
    /// Subscriptions as of the last record.
    seen: Listing,
    /// Users of the records that no batch has taken yet.
    pub(crate) changed: BTreeSet<UserId>,
}

impl Guests {
    /// Records the users whose subscriptions were created or removed since the last call.
    pub(crate) fn note(&mut self, current: Listing) {
        let removed = self.seen.iter().filter(|(one, _)| !current.contains_key(*one));
        let created = current.iter().filter(|(one, _)| !self.seen.contains_key(*one));
        self.changed.extend(removed.chain(created).map(|(_, user)| user.clone()));
        self.seen = current;
    }
}

/// The gateway's side of a socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) user: UserId,
    /// Whether pushes reach the client.
    pub(crate) open: bool,
    /// Time until which the socket accepts no push.
    pub(crate) throttled_until: i64,
    /// Frames that the client has not taken yet. `None`: the socket has no client.
    pub(crate) inbox: Option<VecDeque<String>>,
}

/// Facts that the oracle needs in addition to the stores.
#[derive(Default)]
pub(crate) struct Notes {
    /// Messages whose requests got a `201` or `200`.
    pub(crate) accepted: Vec<Accepted>,
    /// Channel of every message so far.
    pub(crate) channels: BTreeMap<MessageId, ChannelKey>,
    /// Times of all messages of users, by the clocks of the processes that sent them.
    pub(crate) sent: BTreeMap<UserId, Vec<Timestamp>>,
    /// Edits that requests ask for, by their process.
    pub(crate) edits: BTreeMap<u64, AskedEdit>,
    /// Channels of reactions, by the `traceparent` of their requests. Their events hold no message.
    pub(crate) reactions: BTreeMap<String, ChannelKey>,
    /// State of every version of every message so far.
    pub(crate) states: BTreeMap<(ChannelKey, Seq), BTreeMap<u64, Version>>,
    /// Changed messages of every channel so far: that of change 1, of change 2 and so on.
    pub(crate) changes: BTreeMap<ChannelKey, Vec<Seq>>,
    /// Drafts that were shown, by the text of their ids.
    pub(crate) drafts: BTreeMap<String, ShownDraft>,
    /// The longest stored text of each draft that a client has read.
    pub(crate) read_drafts: BTreeMap<String, String>,
    /// Stored replies, by the text of their drafts' ids.
    pub(crate) replies: BTreeMap<String, StoredReply>,
    /// Drafts of each question whose text was shown.
    pub(crate) drafts_of: BTreeMap<QuestionKey, BTreeSet<String>>,
    /// Changes that ended a user's right to see a channel, in order.
    pub(crate) ends: Vec<End>,
    /// Ends that apply to a user since the user could last see a channel, as indexes into `ends`.
    pub(crate) shut_out: BTreeMap<(ChannelKey, UserId), Vec<usize>>,
    /// Connections of dropped pushes: they may lack the last messages.
    pub(crate) failed: BTreeSet<ConnectionId>,
    /// Members whose open connections may lack the channel. The request that added them got no answer, and its
    /// repetition was refused.
    pub(crate) unfollowed: BTreeSet<(ChannelKey, UserId)>,
    /// Sockets of a channel that were told that a user came, and not yet that the user has gone.
    pub(crate) told: BTreeSet<(ChannelKey, ConnectionId, UserId)>,
    /// Number of model calls for a message.
    pub(crate) calls: BTreeMap<QuestionKey, u32>,
    /// Number of events that each require a further model call: a death, an error or a failure of the model after a
    /// call had begun.
    pub(crate) disturbances: BTreeMap<QuestionKey, u32>,
    /// State that the clients show at the end.
    pub(crate) clients: BTreeMap<String, ClientView>,
    /// The last pushed frame and its channels: many sockets get the same frame.
    pub(crate) last_frame: Option<(String, Vec<ChannelKey>)>,
}

/// An edit that a request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct AskedEdit {
    pub(crate) condition: Option<VersionCondition>,
    pub(crate) edit: Edit,
}

/// A draft that was shown.
#[derive(Debug, Clone)]
pub(crate) struct ShownDraft {
    pub(crate) channel: ChannelKey,
    /// Text that was stored when the last frame was shown.
    pub(crate) text: String,
}

/// A stored reply of the agent.
#[derive(Debug, Clone)]
pub(crate) struct StoredReply {
    pub(crate) channel: ChannelKey,
    /// The question.
    pub(crate) reply_to: Seq,
    pub(crate) seq: Seq,
    /// Content as it was appended.
    pub(crate) content: String,
}

/// One version of a message.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Number of the change that led to the version.
    pub(crate) rev: Rev,
    pub(crate) state: MessageState,
}

/// Newest states of messages that a client knows, with their versions.
pub(crate) type Known = BTreeMap<(ChannelKey, Seq), (u64, MessageState)>;

/// Parts of a message that clients derive from events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MessageState {
    pub(crate) content: String,
    /// `null` without metadata.
    pub(crate) metadata: Value,
    pub(crate) is_deleted: bool,
    /// Users by emoji.
    pub(crate) reactions: BTreeMap<String, BTreeSet<String>>,
}

/// A message that was accepted.
pub(crate) struct Accepted {
    pub(crate) channel: ChannelKey,
    pub(crate) seq: Seq,
    pub(crate) message_id: MessageId,
    pub(crate) user: UserId,
    pub(crate) text: String,
}

/// A change that ends a user's right to see a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) channel: ChannelKey,
    pub(crate) cause: EndCause,
    /// The process that made the change.
    pub(crate) by: u64,
    /// Whether the requester has its response.
    pub(crate) answered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    Deleted,
    MadePrivate,
    Removed(UserId),
}

/// Messages that a client shows of a channel: numbers and ids.
pub(crate) type Shown = Vec<(Seq, String)>;

/// A client with an open socket: its connection, and the messages that it shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientView {
    pub(crate) user: Option<UserId>,
    pub(crate) connection: Option<ConnectionId>,
    /// Messages that it shows, by channel.
    pub(crate) shown: BTreeMap<ChannelId, Shown>,
    /// States of these messages.
    pub(crate) known: Arc<Mutex<Known>>,
    /// Questions of which it shows a draft of the reply.
    pub(crate) drafts: BTreeSet<(ChannelId, Seq)>,
    /// Channels of the client since its socket was opened.
    pub(crate) since_open: BTreeSet<ChannelKey>,
    /// Whether the connection has `auto_subscribe`.
    pub(crate) follows: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::user;

    #[test]
    fn a_subscription_that_is_created_and_removed_between_two_batches_has_records() {
        let (mut guests, id) = (Guests::default(), "guest0-0=".parse::<ConnectionId>());
        let listing: Listing = id.into_iter().map(|id| ((id, Timestamp::from_millis(1)), user("guest0"))).collect();
        guests.note(listing);
        guests.note(Listing::new());
        assert_eq!(std::mem::take(&mut guests.changed), BTreeSet::from([user("guest0")]));
        guests.note(Listing::new());
        assert!(guests.changed.is_empty());
    }
}
