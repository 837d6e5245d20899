//! Access of a user to a channel, and the authority that a change checks in its transaction.

use crate::model::{
    channel::{Channel, Member, MemberRole, Visibility},
    error::{ChatError, Result},
    incarnation::ChannelKey,
};

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
