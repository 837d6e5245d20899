//! State of the stores in memory, and its changes.
//!
//! Rules that only read decide a change. Then the change is made: [`Effect`]. Both happen under one lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rule::{Broken, Rule};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, ChannelHead, Member, MemberAdded, MemberRole, Memberships, Visibility},
        connection::{Connection, Gate, Subscription, UserConnection},
        id::{ChannelId, ConnectionId, IdempotencyKey, UserId},
        incarnation::{ChannelKey, Incarnation},
        invitation::Invitation,
        limits::{GATE_DURATION, REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::{Change, Message, MessageEvent, StoredMessage},
        message_ref::MessageRef,
        pending_end::PendingEnd,
        text::{emoji::Emoji, search_key::SearchKey},
        time::Timestamp,
        trace::TraceContext,
    },
    ports::{
        channel_store::{ChannelCreated, Creation, MemberChanged},
        invitation_store::Invited,
        message_store::{Append, AppendResult, IdempotencyRecord, ReactionResult, RecordKey, UpdateResult},
        reply_leases::{Acquire, MessageKey, ReplyLease},
        ticket_store::Ticket,
    },
};

/// Subscriptions, by channel and connection.
pub type Subscriptions = BTreeMap<ChannelKey, BTreeMap<ConnectionId, Subscription>>;

/// Number of old views of the subscriptions that a lagging replica still returns.
const STALE_VIEWS: usize = 2;

/// A record of the stream of the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    /// Change of the message.
    pub event: MessageEvent,
    /// [`Append::for_agent`] of the append.
    pub for_agent: bool,
}

/// Stored gate of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredGate {
    /// [`Gate::closed`].
    pub closed: bool,
    /// [`Gate::private`].
    pub private: bool,
    /// Time from which the gate counts as absent.
    pub expires_at: Timestamp,
}

/// Stored reply lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLease {
    /// Holder.
    pub owner: String,
    /// Time when the lease expires.
    pub until: Option<Timestamp>,
    /// Model calls, and the cancellation.
    pub claim: ReplyLease,
}

/// Stored message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageItem {
    /// The message.
    pub stored: StoredMessage,
    /// [`Append::for_agent`].
    pub for_agent: bool,
}

/// State of all stores. Items of a channel are stored under its key; only [`State::channels`] uses the id.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Channels by their ids.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Members. Those of a deleted channel stay until they are removed.
    pub members: BTreeMap<ChannelKey, BTreeMap<UserId, Member>>,
    /// Channels of users, with the read mark.
    pub listed: BTreeMap<UserId, BTreeMap<ChannelKey, u64>>,
    /// Invitations. Those to a deleted channel stay until they are removed.
    pub invitations: BTreeMap<ChannelKey, BTreeMap<UserId, Invitation>>,
    /// Public channels by `<name in lower case>#<id>`.
    pub public: BTreeMap<String, ChannelKey>,
    /// Requests that created channels.
    pub creations: BTreeMap<ChannelKey, BTreeMap<(UserId, IdempotencyKey), Creation>>,
    /// Pending ends.
    pub pending: BTreeMap<Incarnation, PendingEnd>,
    /// Messages.
    pub messages: BTreeMap<ChannelKey, BTreeMap<u64, MessageItem>>,
    /// Records of requests and replies.
    pub records: BTreeMap<ChannelKey, BTreeMap<RecordKey, IdempotencyRecord>>,
    /// Changes of messages, in the order of their commits.
    pub stream: Vec<StreamRecord>,
    /// Reply leases, by the question's `seq`.
    pub claims: BTreeMap<ChannelKey, BTreeMap<u64, StoredLease>>,
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
    /// Gates.
    pub gates: BTreeMap<ChannelKey, StoredGate>,
    /// Users that gates block, and until when.
    pub blocked: BTreeMap<ChannelKey, BTreeMap<UserId, Timestamp>>,
    /// Users whose presence was announced, and the time until which that counts.
    pub present: BTreeMap<(ChannelKey, UserId), Timestamp>,
    /// Tickets by digest.
    pub tickets: BTreeMap<String, Ticket>,
    /// Subscriptions before the last changes, kept while [`Rule::SubscriptionsCurrent`] is removed.
    stale: VecDeque<Subscriptions>,
    pub(super) broken: Broken,
}

/// Change of the state that is decided and about to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A channel is created.
    ChannelCreated {
        /// The channel.
        channel: Channel,
        /// Owner.
        owner: Member,
        /// Request that created the channel.
        creation: Option<Creation>,
    },
    /// The settings of a channel change.
    ChannelUpdated {
        /// Channel before the change.
        before: Channel,
        /// Channel after the change.
        changed: Channel,
        /// Pending end that the change causes.
        pending: Option<PendingEnd>,
        /// Time of the change.
        now: Timestamp,
    },
    /// A channel is deleted.
    ChannelDeleted {
        /// The channel.
        channel: Channel,
        /// Pending end that the change causes.
        pending: PendingEnd,
        /// Time of the change.
        now: Timestamp,
    },
    /// A member is added.
    MemberAdded {
        /// The channel.
        channel: ChannelKey,
        /// The membership.
        member: Member,
        /// The read mark.
        read_seq: u64,
    },
    /// A user is invited.
    Invited {
        /// The invitation.
        invitation: Invitation,
    },
    /// An invitation is declined or withdrawn.
    InvitationWithdrawn {
        /// The invitation.
        invitation: Invitation,
    },
    /// The role of a member changes.
    RoleChanged {
        /// The channel.
        channel: ChannelKey,
        /// Membership as it was read.
        member: Member,
        /// New role.
        role: MemberRole,
    },
    /// A member is removed.
    MemberRemoved {
        /// The channel.
        channel: ChannelKey,
        /// The membership.
        member: Member,
        /// Pending end that the change causes.
        pending: PendingEnd,
        /// Time of the change.
        now: Timestamp,
    },
    /// A read mark moves.
    ReadMarked {
        /// The channel.
        channel: ChannelKey,
        /// User of the mark.
        user: UserId,
        /// New `seq`.
        seq: u64,
    },
    /// A message is appended.
    MessageAppended {
        /// The message.
        item: MessageItem,
        /// Idempotency record.
        record: Option<IdempotencyRecord>,
        /// Time when the sender's bucket is full.
        full_at: Option<Timestamp>,
    },
    /// A message is edited or deleted.
    MessageRevised {
        /// Message before the change.
        before: MessageItem,
        /// Message after the change.
        after: MessageItem,
    },
    /// A reaction is added or removed.
    ReactionChanged {
        /// User that reacts.
        user: UserId,
        /// Message after the change.
        after: MessageItem,
    },
    /// A reply lease is acquired.
    LeaseAcquired {
        /// The question.
        question: MessageKey,
        /// Holder.
        owner: String,
        /// Time when the lease expires.
        until: Timestamp,
    },
    /// A reply lease is renewed.
    LeaseRenewed {
        /// The question.
        question: MessageKey,
        /// Time when the lease expires.
        until: Timestamp,
        /// `true` if a model call follows.
        calls_model: bool,
    },
    /// A reply is cancelled.
    ReplyCancelled {
        /// The question.
        question: MessageKey,
    },
}

/// Result of a call, and the change that it makes.
pub(super) type Decision<T> = (T, Option<Effect>);

fn public_name(channel: &Channel) -> String {
    format!("{}#{}", SearchKey::of(&channel.name).as_str(), channel.channel_id)
}

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
    pub fn message(&self, key: &ChannelKey, seq: u64) -> Option<&MessageItem> {
        self.messages.get(key)?.get(&seq)
    }

    /// Returns the gate of a channel at a time.
    #[must_use]
    pub fn gate(&self, key: &ChannelKey, now: Timestamp) -> Gate {
        let stored = self.gates.get(key).filter(|gate| gate.expires_at > now);
        let blocked = self.blocked.get(key).into_iter().flatten();
        Gate {
            closed: stored.is_some_and(|gate| gate.closed),
            private: stored.is_some_and(|gate| gate.private),
            blocked: blocked.filter(|(_, until)| **until > now).map(|(user, _)| user.clone()).collect(),
        }
    }

    /// Stores a channel as given, without items that belong to it.
    pub fn put_channel(&mut self, channel: Channel) {
        if channel.visibility == Visibility::Public {
            self.public.insert(public_name(&channel), channel.key());
        }
        self.channels.insert(channel.channel_id.clone(), channel);
    }

    /// Stores a membership as given.
    pub fn put_member(&mut self, key: &ChannelKey, member: Member, read_seq: u64) {
        self.listed.entry(member.user_id.clone()).or_default().insert(key.clone(), read_seq);
        self.members.entry(key.clone()).or_default().insert(member.user_id.clone(), member);
    }

    fn owners(&self, key: &ChannelKey) -> usize {
        self.members.get(key).into_iter().flatten().filter(|(_, member)| member.role == MemberRole::Owner).count()
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

    pub(super) fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> Decision<ChannelCreated> {
        if self.channels.contains_key(&channel.channel_id) {
            return (ChannelCreated::Taken, None);
        }
        let created = self.channels.values().filter(|other| other.created_by == channel.created_by).count();
        if created >= most && !self.lacks(Rule::ChannelsCounted) {
            return (ChannelCreated::TooMany, None);
        }
        let (channel, owner, creation) = (channel.clone(), owner.clone(), creation.cloned());
        (ChannelCreated::Done, Some(Effect::ChannelCreated { channel, owner, creation }))
    }

    pub(super) fn memberships(&self, user: &UserId, limit: usize) -> Memberships {
        let all: Vec<&ChannelKey> = self.listed.get(user).into_iter().flatten().map(|(key, _)| key).collect();
        let left_out = all.len().saturating_sub(limit);
        let mut chosen: Vec<(Timestamp, &ChannelKey)> = Vec::new();
        if left_out > 0 && !self.lacks(Rule::ChosenFirst) {
            let own = all.iter().filter_map(|key| {
                let member = self.member(key, user).filter(|member| member.added_by.is_none())?;
                Some((member.joined_at, *key))
            });
            chosen.extend(own);
            chosen.sort_unstable_by(|one, other| other.cmp(one));
        }
        let mut channels: Vec<ChannelKey> = chosen.into_iter().map(|(_, key)| key.clone()).take(limit).collect();
        for key in all {
            if channels.len() >= limit {
                break;
            }
            if !channels.contains(key) {
                channels.push(key.clone());
            }
        }
        Memberships { channels, left_out }
    }

    pub(super) fn invitation(&self, key: &ChannelKey, user: &UserId, now: Timestamp) -> Option<&Invitation> {
        self.invitations.get(key)?.get(user).filter(|one| one.expires_at > now)
    }

    /// Returns a user's invitations, in the order of the channels' ids.
    pub(super) fn invitations_of<'a>(
        &'a self,
        user: &'a UserId,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Invitation> {
        self.invitations.keys().filter_map(move |key| self.invitation(key, user, now))
    }

    pub(super) fn invite(&self, by: &Authority<'_>, invitation: &Invitation) -> Decision<Invited> {
        let (key, user) = (by.channel.key(), &invitation.user_id);
        if !self.holds(by, Rule::MemberAuthority) || self.member(&key, user).is_some() {
            return (Invited::Stale, None);
        }
        if let Some(there) = self.invitation(&key, user, invitation.invited_at) {
            return (Invited::Already(there.clone()), None);
        }
        (Invited::Done, Some(Effect::Invited { invitation: invitation.clone() }))
    }

    fn is_pending(&self, invitation: &Invitation, now: Timestamp) -> bool {
        self.invitation(&invitation.channel(), &invitation.user_id, now)
            .is_some_and(|there| there.incarnation == invitation.incarnation)
    }

    pub(super) fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: u64,
    ) -> Decision<MemberAdded> {
        let as_read = Authority { channel, member: None };
        let is_own = invitation.channel() == channel.key() && invitation.user_id == member.user_id;
        let holds =
            is_own && self.is_pending(invitation, member.joined_at) && self.holds(&as_read, Rule::InvitationHeld);
        if !holds && !self.lacks(Rule::InvitationHeld) {
            return (MemberAdded::Stale, None);
        }
        let channel = channel.key();
        if let Some(there) = self.member(&channel, &member.user_id) {
            return (MemberAdded::Already(there.clone()), None);
        }
        (MemberAdded::Added, Some(Effect::MemberAdded { channel, member: member.clone(), read_seq }))
    }

    pub(super) fn withdraw_invitation(&self, by: Option<&Authority<'_>>, invitation: &Invitation) -> Decision<bool> {
        // An expired invitation may be withdrawn too.
        if !self.is_pending(invitation, Timestamp::from_millis(0))
            || by.is_some_and(|by| !self.holds(by, Rule::MemberAuthority))
        {
            return (false, None);
        }
        (true, Some(Effect::InvitationWithdrawn { invitation: invitation.clone() }))
    }

    /// Whether a channel still has the version that was read.
    fn is_of_version(&self, read: &Channel) -> bool {
        self.channel(&read.key()).is_some_and(|current| current.version == read.version)
    }

    pub(super) fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> Decision<bool> {
        if !self.is_of_version(by.channel) || !self.holds(by, Rule::SettingsAuthority) {
            return (false, None);
        }
        let (before, changed, pending) = (by.channel.clone(), changed.clone(), pending.cloned());
        (true, Some(Effect::ChannelUpdated { before, changed, pending, now }))
    }

    pub(super) fn delete(&self, by: &Authority<'_>, pending: &PendingEnd, now: Timestamp) -> Decision<bool> {
        if !self.is_of_version(by.channel) || !self.holds(by, Rule::SettingsAuthority) {
            return (false, None);
        }
        let (channel, pending) = (by.channel.clone(), pending.clone());
        (true, Some(Effect::ChannelDeleted { channel, pending, now }))
    }

    pub(super) fn mark_read(&self, channel: &ChannelKey, user: &UserId, seq: u64) -> Decision<Option<u64>> {
        let listed = self.listed.get(user).and_then(|channels| channels.get(channel)).copied();
        let mark = listed.or_else(|| self.lacks(Rule::ReadMarkOfMember).then_some(0));
        let Some(mark) = mark else { return (None, None) };
        if mark >= seq {
            return (Some(mark), None);
        }
        (Some(seq), Some(Effect::ReadMarked { channel: channel.clone(), user: user.clone(), seq }))
    }

    pub(super) fn add_member(&self, by: &Authority<'_>, member: &Member, read_seq: u64) -> Decision<MemberAdded> {
        // A caller whose permission rests on a membership already has one.
        let is_contradicted = by.member.is_some_and(|caller| caller.user_id == member.user_id);
        if is_contradicted || !self.holds(by, Rule::MemberAuthority) {
            return (MemberAdded::Stale, None);
        }
        let channel = by.channel.key();
        if let Some(there) = self.member(&channel, &member.user_id) {
            return (MemberAdded::Already(there.clone()), None);
        }
        (MemberAdded::Added, Some(Effect::MemberAdded { channel, member: member.clone(), read_seq }))
    }

    /// Checks a change or the removal (`role`: `None`) of a member.
    fn may_change(&self, by: &Authority<'_>, member: &Member, role: Option<MemberRole>) -> MemberChanged {
        let key = by.channel.key();
        let is_as_read = match self.member(&key, &member.user_id) {
            Some(_) if self.lacks(Rule::MemberAsRead) => true,
            _ => self.is_member_as_read(&key, member),
        };
        if !is_as_read || !self.holds(by, Rule::MemberAuthority) {
            return MemberChanged::Stale;
        }
        let is_owner = self.member(&key, &member.user_id).is_some_and(|current| current.role == MemberRole::Owner);
        if is_owner && role != Some(MemberRole::Owner) && self.owners(&key) < 2 && !self.lacks(Rule::LastOwner) {
            return MemberChanged::LastOwner;
        }
        MemberChanged::Done
    }

    pub(super) fn change_role(&self, by: &Authority<'_>, member: &Member, role: MemberRole) -> Decision<MemberChanged> {
        let answer = self.may_change(by, member, Some(role));
        let (channel, member) = (by.channel.key(), member.clone());
        (answer, (answer == MemberChanged::Done).then_some(Effect::RoleChanged { channel, member, role }))
    }

    pub(super) fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> Decision<MemberChanged> {
        let answer = self.may_change(by, member, None);
        let (channel, member, pending) = (by.channel.key(), member.clone(), pending.clone());
        let effect = Effect::MemberRemoved { channel, member, pending, now };
        (answer, (answer == MemberChanged::Done).then_some(effect))
    }

    /// Returns the key under which records are stored.
    fn record_place(&self, key: &ChannelKey) -> ChannelKey {
        if self.lacks(Rule::RecordIncarnation) { of_no_incarnation(key) } else { key.clone() }
    }

    /// Returns the key under which subscriptions are stored.
    fn subscription_place(&self, key: &ChannelKey) -> ChannelKey {
        if self.lacks(Rule::SubscriptionIncarnation) { of_no_incarnation(key) } else { key.clone() }
    }

    pub(super) fn record(&self, channel: &ChannelKey, key: &RecordKey) -> Option<&IdempotencyRecord> {
        self.records.get(&self.record_place(channel))?.get(key)
    }

    /// Decides an append. A used idempotency key and an already stored message are checked first, since they are no
    /// failures.
    pub(super) fn append(&self, append: &Append<'_>) -> Decision<AppendResult> {
        let Append { head, message, for_agent, record, member, token, now } = *append;
        let key = head.key();
        let taken = record.and_then(|record| self.record(&key, &record.key));
        if let Some(taken) = taken.filter(|taken| taken.expires_at > now) {
            return (AppendResult::KeyTaken(taken.clone()), None);
        }
        let there = self.message(&key, message.message.seq).filter(|_| !self.lacks(Rule::HeadNumber));
        let is_own = there.is_some_and(|there| there.stored.message.message_id == message.message.message_id);
        if is_own && record.is_none() && !self.lacks(Rule::OwnMessage) {
            return (AppendResult::Stored, None);
        }
        let sender = &message.message.sender_id;
        let moved_bucket = token.and_then(|token| {
            let stored = self.buckets.get(&send_bucket(sender)).copied();
            match token.full_at {
                None => stored.filter(|full_at| *full_at > now),
                Some(believed) if stored == Some(believed) => None,
                // Without a stored time, the bucket is full.
                Some(_) => Some(stored.unwrap_or(now)),
            }
        });
        let current = self.channels.get(&head.channel_id);
        let is_as_believed = current.is_some_and(|current| {
            (self.lacks(Rule::HeadNumber) || (current.last_seq, current.version) == (head.last_seq, head.version))
                && (self.lacks(Rule::HeadIncarnation) || current.incarnation == head.incarnation)
        });
        if !is_as_believed {
            let answer = match current.map(ChannelHead::from) {
                Some(current) => AppendResult::Stale { head: Some(current), bucket_full_at: moved_bucket },
                None => AppendResult::ChannelNotFound,
            };
            return (answer, None);
        }
        if member.is_some_and(|user| self.member(&key, user).is_none()) && !self.lacks(Rule::SenderIsMember) {
            return (AppendResult::NotAMember, None);
        }
        if moved_bucket.is_some() {
            return (AppendResult::Stale { head: None, bucket_full_at: moved_bucket }, None);
        }
        // In a mutant without another rule, the message of another attempt may be there.
        if there.is_some() && !is_own {
            return (AppendResult::Conflict, None);
        }
        let effect = Effect::MessageAppended {
            item: MessageItem { stored: message.clone(), for_agent },
            record: record.cloned(),
            full_at: token.map(|token| token.next),
        };
        (AppendResult::Stored, Some(effect))
    }

    pub(super) fn revise(&self, by: &Authority<'_>, revised: &StoredMessage) -> Decision<UpdateResult> {
        if !self.holds(by, Rule::MessageAuthority) {
            return (UpdateResult::Stale, None);
        }
        let found = self.message(&by.channel.key(), revised.message.seq);
        let Some(before) = found.filter(|item| item.stored.message.deleted_at.is_none()) else {
            return (UpdateResult::MessageNotFound, None);
        };
        let mut after = before.clone();
        let (message, to) = (&mut after.stored.message, &revised.message);
        message.content.clone_from(&to.content);
        message.content_type = to.content_type;
        message.metadata.clone_from(&to.metadata);
        message.edited_at = to.edited_at;
        message.deleted_at = to.deleted_at;
        if to.deleted_at.is_some() {
            message.reactions.clear();
        }
        after.stored.trace.clone_from(&revised.trace);
        (UpdateResult::Done, Some(Effect::MessageRevised { before: before.clone(), after }))
    }

    pub(super) fn react(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        add: bool,
        now: Timestamp,
    ) -> Decision<ReactionResult> {
        if !self.holds(by, Rule::MessageAuthority) {
            return (ReactionResult::Stale, None);
        }
        let found = self.message(&by.channel.key(), revision.seq);
        let is_there = |item: &&MessageItem| is_live(&item.stored, now) && item.stored.message.deleted_at.is_none();
        let Some(before) = found.filter(is_there) else { return (ReactionResult::MessageNotFound, None) };
        let reactions = &before.stored.message.reactions;
        let users = reactions.get(emoji);
        if users.is_some_and(|users| users.contains(&revision.caller)) == add {
            return (ReactionResult::Done, None);
        }
        let is_full = users.map_or(reactions.len() >= REACTIONS_PER_MESSAGE, |users| users.len() >= USERS_PER_REACTION);
        if add && is_full {
            return (ReactionResult::Full, None);
        }
        let mut after = before.clone();
        let reactions = &mut after.stored.message.reactions;
        let users = reactions.entry(emoji.clone()).or_default();
        if add {
            users.insert(revision.caller.clone());
        } else {
            users.remove(&revision.caller);
        }
        if users.is_empty() {
            reactions.remove(emoji);
        }
        if let Some(trace) = &revision.trace {
            after.stored.trace = Some(TraceContext::clone(trace));
        }
        (ReactionResult::Done, Some(Effect::ReactionChanged { user: revision.caller.clone(), after }))
    }

    fn stored_lease(&self, question: &MessageKey) -> Option<&StoredLease> {
        self.claims.get(&question.channel)?.get(&question.seq)
    }

    pub(super) fn claim(
        &self,
        question: &MessageKey,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Decision<Acquire> {
        let stored = self.stored_lease(question);
        if let Some(until) = stored.and_then(|stored| stored.until).filter(|until| *until > now)
            && !self.lacks(Rule::ClaimHeld)
        {
            return (Acquire::Held { until }, None);
        }
        let claim = stored.map(|stored| stored.claim).unwrap_or_default();
        let (question, owner) = (question.clone(), owner.to_owned());
        (Acquire::Acquired(claim), Some(Effect::LeaseAcquired { question, owner, until }))
    }

    pub(super) fn renew_lease(
        &self,
        question: &MessageKey,
        owner: &str,
        until: Timestamp,
        calls_model: bool,
    ) -> Decision<Option<ReplyLease>> {
        let stored = self.stored_lease(question).filter(|stored| stored.owner == owner || self.lacks(Rule::ClaimHeld));
        let Some(stored) = stored else { return (None, None) };
        let calls = stored.claim.calls + u32::from(calls_model);
        let question = question.clone();
        (Some(ReplyLease { calls, ..stored.claim }), Some(Effect::LeaseRenewed { question, until, calls_model }))
    }

    pub(super) fn cancel(&self, by: &Authority<'_>, question: &MessageKey) -> Decision<bool> {
        if !self.holds(by, Rule::MessageAuthority) {
            return (false, None);
        }
        (true, Some(Effect::ReplyCancelled { question: question.clone() }))
    }

    /// Makes a decided change.
    #[allow(clippy::too_many_lines)]
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::ChannelCreated { channel, owner, creation } => {
                let key = channel.key();
                if let Some(creation) = creation {
                    let place = (owner.user_id.clone(), creation.key.clone());
                    self.creations.entry(key.clone()).or_default().insert(place, creation);
                }
                self.put_member(&key, owner, 0);
                self.put_channel(channel);
            }
            Effect::ChannelUpdated { before, changed, pending, now } => {
                let Some(current) = self.channels.get(&changed.channel_id) else { return };
                let (last_seq, last_message_at) = (current.last_seq, current.last_message_at);
                self.public.remove(&public_name(&before));
                let key = changed.key();
                if before.visibility != changed.visibility && !self.lacks(Rule::GateWritten) {
                    let is_private = changed.visibility == Visibility::Private;
                    self.set_gate(&key, now, |gate| gate.private = is_private);
                }
                self.put_channel(Channel { last_seq, last_message_at, ..changed });
                self.record_end(pending);
            }
            Effect::ChannelDeleted { channel, pending, now } => {
                self.channels.remove(&channel.channel_id);
                self.public.remove(&public_name(&channel));
                if !self.lacks(Rule::GateWritten) {
                    self.set_gate(&channel.key(), now, |gate| gate.closed = true);
                }
                self.record_end(Some(pending));
            }
            Effect::Invited { invitation } => {
                let of_channel = self.invitations.entry(invitation.channel()).or_default();
                of_channel.insert(invitation.user_id.clone(), invitation);
            }
            Effect::InvitationWithdrawn { invitation } => {
                self.end_invitation(&invitation.channel(), &invitation.user_id);
            }
            Effect::MemberAdded { channel, member, read_seq } => {
                if !self.lacks(Rule::InvitationEnds) {
                    self.end_invitation(&channel, &member.user_id);
                }
                if let Some(blocked) = self.blocked.get_mut(&channel) {
                    blocked.remove(&member.user_id);
                }
                self.put_member(&channel, member, read_seq);
            }
            Effect::RoleChanged { channel, member, role } => {
                let current = self.members.get_mut(&channel).and_then(|members| members.get_mut(&member.user_id));
                if let Some(current) = current {
                    current.role = role;
                }
            }
            Effect::MemberRemoved { channel, member, pending, now } => {
                let user = &member.user_id;
                if let Some(members) = self.members.get_mut(&channel) {
                    members.remove(user);
                }
                if let Some(listed) = self.listed.get_mut(user) {
                    listed.remove(&channel);
                }
                if !self.lacks(Rule::GateWritten) {
                    self.blocked.entry(channel).or_default().insert(user.clone(), now.plus(GATE_DURATION));
                }
                self.record_end(Some(pending));
            }
            Effect::ReadMarked { channel, user, seq } => {
                self.listed.entry(user).or_default().insert(channel, seq);
            }
            Effect::MessageAppended { item, record, full_at } => {
                let (key, message) = (item.stored.channel(), &item.stored.message);
                if let Some(full_at) = full_at {
                    self.buckets.insert(send_bucket(&message.sender_id), full_at);
                }
                if let Some(channel) = self.channels.get_mut(&key.channel_id) {
                    channel.last_seq = message.seq;
                    channel.last_message_at = Some(message.created_at);
                }
                if let Some(record) = record.filter(|_| !self.lacks(Rule::RecordKept)) {
                    let place = self.record_place(&key);
                    self.records.entry(place).or_default().insert(record.key.clone(), record);
                }
                self.put_message(Change::Created, item);
            }
            Effect::MessageRevised { after, .. } => {
                let is_deleted = after.stored.message.deleted_at.is_some();
                self.put_message(if is_deleted { Change::Deleted } else { Change::Updated }, after);
            }
            Effect::ReactionChanged { after, .. } => self.put_message(Change::Updated, after),
            Effect::LeaseAcquired { question, owner, until } => {
                let stored = self.claims.entry(question.channel).or_default().entry(question.seq).or_default();
                (stored.owner, stored.until) = (owner, Some(until));
            }
            Effect::LeaseRenewed { question, until, calls_model } => {
                let stored = self.claims.entry(question.channel).or_default().entry(question.seq).or_default();
                stored.until = Some(until);
                stored.claim.calls += u32::from(calls_model);
            }
            Effect::ReplyCancelled { question } => {
                let stored = self.claims.entry(question.channel).or_default().entry(question.seq).or_default();
                stored.claim.cancelled = true;
            }
        }
    }

    fn end_invitation(&mut self, key: &ChannelKey, user: &UserId) {
        if let Some(of_channel) = self.invitations.get_mut(key) {
            of_channel.remove(user);
        }
    }

    fn put_message(&mut self, change: Change, item: MessageItem) {
        let event = MessageEvent { change, stored: item.stored.clone() };
        self.stream.push(StreamRecord { event, for_agent: item.for_agent });
        let place = self.messages.entry(item.stored.channel()).or_default();
        place.insert(item.stored.message.seq, item);
    }

    fn set_gate(&mut self, key: &ChannelKey, now: Timestamp, set: impl FnOnce(&mut StoredGate)) {
        let expires_at = now.plus(GATE_DURATION);
        let gate = self.gates.entry(key.clone()).or_insert(StoredGate { closed: false, private: false, expires_at });
        gate.expires_at = expires_at;
        set(gate);
    }

    fn record_end(&mut self, pending: Option<PendingEnd>) {
        if let Some(pending) = pending.filter(|_| !self.lacks(Rule::PendingRecorded)) {
            self.pending.insert(pending.id, pending);
        }
    }

    pub(super) fn subscriptions_of(&self, key: &ChannelKey) -> impl Iterator<Item = &Subscription> {
        let view = match self.stale.front() {
            Some(stale) if self.lacks(Rule::SubscriptionsCurrent) => stale,
            _ => &self.subscriptions,
        };
        view.get(&self.subscription_place(key)).into_iter().flatten().map(|(_, one)| one)
    }

    /// Returns a page of subscriptions, and the connection after which the next page begins.
    pub(super) fn subscriptions_page(
        &self,
        key: &ChannelKey,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> (Vec<&Subscription>, Option<ConnectionId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(all) = self.subscriptions.get(&self.subscription_place(key)) else { return (Vec::new(), None) };
        let mut rest = all.range::<ConnectionId, _>((after.map_or(Unbounded, Excluded), Unbounded));
        let page: Vec<&Subscription> = rest.by_ref().take(limit).map(|(_, one)| one).collect();
        let mut last = page.last().filter(|_| page.len() == limit).map(|one| one.connection_id.clone());
        if self.lacks(Rule::PageEnd)
            && let Some((skipped, _)) = rest.take(limit).last()
        {
            last = last.map(|_| skipped.clone());
        }
        (page, last)
    }

    pub(super) fn subscription(&self, key: &ChannelKey, id: &ConnectionId) -> Option<&Subscription> {
        self.subscriptions.get(&self.subscription_place(key))?.get(id)
    }

    /// Stores a subscription as given.
    pub fn put_subscription(&mut self, key: &ChannelKey, subscription: Subscription) {
        let place = self.subscription_place(key);
        self.keep_stale();
        self.subscriptions.entry(place).or_default().insert(subscription.connection_id.clone(), subscription);
    }

    /// Removes a subscription, if it has this `connected_at`.
    pub(super) fn remove_subscription(&mut self, key: &ChannelKey, id: &ConnectionId, connected_at: Timestamp) -> bool {
        if self.subscription(key, id).is_none_or(|one| one.connected_at != connected_at) {
            return false;
        }
        self.keep_stale();
        let place = self.subscription_place(key);
        self.subscriptions.get_mut(&place).is_some_and(|all| all.remove(id).is_some())
    }

    fn keep_stale(&mut self) {
        if self.lacks(Rule::SubscriptionsCurrent) {
            self.stale.push_back(self.subscriptions.clone());
            if self.stale.len() > STALE_VIEWS {
                self.stale.pop_front();
            }
        }
    }

    /// Removes up to `limit` messages of a deleted channel, and up to `limit` of its other items. Returns `true` if
    /// there were none.
    pub(super) fn remove_some(&mut self, key: &ChannelKey, limit: usize) -> bool {
        if !self.lacks(Rule::RemovalIncarnation) {
            return self.remove_from(key, limit);
        }
        let of_id = |other: &&ChannelKey| other.channel_id == key.channel_id;
        let keys: BTreeSet<ChannelKey> =
            self.messages.keys().chain(self.members.keys()).filter(of_id).chain([key]).cloned().collect();
        let left: Vec<bool> = keys.iter().map(|one| !self.remove_from(one, limit)).collect();
        !left.contains(&true)
    }

    fn remove_from(&mut self, key: &ChannelKey, limit: usize) -> bool {
        if drain(&mut self.messages, key, limit).is_some() {
            return false;
        }
        if let Some(members) = drain(&mut self.members, key, limit) {
            for (user, _) in members {
                if let Some(listed) = self.listed.get_mut(&user) {
                    listed.remove(key);
                }
            }
            return false;
        }
        let records = self.record_place(key);
        self.buckets.remove(&reply_bucket(key)).is_none()
            & drain(&mut self.records, &records, limit).is_none()
            & drain(&mut self.creations, key, limit).is_none()
            & drain(&mut self.invitations, key, limit).is_none()
            & drain(&mut self.claims, key, limit).is_none()
    }
}

/// Removes up to `limit` items of a partition and returns them, or `None` if it has none.
fn drain<K: Clone + Ord, V>(
    table: &mut BTreeMap<ChannelKey, BTreeMap<K, V>>,
    partition: &ChannelKey,
    limit: usize,
) -> Option<Vec<(K, V)>> {
    let items = table.get_mut(partition)?;
    let mut taken = Vec::new();
    while taken.len() < limit
        && let Some(item) = items.pop_first()
    {
        taken.push(item);
    }
    if items.is_empty() {
        table.remove(partition);
    }
    (!taken.is_empty()).then_some(taken)
}

/// Returns a key that all incarnations of an id share.
fn of_no_incarnation(key: &ChannelKey) -> ChannelKey {
    ChannelKey { channel_id: key.channel_id.clone(), incarnation: Incarnation::NONE }
}

pub(super) fn send_bucket(user: &UserId) -> (Option<UserId>, String) {
    (Some(user.clone()), "send".to_owned())
}

pub(super) fn reply_bucket(channel: &ChannelKey) -> (Option<UserId>, String) {
    (None, format!("reply#{channel}"))
}

/// Whether a message has not expired.
pub(super) fn is_live(stored: &StoredMessage, now: Timestamp) -> bool {
    stored.expires_at.is_none_or(|expires_at| expires_at > now)
}

/// Returns the messages of a page that have not expired, as clients see them.
pub(super) fn living<'a>(
    items: impl Iterator<Item = &'a MessageItem>,
    now: Timestamp,
) -> impl Iterator<Item = Message> {
    items.filter(move |item| is_live(&item.stored, now)).map(|item| item.stored.message.clone())
}
