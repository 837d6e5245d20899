//! The caller of a request, a user's access to a channel, and the authority that a change checks in its transaction.

use std::collections::BTreeSet;

use crate::model::{
    channel::{Channel, Member, MemberRole, Visibility},
    error::{ChatError, Forbidden, Result},
    id::{ChannelId, TenantId, UserId},
    incarnation::ChannelKey,
};

/// Caller of a request, as named by a verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// Tenant of the user's channels. `None`: the deployment has no tenants.
    pub tenant: Option<TenantId>,
    /// Channels that the token is restricted to. `None`: all that the user may see.
    pub allowed_channels: Option<BTreeSet<ChannelId>>,
}

impl Caller {
    /// Returns whether the token is valid for a channel, independent of the user's permissions there.
    #[must_use]
    pub fn reaches(&self, channel: &ChannelId) -> bool {
        self.allowed_channels.as_ref().is_none_or(|allowed| allowed.contains(channel))
    }

    /// Requires that the token is valid for a channel. A channel outside the token is reported as not found.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`].
    pub fn require_reach(&self, channel: &ChannelId) -> Result<()> {
        if self.reaches(channel) { Ok(()) } else { Err(ChatError::ChannelNotFound) }
    }

    /// Requires that the token allows a new channel with the id `chosen`, or with a generated id. A restricted token
    /// creates only channels that it names.
    ///
    /// # Errors
    /// [`ChatError::Forbidden`].
    pub fn require_creation(&self, chosen: Option<&ChannelId>) -> Result<()> {
        if chosen.map_or(self.allowed_channels.is_none(), |id| self.reaches(id)) {
            Ok(())
        } else {
            Err(ChatError::Forbidden(Forbidden::ChannelNotAllowed))
        }
    }
}

/// Authority: the state that allowed a change, as read. The store checks it in the change's transaction:
///
/// - The channel exists with this incarnation, visibility and archived flag.
/// - If the permission rests on a membership, the caller has this membership, with this role.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// Membership of the caller, if the permission rests on it.
    pub member: Option<&'a Member>,
}

/// Channel that a user may see, with the user's membership if it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The channel.
    pub channel: Channel,
    /// Membership. It is read for private channels, and on request.
    pub member: Option<Member>,
}

impl Access {
    /// Returns the caller's role.
    #[must_use]
    pub fn role(&self) -> Option<MemberRole> {
        self.member.as_ref().map(|member| member.role)
    }

    /// Returns the key of the channel.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        self.channel.key()
    }

    /// Returns the authority for a permission that rests on the membership.
    #[must_use]
    pub fn as_member(&self) -> Authority<'_> {
        Authority { channel: &self.channel, member: self.member.as_ref() }
    }

    /// Returns the authority for a permission of all users who may see the channel. In a public channel these are all
    /// users, in a private one its members.
    #[must_use]
    pub fn as_reader(&self) -> Authority<'_> {
        let is_private = self.channel.visibility == Visibility::Private;
        Authority { channel: &self.channel, member: self.member.as_ref().filter(|_| is_private) }
    }

    /// Requires that the channel is not archived.
    ///
    /// # Errors
    /// [`ChatError::ChannelArchived`].
    pub fn require_open(&self) -> Result<()> {
        if self.channel.archived_at.is_some() { Err(ChatError::ChannelArchived) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_token_reaches_and_creates_the_channels_that_it_names() {
        let (named, other): (ChannelId, ChannelId) = ("named".parse().unwrap(), "other".parse().unwrap());
        let mut caller = Caller { user_id: "alice".parse().unwrap(), tenant: None, allowed_channels: None };
        assert!(caller.require_reach(&other).is_ok() && caller.require_creation(None).is_ok());
        caller.allowed_channels = Some([named.clone()].into());
        assert!(caller.require_reach(&named).is_ok() && caller.require_creation(Some(&named)).is_ok());
        assert!(matches!(caller.require_reach(&other), Err(ChatError::ChannelNotFound)));
        for chosen in [None, Some(&other)] {
            assert!(matches!(caller.require_creation(chosen), Err(ChatError::Forbidden(_))));
        }
    }
}
