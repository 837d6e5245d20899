//! What a user may do in a channel, as it was read, and the proof that a change carries into its transaction.

use crate::model::{
    channel::{Channel, Member, MemberRole, Visibility},
    error::{ChatError, Result},
    incarnation::ChannelKey,
};

/// What allowed a change, as it was read. The store checks it again in the transaction of the change: the channel exists in
/// this incarnation, with this visibility, archived or not as read; and the caller's membership, where the permission
/// rests on it, is this one, with this role.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// The caller's membership, where the permission rests on it.
    pub member: Option<&'a Member>,
}

/// A channel that a user may see, and the user's membership as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The channel.
    pub channel: Channel,
    /// The membership. Read for private channels, and where it was asked for.
    pub member: Option<Member>,
}

impl Access {
    /// The caller's role.
    #[must_use]
    pub fn role(&self) -> Option<MemberRole> {
        self.member.as_ref().map(|member| member.role)
    }

    /// The key of the channel.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        self.channel.key()
    }

    /// The proof of a permission that rests on the membership.
    #[must_use]
    pub fn as_member(&self) -> Authority<'_> {
        Authority { channel: &self.channel, member: self.member.as_ref() }
    }

    /// The proof of a permission of everybody who may see the channel: in a public channel any user, in a private one its
    /// members.
    #[must_use]
    pub fn as_reader(&self) -> Authority<'_> {
        let is_private = self.channel.visibility == Visibility::Private;
        Authority { channel: &self.channel, member: self.member.as_ref().filter(|_| is_private) }
    }

    /// Requires a channel that takes changes.
    ///
    /// # Errors
    /// [`ChatError::ChannelArchived`].
    pub fn require_open(&self) -> Result<()> {
        if self.channel.archived_at.is_some() { Err(ChatError::ChannelArchived) } else { Ok(()) }
    }
}
