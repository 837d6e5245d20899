//! Authorization in a channel, and the authority that a change checks in its transaction.

use crate::{
    model::{
        access::Access,
        channel::{Channel, Visibility},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        rev::Rev,
    },
    ports::channel_store::ChannelStore,
};

/// Returns the channel, if `user` may read, send to and subscribe to it.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when there is none or the user is no member of a private one, [`ChatError::Store`].
pub async fn authorize_read(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId) -> Result<Access> {
    let found = channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    readable(channels, found, user).await
}

/// Returns the channel, if `user` may read, send to and subscribe to it, and the number of its last change.
///
/// # Errors
/// Those of [`authorize_read`].
pub async fn authorize_read_with_rev(
    channels: &impl ChannelStore,
    channel: &ChannelId,
    user: &UserId,
) -> Result<(Access, Rev)> {
    let (found, rev) = channels.channel_with_rev(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    Ok((readable(channels, found, user).await?, rev))
}

/// Returns the access of `user` to a channel. Reads the membership only if the channel is private.
async fn readable(channels: &impl ChannelStore, found: Channel, user: &UserId) -> Result<Access> {
    if found.visibility == Visibility::Public {
        return Ok(Access { channel: found, member: None });
    }
    with_member(channels, found, user).await
}

/// Returns the channel, if `user` may see it, and always reads the user's membership.
///
/// # Errors
/// Those of [`authorize_read`].
pub async fn authorize_member(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId) -> Result<Access> {
    let found = channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    with_member(channels, found, user).await
}

/// Requires that `user` may still see the channel of `key`, after its contents were read. Permission and contents are
/// not read at one instant. A permission that ended in between does not cover contents that were read after its end.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Store`].
pub(crate) async fn require_still_readable(
    channels: &impl ChannelStore,
    key: &ChannelKey,
    user: &UserId,
) -> Result<()> {
    still_readable(channels, key, user).await.map(|_| ())
}

/// Returns the channel of `key` as it is after its contents were read: see [`require_still_readable`].
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Store`].
pub(crate) async fn still_readable(channels: &impl ChannelStore, key: &ChannelKey, user: &UserId) -> Result<Channel> {
    let access = authorize_read(channels, &key.channel_id, user).await?;
    if access.key() == *key { Ok(access.channel) } else { Err(ChatError::ChannelNotFound) }
}

async fn with_member(channels: &impl ChannelStore, channel: Channel, user: &UserId) -> Result<Access> {
    let member = channels.member(&channel.key(), user).await?;
    if channel.visibility == Visibility::Private && member.is_none() {
        return Err(ChatError::ChannelNotFound);
    }
    Ok(Access { channel, member })
}

/// Returns a channel with the instructions of its agent, which reads of a channel leave out. They are at least as new as
/// the channel.
///
/// # Errors
/// [`ChatError::Store`].
pub(crate) async fn with_instructions(channels: &impl ChannelStore, channel: Channel) -> Result<Channel> {
    if !channel.agent.instructions.is_unread() {
        return Ok(channel);
    }
    channels.with_instructions(vec![channel]).await?.pop().ok_or(ChatError::ChannelNotFound)
}

/// Requires all attempts at one change to meet the same incarnation. An id may be reused between two attempts.
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
