//! Limits how often a user acts.

use std::{future::Future, time::Duration};

use crate::model::{error::StoreError, id::UserId, incarnation::ChannelKey, time::Timestamp, token_bucket::Bucket};

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitedAction<'a> {
    /// Sending, changing and reacting to messages, in all channels together.
    Send,
    /// Opening sockets, and asking for tickets to do so.
    Connect,
    /// Saying that one is typing in a channel.
    Typing(&'a ChannelKey),
    /// Saying that one is typing, in all channels together.
    TypeAnywhere,
    /// Creating channels, with success or not.
    Create,
    /// Adding members, oneself among them, inviting them, and changing their roles.
    AddMember,
    /// Changing and deleting channels, ending memberships and invitations: each may end many subscriptions.
    Change,
    /// Looking at who is present.
    LookAtPresence,
    /// Giving open sockets other tokens.
    Renew,
    /// Moving read marks.
    MarkRead,
    /// Asking to send what stores no message: repeated requests, and refused ones. Those take no token of `Send`.
    SendNothing,
    /// Getting replies of the agent, in all channels together.
    AgentReply,
    /// Replies of the agent in a channel.
    Reply(&'a ChannelKey),
}

impl LimitedAction<'_> {
    /// A name for the part of a key that tells the buckets of one user, or of one channel, apart.
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
            Self::Renew => "renew",
            Self::MarkRead => "read",
            Self::SendNothing => "send-nothing",
            Self::AgentReply => "ask",
            Self::Reply(_) => "reply",
        }
    }
}

/// Where buckets are kept.
pub trait RateLimiter: Send + Sync {
    /// Takes a token. Otherwise: how long until there is one.
    fn take(
        &self,
        user: &UserId,
        action: &LimitedAction<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;
}
