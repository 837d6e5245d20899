//! The identity of a caller with a verified token.

use std::collections::BTreeSet;

use chat::model::{access::Caller, time::Timestamp};

use crate::AuthError;

/// A caller with a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user, the tenant and the allowed channels.
    pub caller: Caller,
    /// The token's scopes. `None` means that the issuer's tokens have no scopes, and everything is allowed.
    pub scopes: Option<BTreeSet<String>>,
    /// The token's `exp`. Read through [`Identity::open_until`] and [`Identity::expires_at`].
    pub(crate) expires_at: Timestamp,
}

/// The scopes of tokens whose issuer is configured with a `scope_claim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `chat:read`: reading channels, members and messages, and connecting a socket.
    Read,
    /// `chat:write`: sending, changing and reacting to messages, read marks and typing.
    Write,
    /// `chat:manage`: creating and changing channels, and their members.
    Manage,
    /// `chat:add`: adding members without an invitation, if the deployment requires a scope for it.
    Add,
}

impl Scope {
    /// Returns the scope as it is written in a token.
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
    /// Returns the end of sockets and tickets that the token opens, which outlive the request. It is the token's `exp`
    /// without the leeway of requests, since delivery ends then.
    ///
    /// # Errors
    /// Fails with [`AuthError::Expired`] if that end is not after `now`, because the socket would receive nothing.
    pub fn open_until(&self, now: Timestamp) -> Result<Timestamp, AuthError> {
        if now < self.expires_at {
            return Ok(self.expires_at);
        }
        tracing::warn!(claim = "exp", fault = "expired", "token refused");
        Err(AuthError::Expired)
    }

    /// Returns the token's `exp`, without the leeway of requests. It may be in the past by up to that leeway. Sockets
    /// and tickets, which outlive the request, end at [`Identity::open_until`].
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns whether the token allows `scope`, which the request needs. A refusal is logged.
    #[must_use]
    pub fn permits(&self, scope: Scope) -> bool {
        let is_permitted = self.has(scope);
        if !is_permitted {
            tracing::warn!(scope = scope.as_str(), fault = "missing_scope", "token refused");
        }
        is_permitted
    }

    /// Returns whether the token allows `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope.as_str()))
    }
}
