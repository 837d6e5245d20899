//! Port that limits the rate of users' actions.

use std::future::Future;

use crate::model::{
    error::StoreError,
    id::UserId,
    incarnation::ChannelKey,
    time::Timestamp,
    token_bucket::{Bucket, Taken},
};

/// Kind of action with its own token bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitedAction<'a> {
    /// Sending, changing and reacting to messages, in all channels together.
    Send,
    /// Opening sockets, and requesting tickets for them.
    Connect,
    /// Sending typing events in one channel.
    Typing(&'a ChannelKey),
    /// Sending typing events in all channels together.
    TypeAnywhere,
    /// Creating channels, successfully or not.
    Create,
    /// Adding members (including oneself), inviting them, and changing their roles.
    AddMember,
    /// Changing and deleting channels, and ending memberships and invitations. Each of them may end many subscriptions.
    Change,
    /// Listing the presence of a channel.
    LookAtPresence,
    /// Listing channels. A page reads all channels of the user.
    ListChannels,
    /// Renewing the tokens of open sockets.
    Renew,
    /// Moving read marks.
    MarkRead,
    /// Send requests that store no message: replayed and refused ones. These take no token of `Send`.
    SendNothing,
    /// Requests for messages or changes that wait for some.
    Wait,
    /// Replies of the agent to one user, in all channels together.
    AgentReply,
    /// Replies of the agent in one channel.
    Reply(&'a ChannelKey),
}

impl LimitedAction<'_> {
    /// Returns the part of a key that distinguishes the buckets of one user, or of one channel.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Connect => "connect",
            Self::Typing(_) => "type",
            Self::TypeAnywhere => "type-anywhere",
            Self::Create => "create",
            Self::AddMember => "add-member",
            Self::Change => "change",
            Self::LookAtPresence => "presence",
            Self::ListChannels => "list-channels",
            Self::Renew => "renew",
            Self::MarkRead => "read",
            Self::SendNothing => "send-nothing",
            Self::Wait => "wait",
            Self::AgentReply => "ask",
            Self::Reply(_) => "reply",
        }
    }
}

/// Store of token buckets.
pub trait RateLimiter: Send + Sync {
    /// Takes a token, if the bucket has one.
    fn take(
        &self,
        user: &UserId,
        action: &LimitedAction<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> impl Future<Output = Result<Taken, StoreError>> + Send;
}
