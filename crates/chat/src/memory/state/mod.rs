//! State of the stores in memory, and its changes.
//!
//! Rules that only read decide a change. Then the change is made: [`Effect`]. Both happen under one lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rule::{Broken, Rule};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member},
        connection::{Connection, Subscription, UserConnection},
        draft::DraftStatus,
        id::{ChannelId, ConnectionId, IdempotencyKey, MessageId, UserId},
        incarnation::{ChannelKey, Incarnation},
        invitation::Invitation,
        message::{MessageEvent, StoredMessage},
        parts::Parts,
        pending_end::PendingEnd,
        rev::Rev,
        seq::Seq,
        ticket_digest::TicketDigest,
        time::Timestamp,
    },
    ports::{
        channel_store::Creation,
        message_store::{IdempotencyRecord, RecordKey},
        reply_leases::{LeaseOwner, ReplyLease},
        ticket_store::Ticket,
    },
};

mod channels;
mod effect;
mod gates;
mod invitations;
mod keys;
mod leases;
mod members;
mod messages;
mod removal;
mod subscriptions;

pub use effect::Effect;
pub(super) use keys::{reply_bucket, send_bucket};
pub(super) use messages::{is_live, living};

/// Subscriptions, by channel and connection.
pub type Subscriptions = BTreeMap<ChannelKey, BTreeMap<ConnectionId, Subscription>>;

/// A record of the stream of the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    /// Change of the message.
    pub event: MessageEvent,
    /// [`Append::for_agent`](crate::ports::message_store::Append::for_agent) of the append.
    pub for_agent: bool,
}

/// Stored gate of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredGate {
    /// [`Gate::closed`](crate::model::connection::Gate::closed).
    pub closed: bool,
    /// [`Gate::private`](crate::model::connection::Gate::private).
    pub private: bool,
    /// Time from which the gate counts as absent.
    pub expires_at: Timestamp,
}

/// Stored reply lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLease {
    /// Holder, if any worker has acquired the lease.
    pub owner: Option<LeaseOwner>,
    /// Time when the lease expires.
    pub until: Option<Timestamp>,
    /// Model calls, the cancellation, and the draft.
    pub claim: ReplyLease,
    /// Status of the draft, if it ended without a message.
    pub draft_status: Option<DraftStatus>,
}

/// Place of a piece in the drafts of a channel: the question's `seq`, the draft, and the position.
pub type PiecePlace = (Seq, MessageId, usize);

/// Stored piece of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPiece {
    /// Text.
    pub text: String,
    /// Time from which the piece counts as absent.
    pub expires_at: Timestamp,
}

/// Stored message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageItem {
    /// The message.
    pub stored: StoredMessage,
    /// [`Append::for_agent`](crate::ports::message_store::Append::for_agent).
    pub for_agent: bool,
}

/// Stored record of a change of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRecord {
    /// `seq` of the changed message.
    pub seq: Seq,
    /// Time from which the record counts as absent.
    pub expires_at: Timestamp,
}

/// Stored record of a user that was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceRecord {
    /// Mark of the last write.
    pub mark: Incarnation,
    /// Time until which the record counts.
    pub until: Timestamp,
}

/// State of all stores. Items of a channel are stored under its key. Only [`State::channels`] and
/// [`State::last_changes`] use the id.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Channels by their ids.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Members. Those of a deleted channel stay until they are removed.
    pub members: BTreeMap<ChannelKey, BTreeMap<UserId, Member>>,
    /// Channels of users, with the read mark.
    pub listed: BTreeMap<UserId, BTreeMap<ChannelKey, Seq>>,
    /// Invitations. Those to a deleted channel stay until they are removed.
    pub invitations: BTreeMap<ChannelKey, BTreeMap<UserId, Invitation>>,
    /// Public channels by `<search key>#<id>`.
    pub public: BTreeMap<String, ChannelKey>,
    /// Requests that created channels.
    pub creations: BTreeMap<ChannelKey, BTreeMap<(UserId, IdempotencyKey), Creation>>,
    /// Pending ends.
    pub pending: BTreeMap<Incarnation, PendingEnd>,
    /// Messages.
    pub messages: BTreeMap<ChannelKey, BTreeMap<Seq, MessageItem>>,
    /// Numbers of the channels' last changes, with the incarnations that they belong to.
    pub last_changes: BTreeMap<ChannelId, (Incarnation, Rev)>,
    /// Records of changes, by number.
    pub changes: BTreeMap<ChannelKey, BTreeMap<Rev, ChangeRecord>>,
    /// Records of requests and replies.
    pub records: BTreeMap<ChannelKey, BTreeMap<RecordKey, IdempotencyRecord>>,
    /// Changes of messages, in the order of their commits.
    pub stream: Vec<StreamRecord>,
    /// Reply leases, by the question's `seq`.
    pub claims: BTreeMap<ChannelKey, BTreeMap<Seq, StoredLease>>,
    /// Pieces of drafts.
    pub drafts: BTreeMap<ChannelKey, BTreeMap<PiecePlace, StoredPiece>>,
    /// Tokens used for users, by day.
    pub spent: BTreeMap<(UserId, String), u64>,
    /// Times when buckets are full: of users, or of channels, by action.
    pub buckets: BTreeMap<(Option<UserId>, String), Timestamp>,
    /// Connections.
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// Connections of users, pending or open.
    pub user_connections: BTreeMap<UserId, BTreeMap<ConnectionId, UserConnection>>,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Numbers of parts of subscriptions, of channels with more than one.
    pub parts: BTreeMap<ChannelKey, Parts>,
    /// Parts of subscriptions that are not in the first one.
    pub placed: BTreeMap<(ChannelKey, ConnectionId), u32>,
    /// Gates.
    pub gates: BTreeMap<ChannelKey, StoredGate>,
    /// Users that gates block, and until when.
    pub blocked: BTreeMap<ChannelKey, BTreeMap<UserId, Timestamp>>,
    /// Users whose presence was announced.
    pub present: BTreeMap<(ChannelKey, UserId), PresenceRecord>,
    /// Subscriptions that listen to presence, with their mark.
    pub presence_listeners: BTreeMap<ChannelKey, (Incarnation, Vec<Subscription>)>,
    /// Connections by the minute in which their token ends, since the Unix epoch.
    pub token_ends: BTreeMap<i64, BTreeSet<ConnectionId>>,
    /// Last minute of [`State::token_ends`] that is processed.
    pub worked_off: Option<i64>,
    /// Tickets by digest.
    pub tickets: BTreeMap<TicketDigest, Ticket>,
    /// Subscriptions before the last changes, kept while [`Rule::SubscriptionsCurrent`] is removed.
    stale: VecDeque<Subscriptions>,
    pub(super) broken: Broken,
}

/// Result of a call, and the change that it makes.
pub(super) type Decision<T> = (T, Option<Effect>);

impl State {
    /// Returns whether a rule is removed.
    #[must_use]
    pub fn lacks(&self, rule: Rule) -> bool {
        self.broken.contains(rule)
    }

    /// Returns the channel of a key, if its id still leads to it.
    #[must_use]
    pub fn channel(&self, key: &ChannelKey) -> Option<&Channel> {
        self.channels.get(&key.channel_id).filter(|channel| channel.incarnation == key.incarnation)
    }

    /// Returns a membership.
    #[must_use]
    pub fn member(&self, key: &ChannelKey, user: &UserId) -> Option<&Member> {
        self.members.get(key)?.get(user)
    }

    /// Returns a message, expired or not.
    #[must_use]
    pub fn message(&self, key: &ChannelKey, seq: Seq) -> Option<&MessageItem> {
        self.messages.get(key)?.get(&seq)
    }

    /// Returns the number of a channel's last change.
    #[must_use]
    pub fn last_change(&self, key: &ChannelKey) -> Rev {
        let stored = self.last_changes.get(&key.channel_id);
        stored.filter(|(incarnation, _)| *incarnation == key.incarnation).map_or(Rev::ZERO, |(_, rev)| *rev)
    }

    /// Whether an [`Authority`] still holds.
    fn holds(&self, by: &Authority<'_>, rule: Rule) -> bool {
        let read = by.channel;
        let is_as_read = |current: &Channel| {
            current.visibility == read.visibility && current.archived_at.is_some() == read.archived_at.is_some()
        };
        let key = read.key();
        self.lacks(rule)
            || (self.channel(&key).is_some_and(is_as_read)
                && by.member.is_none_or(|member| self.is_member_as_read(&key, member)))
    }

    fn is_member_as_read(&self, key: &ChannelKey, read: &Member) -> bool {
        self.member(key, &read.user_id)
            .is_some_and(|current| (current.incarnation, current.role) == (read.incarnation, read.role))
    }
}
