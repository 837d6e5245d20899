//! What is kept: the tables as far as the domain sees them, the sockets, and what the oracle takes note of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chat::{
    agent::Claim,
    channel::{Channel, MemberRole},
    clock::Timestamp,
    connection::{Connection, Subscription, UserConnection},
    id::{ChannelId, ConnectionId, UserId},
    message::{IdempotencyRecord, Message, MessageEvent},
};

/// A message's number in its channel, as the key of a claim.
pub(crate) type QuestionKey = (ChannelId, u64);

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) channels: BTreeMap<ChannelId, Channel>,
    pub(crate) members: BTreeMap<(ChannelId, UserId), MemberRole>,
    pub(crate) messages: BTreeMap<ChannelId, Vec<Message>>,
    pub(crate) records: BTreeMap<(ChannelId, UserId, String), IdempotencyRecord>,
    /// The stream of the messages, in the order of their commits.
    pub(crate) stream: Vec<Streamed>,
    pub(crate) claims: BTreeMap<QuestionKey, KeptClaim>,
    pub(crate) spent: BTreeMap<UserId, u64>,
    /// When the buckets of senders will be full.
    pub(crate) buckets: BTreeMap<UserId, Timestamp>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) of_user: BTreeMap<(UserId, ConnectionId), UserConnection>,
    pub(crate) subscriptions: BTreeMap<(ChannelId, ConnectionId), Subscription>,
    /// What subscriptions were some changes ago.
    pub(crate) stale_subscriptions: VecDeque<BTreeMap<(ChannelId, ConnectionId), Subscription>>,
    pub(crate) sockets: BTreeMap<ConnectionId, Socket>,
    pub(crate) notes: Notes,
    pub(crate) violations: Vec<String>,
}

/// A record of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Streamed {
    pub(crate) event: MessageEvent,
    /// Whether the agent's filter lets it through.
    pub(crate) for_agent: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct KeptClaim {
    pub(crate) owner: String,
    pub(crate) until: Option<Timestamp>,
    pub(crate) claim: Claim,
}

/// The gateway's side of a socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) user: UserId,
    /// Whether pushes reach the client.
    pub(crate) open: bool,
    /// Until then it takes no push.
    pub(crate) throttled_until: i64,
    /// Frames that the client has not taken yet.
    pub(crate) inbox: VecDeque<String>,
}

/// What the oracle needs to know beside the tables.
#[derive(Default)]
pub(crate) struct Notes {
    /// Answers `201` and `200`: who sent which text to which channel, and the number that it got.
    pub(crate) accepted: Vec<(ChannelId, UserId, String, u64)>,
    /// Memberships whose end has been answered.
    pub(crate) ended: BTreeSet<(ChannelId, UserId)>,
    /// Pushes that were given up after all tries: the connection may lack what comes last.
    pub(crate) given_up: BTreeSet<ConnectionId>,
    /// Calls of the model for a message.
    pub(crate) calls: BTreeMap<QuestionKey, u32>,
    /// What made a further call necessary: a death, an error or a failure of the model after a call had begun.
    pub(crate) disturbances: BTreeMap<QuestionKey, u32>,
    /// What the clients show in the end.
    pub(crate) clients: BTreeMap<String, ClientView>,
}

/// A client that is still there: its connection, and what it shows of each of its channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientView {
    pub(crate) user: Option<UserId>,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) shown: BTreeMap<ChannelId, Vec<(u64, String)>>,
}
