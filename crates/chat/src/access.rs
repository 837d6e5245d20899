//! Who may do what in a channel, and the proof of it that a change carries into its transaction.

use crate::{
    channel::{Channel, ChannelStore, Member, MemberRole, Visibility},
    error::{ChatError, Result},
    id::{ChannelId, UserId},
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

/// The channel, if `user` may read, send to and subscribe to it.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when there is none or it is private to others, [`ChatError::Store`].
pub async fn authorize_read(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId) -> Result<Access> {
    let found = channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    if found.visibility == Visibility::Public {
        return Ok(Access { channel: found, member: None });
    }
    with_member(channels, found, user).await
}

/// The channel, if `user` may see it, with the user's membership in any case.
///
/// # Errors
/// Those of [`authorize_read`].
pub async fn authorize_member(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId) -> Result<Access> {
    let found = channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    with_member(channels, found, user).await
}

/// Requires that `user` may see the channel of `key`, after its contents were read. The permission and the contents are not
/// read at one instant: a permission that ended in between does not cover what was read since.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Store`].
pub(crate) async fn require_still_readable(
    channels: &impl ChannelStore,
    key: &ChannelKey,
    user: &UserId,
) -> Result<()> {
    let access = authorize_read(channels, &key.channel_id, user).await?;
    if access.key() == *key { Ok(()) } else { Err(ChatError::ChannelNotFound) }
}

async fn with_member(channels: &impl ChannelStore, channel: Channel, user: &UserId) -> Result<Access> {
    let member = channels.member(&channel.key(), user).await?;
    if channel.visibility == Visibility::Private && member.is_none() {
        return Err(ChatError::ChannelNotFound);
    }
    Ok(Access { channel, member })
}

/// Follows one channel over the attempts at a change: an id that was taken anew meanwhile is another channel.
#[derive(Debug, Default)]
pub(crate) struct SameChannel(Option<ChannelKey>);

impl SameChannel {
    /// # Errors
    /// [`ChatError::ChannelNotFound`] when an earlier attempt met another incarnation.
    pub(crate) fn require(&mut self, channel: &Channel) -> Result<()> {
        let key = channel.key();
        if self.0.get_or_insert_with(|| key.clone()) == &key { Ok(()) } else { Err(ChatError::ChannelNotFound) }
    }
}
