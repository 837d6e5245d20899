//! Reading a channel back.

use crate::{
    channel::{Channel, ChannelStore, Visibility},
    clock::Clock,
    error::{ChatError, Result},
    id::{ChannelId, UserId},
    message::{Message, MessageStore, Range},
};

/// A page of history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The messages, in the range's order.
    pub messages: Vec<Message>,
    /// Where to go on, when there is more.
    pub next: Option<Range>,
}

/// The channel, if `user` may read, send to and subscribe to it.
///
/// # Errors
/// [`ChatError::ChannelNotFound`] when there is none or it is private to others, [`ChatError::Store`].
pub async fn readable_channel(channels: &impl ChannelStore, channel: &ChannelId, user: &UserId) -> Result<Channel> {
    let found = channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
    if found.visibility == Visibility::Private && channels.member(channel, user).await?.is_none() {
        return Err(ChatError::ChannelNotFound);
    }
    Ok(found)
}

/// One message of a channel that `user` may read.
///
/// # Errors
/// Those of [`readable_channel`], [`ChatError::MessageNotFound`].
pub async fn one_message(
    channels: &impl ChannelStore,
    messages: &impl MessageStore,
    clock: &impl Clock,
    channel: &ChannelId,
    user: &UserId,
    seq: u64,
) -> Result<Message> {
    readable_channel(channels, channel, user).await?;
    messages.message(channel, seq, clock.now()).await?.ok_or(ChatError::MessageNotFound)
}

/// Up to `limit` answers to a message of a channel that `user` may read, after the number `after`, the oldest first.
///
/// # Errors
/// Those of [`one_message`].
pub async fn replies(
    channels: &impl ChannelStore,
    messages: &impl MessageStore,
    clock: &impl Clock,
    (channel, seq): (&ChannelId, u64),
    user: &UserId,
    after: u64,
    limit: u16,
) -> Result<HistoryPage> {
    // A thread outlives its first message, which may have been deleted or have expired.
    let found = readable_channel(channels, channel, user).await?;
    if seq > found.last_seq {
        return Err(ChatError::MessageNotFound);
    }
    if after >= found.last_seq {
        return Ok(HistoryPage { messages: Vec::new(), next: None });
    }
    let mut page = messages.replies(channel, seq, after, limit + 1, clock.now()).await?;
    let more = page.len() > usize::from(limit);
    page.truncate(usize::from(limit));
    let next = page.last().filter(|_| more).map(|last| Range::After(last.seq));
    Ok(HistoryPage { messages: page, next })
}

/// Up to `limit` messages of a channel that `user` may read.
///
/// # Errors
/// Those of [`readable_channel`].
pub async fn history(
    channels: &impl ChannelStore,
    messages: &impl MessageStore,
    clock: &impl Clock,
    channel: &ChannelId,
    user: &UserId,
    range: Range,
    limit: u16,
) -> Result<HistoryPage> {
    readable_channel(channels, channel, user).await?;
    // One more than asked for tells whether there is more.
    let mut page = messages.messages(channel, range, limit + 1, clock.now()).await?;
    let more = page.len() > usize::from(limit);
    page.truncate(usize::from(limit));
    let next = page.last().filter(|_| more).map(|last| match range {
        Range::After(_) => Range::After(last.seq),
        Range::Newest | Range::Before(_) => Range::Before(last.seq),
    });
    Ok(HistoryPage { messages: page, next })
}
