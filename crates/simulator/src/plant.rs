//! Things to build wrong, each of which the oracle has to find.

/// One thing that is built wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// An append does not look at the number that the channel's head has by now.
    HeadUnchecked,
    /// An append writes no record of its idempotency key.
    KeyForgotten,
    /// An append that is repeated after a lost answer does not know its own message again.
    OwnMessageUnknown,
    /// An append does not look whether the sender is a member.
    MemberUnchecked,
    /// A claim is given to whoever asks.
    ClaimUnchecked,
    /// Subscriptions are read from a replica that is behind.
    StaleSubscriptions,
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
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::HeadUnchecked,
        Self::KeyForgotten,
        Self::OwnMessageUnknown,
        Self::MemberUnchecked,
        Self::ClaimUnchecked,
        Self::StaleSubscriptions,
        Self::SocketsLeft,
        Self::FailureSwallowed,
        Self::CheckpointLost,
        Self::HandOverLost,
        Self::CursorOffByOne,
        Self::GapIgnored,
        Self::NoCatchUp,
        Self::DuplicatesKept,
    ];
}
