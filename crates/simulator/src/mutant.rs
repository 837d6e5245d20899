//! Things to build wrong, each of which the oracle has to find.

use chat::memory::Rule;

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident $(takes out $rule:ident)?,)*) => {
        /// One thing that is built wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The rule of the stores that it takes out, if it is built wrong there.
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
    /// An append does not look at the number that the channel's head has by now.
    HeadUnchecked takes out HeadNumber,
    /// An append writes no record of its idempotency key.
    KeyForgotten takes out RecordKept,
    /// An append that is repeated after a lost answer does not know its own message again.
    OwnMessageUnknown takes out OwnMessage,
    /// An append does not look whether the sender is a member.
    MemberUnchecked takes out SenderIsMember,
    /// A claim is given to every worker that asks.
    ClaimUnchecked takes out ClaimHeld,
    /// Subscriptions are read from a replica that is behind.
    StaleSubscriptions takes out SubscriptionsCurrent,
    /// The end of a membership leaves the sockets open.
    SocketsLeft,
    /// The delivery worker reports nothing when a delivery has failed.
    FailureSwallowed,
    /// The stream goes on behind a batch of which a part has failed.
    CheckpointLost,
    /// What is handed over is done before it is kept.
    HandOverLost,
    /// A client asks for what comes after the next message.
    CursorOffByOne,
    /// A client takes what comes after a gap.
    GapIgnored,
    /// A client that comes back does not ask for what it missed.
    NoCatchUp,
    /// A client takes what it has already.
    DuplicatesKept,

    /// An append does not look at the incarnation of the channel's head.
    HeadById takes out HeadIncarnation,
    /// Subscriptions know the id of their channel only.
    SubscriptionsById takes out SubscriptionIncarnation,
    /// Records of requests and replies know the id of their channel only.
    RecordsById takes out RecordIncarnation,
    /// The removal of a deleted channel goes by its id.
    RemovalById takes out RemovalIncarnation,
    /// Records of the stream are delivered to the channel that has the id by then.
    StreamById,

    /// Members are added, changed and removed without a check of what was read before.
    MemberAuthorityUnchecked takes out MemberAuthority,
    /// Settings are changed, and channels deleted, without a check of what was read before.
    SettingsAuthorityUnchecked takes out SettingsAuthority,
    /// Messages are edited, deleted and reacted to, and replies stopped, without a check of what was read before.
    MessageAuthorityUnchecked takes out MessageAuthority,
    /// A member is changed or removed without a check that the membership is as it was read.
    MemberNotAsRead takes out MemberAsRead,
    /// An invitation is not checked when it is accepted.
    InvitationUnchecked takes out InvitationHeld,
    /// A read mark is kept for users who are no members.
    ReadMarkUnchecked takes out ReadMarkOfMember,
    /// The last owner may leave.
    LastOwnerUnchecked takes out LastOwner,

    /// A change does not record the ends that follow from it.
    EndForgotten takes out PendingRecorded,
    /// A change does not close the gate.
    GateNotWritten takes out GateWritten,
    /// A delivery does not look at the gate.
    GateNotReadByDelivery takes out GateWithAudience,
    /// A function that goes on with a broadcast does not look at the gate.
    GateNotReadByShards takes out GateAlone,
    /// A delivery decides by one look at the gate for as long as it lasts.
    DecisionForEver,
    /// A request is answered without waiting for what its change ends.
    AnsweredAtOnce,
    /// The end of subscriptions skips a page.
    PageSkipped takes out PageEnd,
}
