//! Read marks: the `seq` up to which a member has read a channel. A mark never moves back.

use crate::{
    app::access::authorize_read,
    model::{
        error::{ChatError, Result},
        id::{ChannelId, UserId},
        seq::Seq,
        validation::Violation,
    },
    ports::channel_store::ChannelStore,
};

/// Moves a member's read mark to `seq`, unless the mark is already beyond it. Returns the resulting mark.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`] when the user is no member, [`ChatError::Invalid`] when the
/// channel has no message `seq` yet, [`ChatError::Store`].
pub async fn mark_read(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId, seq: Seq) -> Result<Seq> {
    let found = authorize_read(channels, channel, user).await?.channel;
    if seq > found.last_seq {
        let message = format!("must be the seq of a message of the channel, which has {}, or 0", found.last_seq);
        return Err(ChatError::invalid(Violation::new("seq", "unknown_message", message)));
    }
    channels
        .mark_read(&found.key(), user, seq)
        .await?
        .ok_or(ChatError::not_a_member("only members keep a read mark; join the channel first"))
}
