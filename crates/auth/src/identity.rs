//! What is known of a caller whose token has been verified.

use std::collections::BTreeSet;

use chat::model::{
    id::{ChannelId, TenantId, UserId},
    time::Timestamp,
};

use crate::AuthError;

/// A caller whose token has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// The tenant in which the user's channels are; `None`: the deployment has one world for all.
    pub tenant: Option<TenantId>,
    /// What the token allows; `None`: the issuer's tokens carry no scopes, and everything is allowed.
    pub scopes: Option<BTreeSet<String>>,
    /// The channels that the token is limited to; `None`: all that the user may see.
    pub channels: Option<BTreeSet<ChannelId>>,
    /// The token's `exp`. Read through [`Identity::open_until`].
    pub(crate) expires_at: Timestamp,
}

/// What a token may allow, when its issuer is configured with a `scope_claim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `chat:read`: reading channels, members and messages, and connecting a socket.
    Read,
    /// `chat:write`: sending, changing and reacting to messages, and saying what one has read or is typing.
    Write,
    /// `chat:manage`: creating and changing channels, and their members.
    Manage,
    /// `chat:add`: making others members without asking them, where the deployment asks for a scope for that.
    Add,
}

impl Scope {
    /// As it stands in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "chat:read",
            Self::Write => "chat:write",
            Self::Manage => "chat:manage",
            Self::Add => "chat:add",
        }
    }
}

impl Identity {
    /// The end of what the token opens and what outlives the request: sockets, tickets, renewals of sockets. It is the
    /// token's `exp` without the leeway that requests get, since delivery ends there.
    ///
    /// # Errors
    /// [`AuthError::Expired`] if that end has come by `now`: the socket would be opened and get nothing.
    pub fn open_until(&self, now: Timestamp) -> Result<Timestamp, AuthError> {
        if now < self.expires_at { Ok(self.expires_at) } else { Err(AuthError::Expired) }
    }

    /// Whether the token allows `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope.as_str()))
    }

    /// Whether the token reaches a channel, whatever its user may do there.
    #[must_use]
    pub fn reaches(&self, channel: &ChannelId) -> bool {
        self.channels.as_ref().is_none_or(|channels| channels.contains(channel))
    }
}
