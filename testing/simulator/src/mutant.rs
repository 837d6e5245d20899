//! Planted bugs, each of which the oracle must find.

use chat::memory::Rule;

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident $(takes out $rule:ident)?,)*) => {
        /// One planted bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the rule of the stores that the mutant removes, if it is one of theirs.
            pub(crate) fn rule(self) -> Option<Rule> {
                match self {
                    $(Self::$name => mutants!(@rule $($rule)?),)*
                }
            }
        }
    };
    (@rule $rule:ident) => { Some(Rule::$rule) };
    (@rule) => { None };
}

mutants! {
    /// An append does not check the number of the channel head.
    HeadUnchecked takes out HeadNumber,
    /// An append writes no idempotency record.
    KeyForgotten takes out RecordKept,
    /// An append that is repeated after a lost response does not recognize its own message.
    OwnMessageUnknown takes out OwnMessage,
    /// An append does not check that the sender is a member.
    MemberUnchecked takes out SenderIsMember,
    /// An environment keeps the tokens of its handful that it uses.
    TokensKept,
    /// An append in a thread does not check the root.
    RootUnchecked takes out RootHeld,
    /// The summary of a thread does not count its replies.
    SummaryForgotten takes out RepliesCounted,
    /// Every worker acquires the reply lease.
    ClaimUnchecked takes out ClaimHeld,
    /// Subscriptions are read from a stale replica.
    StaleSubscriptions takes out SubscriptionsCurrent,
    /// The end of a membership does not close the sockets.
    SocketsLeft,
    /// The delivery worker does not report a failed delivery.
    FailureSwallowed,
    /// A push that the quota of the gateway refuses counts as delivered.
    RefusalSwallowed,
    /// The stream continues after a batch that failed in part.
    CheckpointLost,
    /// A push batch counts as done before its dispatch succeeded.
    HandOverLost,
    /// A dispatch of a shard that failed counts as done.
    ShardLost,
    /// A delivery skips a page of the subscriptions.
    AudiencePageSkipped takes out AudiencePageEnd,
    /// A reader of subscriptions does not read the parts that were added later.
    PartUnread takes out PartsRead,
    /// A client skips one message when it reads the history.
    CursorOffByOne,
    /// A client ignores a gap.
    GapIgnored,
    /// A client does not read the history after a reconnect.
    NoCatchUp,
    /// A client keeps duplicates.
    DuplicatesKept,

    /// An append does not check the incarnation of the channel head.
    HeadById takes out HeadIncarnation,
    /// Subscriptions are stored by the channel's id, without its incarnation.
    SubscriptionsById takes out SubscriptionIncarnation,
    /// Idempotency records and reply leases are stored by the channel's id, without its incarnation.
    RecordsById takes out RecordIncarnation,
    /// The removal of a deleted channel deletes by the channel's id, without its incarnation.
    RemovalById takes out RemovalIncarnation,
    /// Stream records are delivered to the channel that has the id at delivery.
    StreamById,

    /// Members are added, changed and removed without a check of the authority.
    MemberAuthorityUnchecked takes out MemberAuthority,
    /// Settings are changed, and channels deleted, without a check of the authority.
    SettingsAuthorityUnchecked takes out SettingsAuthority,
    /// Messages are edited, deleted and reacted to, and replies cancelled, without a check of the authority.
    MessageAuthorityUnchecked takes out MessageAuthority,
    /// A message is edited or deleted without a check that it is unchanged since it was read.
    MessageNotAsRead takes out MessageAsRead,
    /// A reaction leaves the version of its message as it is.
    ReactionUnversioned takes out ReactionVersion,
    /// An edit ignores the version that its request requires.
    ConditionIgnored,
    /// A member is changed or removed without a check that the membership is unchanged since it was read.
    MemberNotAsRead takes out MemberAsRead,
    /// An acceptance does not check the invitation.
    InvitationUnchecked takes out InvitationHeld,
    /// A read mark is stored for a user who is not a member.
    ReadMarkUnchecked takes out ReadMarkOfMember,
    /// The last owner may leave.
    LastOwnerUnchecked takes out LastOwner,

    /// A connection is listed among its user's after the memberships are read.
    PendingUnlisted takes out PendingListed,
    /// A connection can be subscribed after its memberships are read.
    PendingUnsubscribed takes out PendingSubscribed,

    /// A change does not record its pending ends.
    EndForgotten takes out PendingRecorded,
    /// A change does not write the gate.
    GateNotWritten takes out GateWritten,
    /// A delivery does not check the gate.
    GateNotReadByDelivery takes out GateWithAudience,
    /// A function that pushes a batch does not check the gate.
    GateNotReadByShards takes out GateAlone,
    /// A delivery checks the gate once and not before each push.
    DecisionForEver,
    /// A request gets its response before the ends of its change are carried out.
    AnsweredAtOnce,
    /// The end of subscriptions skips a page.
    PageSkipped takes out PageEnd,

    /// A change does not require the number of the channel's last change: numbers are taken twice.
    NumberUnchecked takes out ChangeNumbered,
    /// A change takes the number after the next one.
    NumberSkipped takes out ChangeFollows,
    /// A change writes no record.
    ChangeUnrecorded takes out ChangeRecorded,
    /// An edit that is tried again keeps the number of its first attempt.
    NumberKept,
    /// The `rev` of a page is read after its messages.
    PageRevLate,
    /// An event of merged changes loses its first number.
    FirstNumberLost,
    /// A client ignores a gap of `rev`.
    ChangeGapIgnored,
    /// A client takes the `rev` of a page that it joins, and does not read the changes before it.
    ChangesSkipped,

    /// A piece of a draft is shown and not stored.
    DraftUnstored takes out DraftStored,
    /// A model that continues a draft repeats its words.
    WordsRepeated,
    /// A worker begins another draft, although the model continues replies.
    DraftAbandoned,
    /// A client ignores a gap of a draft.
    DraftGapIgnored,
    /// A client ends a draft by its last frame only, and not by the message.
    DraftKept,

    /// The sockets that get an arrival are not recorded: in a channel that has grown, no socket gets the departure.
    DepartureUntold takes out ListenersKept,
}
