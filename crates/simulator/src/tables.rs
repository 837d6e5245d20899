//! What the stores do not hold: the sockets, and what the oracle takes note of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chat::model::{
    id::{ChannelId, ConnectionId, MessageId, UserId},
    incarnation::ChannelKey,
};

/// A message's number in its channel, as the key of a claim.
pub(crate) type QuestionKey = (ChannelKey, u64);

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) sockets: BTreeMap<ConnectionId, Socket>,
    pub(crate) notes: Notes,
    pub(crate) violations: Vec<String>,
}

/// The gateway's side of a socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) user: UserId,
    /// Whether pushes reach the client.
    pub(crate) open: bool,
    /// Until then it takes no push.
    pub(crate) throttled_until: i64,
    /// Frames that the client has not taken yet. `None`: there is no client behind it.
    pub(crate) inbox: Option<VecDeque<String>>,
}

/// What the oracle needs to know beside the stores.
#[derive(Default)]
pub(crate) struct Notes {
    /// Answers `201` and `200`.
    pub(crate) accepted: Vec<Accepted>,
    /// The channels of all messages that there have been.
    pub(crate) channels: BTreeMap<MessageId, ChannelKey>,
    /// The channels of drafts, by the text of their ids.
    pub(crate) drafts: BTreeMap<String, ChannelKey>,
    /// Changes that have ended somebody's right to see a channel, in their order.
    pub(crate) ends: Vec<End>,
    /// Those of them that a user was met by since the user might last see a channel, by their places among all.
    pub(crate) shut_out: BTreeMap<(ChannelKey, UserId), Vec<usize>>,
    /// Pushes that were given up after all tries: the connection may lack what comes last.
    pub(crate) given_up: BTreeSet<ConnectionId>,
    /// Calls of the model for a message.
    pub(crate) calls: BTreeMap<QuestionKey, u32>,
    /// What made a further call necessary: a death, an error or a failure of the model after a call had begun.
    pub(crate) disturbances: BTreeMap<QuestionKey, u32>,
    /// What the clients show in the end.
    pub(crate) clients: BTreeMap<String, ClientView>,
    /// The frame that was pushed last, and what it is about: many sockets get the same.
    pub(crate) last_frame: Option<(String, Vec<ChannelKey>)>,
}

/// A message that was accepted.
pub(crate) struct Accepted {
    pub(crate) channel: ChannelKey,
    pub(crate) seq: u64,
    pub(crate) message_id: MessageId,
    pub(crate) user: UserId,
    pub(crate) text: String,
}

/// A change that ends somebody's right to see a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) channel: ChannelKey,
    pub(crate) cause: EndCause,
    /// The process that made the change.
    pub(crate) by: u64,
    /// Whether the requester has an answer.
    pub(crate) answered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndCause {
    Deleted,
    MadePrivate,
    Removed(UserId),
}

/// What a client shows of a channel: numbers and messages.
pub(crate) type Shown = Vec<(u64, String)>;

/// A client that is still there: its connection, and what it shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientView {
    pub(crate) user: Option<UserId>,
    pub(crate) connection: Option<ConnectionId>,
    /// What it shows of all of its channels.
    pub(crate) shown: BTreeMap<ChannelId, Shown>,
    /// Channels that it has had since its socket is open.
    pub(crate) since_open: BTreeSet<ChannelKey>,
    /// Whether its socket follows the memberships.
    pub(crate) follows: bool,
}
