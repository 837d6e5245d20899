//! Keys of the items with data of one user.

use chat::model::{
    id::{ConnectionId, UserId},
    incarnation::ChannelKey,
    seq::Seq,
};

use super::{
    Keys, META, TENANT_SEPARATOR, channel_key,
    chat_channels::{
        chosen_channel, draft_question, invited_of, is_record_of, listed_channel, listed_invitation_channel, member_of,
    },
    chat_connections::{AudienceSort, PresenceSort, channel_of_part, connection_of, of_connection},
};

/// Kind of an item with data of a user, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OfUser {
    /// The membership.
    Member(ChannelKey),
    /// A copy of the membership in a list of the user.
    Listed(ChannelKey),
    /// The invitation.
    Invited(ChannelKey),
    /// The copy of the invitation in the user's list.
    ListedInvitation(ChannelKey),
    /// The number of channels that the user created.
    Created,
    /// A piece of a draft, whose question tells the user.
    DraftPiece(ChannelKey, Seq),
    /// A connection, whose `user_id` tells the user.
    Connection(ConnectionId),
    /// The copy of a connection in the user's list.
    UserConnection(ConnectionId),
    /// An entry of a gate.
    Blocked,
    /// The subscriptions that listen to the presence of a channel, each of which tells its user.
    Listeners,
    /// An item whose `user_id` tells the user: a subscription or a ticket.
    Told(&'static str),
    /// An item about the user alone.
    Own(&'static str),
}

impl Keys {
    /// Returns whether a partition belongs to this tenant. A partition of connections, tickets and pending ends belongs to
    /// all tenants.
    pub(crate) fn is_own(&self, partition: &str) -> bool {
        let tenant = partition.split_once(TENANT_SEPARATOR).map(|(before, _)| before.rsplit('#').next());
        match tenant.flatten() {
            Some(tenant) => self.prefix.strip_suffix(TENANT_SEPARATOR) == Some(tenant),
            None => self.prefix.is_empty(),
        }
    }

    /// Returns the kind of an item of `chat_channels`, if it may have data of `user`.
    pub(crate) fn channels_item(&self, user: &UserId, partition: &str, sk: &str) -> Option<OfUser> {
        if partition == self.user(user) {
            return Some(of_list(sk));
        }
        let key = self.own_channel(partition)?;
        if member_of(sk).as_ref() == Some(user) {
            return Some(OfUser::Member(key));
        }
        if invited_of(sk).as_ref() == Some(user) {
            return Some(OfUser::Invited(key));
        }
        if is_record_of(sk, user) {
            return Some(OfUser::Own("idempotency record"));
        }
        draft_question(sk).map(|question| OfUser::DraftPiece(key, question))
    }

    /// Returns the kind of an item of `chat_connections`, if it may have data of `user`.
    pub(crate) fn connections_item(&self, user: &UserId, partition: &str, sk: &str) -> Option<OfUser> {
        if partition == self.user(user) {
            return connection_of(sk).ok().map(OfUser::UserConnection);
        }
        if let Some(id) = of_connection(partition).filter(|_| sk == META) {
            return Some(OfUser::Connection(id));
        }
        let (kind, rest) = partition.split_once('#')?;
        match kind {
            "ticket" => Some(OfUser::Told("ticket")),
            "chan" => {
                self.own_channel(channel_of_part(partition)?)?;
                match AudienceSort::read(sk).ok()? {
                    AudienceSort::Gate | AudienceSort::Parts => None,
                    AudienceSort::Blocked(blocked) => (blocked == *user).then_some(OfUser::Blocked),
                    AudienceSort::Subscription(_) => Some(OfUser::Told("subscription")),
                }
            }
            "present" => {
                self.own_channel(rest)?;
                match PresenceSort::read(sk).ok()? {
                    PresenceSort::Listeners => Some(OfUser::Listeners),
                    PresenceSort::User(present) => (present == *user).then_some(OfUser::Own("presence")),
                }
            }
            _ => None,
        }
    }

    /// Reads the key of a channel of this tenant.
    pub(crate) fn own_channel(&self, text: &str) -> Option<ChannelKey> {
        let (_, key) = channel_key(text).ok()?;
        (self.channel(&key) == text).then_some(key)
    }
}

/// Returns the kind of an item in the partition of a user.
fn of_list(sk: &str) -> OfUser {
    if let Ok(key) = listed_channel(sk).or_else(|_| chosen_channel(sk)) {
        return OfUser::Listed(key);
    }
    if let Ok(key) = listed_invitation_channel(sk) {
        return OfUser::ListedInvitation(key);
    }
    match sk.split('#').next() {
        Some("created") => OfUser::Created,
        Some("rate") => OfUser::Own("token bucket"),
        Some("tokens") => OfUser::Own("tokens used"),
        _ => OfUser::Own("item of the user"),
    }
}
