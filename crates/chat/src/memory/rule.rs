//! Rules of the store that a test can remove, to check that it is noticed.

/// Rule of the store. See [`MemoryStore::without`](super::MemoryStore::without).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// An append requires the `seq` and the version of the channel head, and a free place for the message.
    HeadNumber,
    /// An append requires the incarnation of the channel's head.
    HeadIncarnation,
    /// An append writes the record of its key.
    RecordKept,
    /// An append without a key recognizes its own message.
    OwnMessage,
    /// An append to a private channel requires the sender's membership.
    SenderIsMember,
    /// An append of a reply requires its question.
    QuestionHeld,
    /// An append in a thread requires the root.
    RootHeld,
    /// An append in a thread counts in the summary of the root.
    RepliesCounted,
    /// A reply lease excludes other owners until it expires.
    ClaimHeld,
    /// A piece of a draft is stored.
    DraftStored,
    /// Subscriptions are read consistently, and not from a lagging replica.
    SubscriptionsCurrent,
    /// Subscriptions belong to one incarnation.
    SubscriptionIncarnation,
    /// Records of requests and replies belong to one incarnation.
    RecordIncarnation,
    /// Removal of a deleted channel spares other incarnations.
    RemovalIncarnation,
    /// A change of members requires the authority of its caller.
    MemberAuthority,
    /// A change of settings, and a deletion, require the authority of their caller.
    SettingsAuthority,
    /// A change of a message, a reaction and a cancellation require the authority of their caller.
    MessageAuthority,
    /// An edit and a deletion of a message require the version that was read.
    MessageAsRead,
    /// A change of a reaction adds one to the version of its message.
    ReactionVersion,
    /// A change of a message requires the number of the channel's last change.
    ChangeNumbered,
    /// A change of a message takes the number after the last one.
    ChangeFollows,
    /// A change of a message writes its record.
    ChangeRecorded,
    /// A change of a member requires the membership as it was read.
    MemberAsRead,
    /// A read mark requires a membership.
    ReadMarkOfMember,
    /// A channel keeps an owner.
    LastOwner,
    /// A change that ends subscriptions records it.
    PendingRecorded,
    /// A change that ends subscriptions changes the gate.
    GateWritten,
    /// The gate is read with the subscriptions.
    GateWithAudience,
    /// The gate is read by itself.
    GateAlone,
    /// A page of subscriptions ends where the next one begins.
    PageEnd,
    /// A page of an audience ends where the next one begins.
    AudiencePageEnd,
    /// All parts of a channel's subscriptions are read.
    PartsRead,
    /// A lease on a pending end excludes other functions until it ends.
    LeaseHeld,
    /// Accepting requires the invitation, and the channel as it was read.
    InvitationHeld,
    /// A membership ends the user's invitation.
    InvitationEnds,
    /// A user has a limited number of channels.
    ChannelsCounted,
    /// A connection gets first the channels that its user chose.
    ChosenFirst,
    /// A pending connection is among those of its user.
    PendingListed,
    /// A pending connection can be subscribed.
    PendingSubscribed,
    /// The subscriptions that listen to presence are stored.
    ListenersKept,
    /// A user is recorded as offline only if the record is as it was read.
    PresenceAsRead,
}

/// Set of removed rules.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Broken(u64);

impl Broken {
    pub(crate) fn insert(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    #[inline]
    pub(crate) fn contains(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }
}
