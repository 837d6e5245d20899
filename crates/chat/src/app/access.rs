//! Who may do what in a channel, and the proof of it that a change carries into its transaction.

use crate::{
    model::{
        access::Access,
        channel::{Channel, Visibility},
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
    },
    ports::channel_store::ChannelStore,
};

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
