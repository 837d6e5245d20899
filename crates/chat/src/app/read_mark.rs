//! Read marks: the `seq` up to which a member has read a channel. A mark never moves back.

use std::time::Duration;

use crate::{
    app::{access::authorize_read, delivery::Delivery},
    model::{
        error::{ChatError, Result, StoreError},
        event::EphemeralEvent,
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        limits::EPHEMERAL_PUSHES,
        seq::Seq,
        validation::Violation,
    },
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore, fan_out::FanOut,
        socket_gateway::SocketGateway,
    },
};

/// Moves a member's read mark to `seq`, unless the mark is already beyond it. Returns the resulting mark.
///
/// Sends the event `read.updated` to the member's own sockets. In a channel with read receipts it goes to the whole
/// audience, if this has at most `most` sockets.
///
/// # Errors
/// [`ChatError::ChannelNotFound`], [`ChatError::Forbidden`] when the user is no member, [`ChatError::Invalid`] when the
/// channel has no message `seq` yet, [`ChatError::Store`].
pub async fn mark_read<Connections, Sockets, Fan, Time>(
    channels: &impl ChannelStore,
    delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
    channel: &ChannelId,
    user: &UserId,
    seq: Seq,
    most: usize,
) -> Result<Seq>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    let began = delivery.clock.monotonic();
    let found = authorize_read(channels, channel, user).await?.channel;
    if seq > found.last_seq {
        let message = format!("must be the seq of a message of the channel, which has {}, or 0", found.last_seq);
        return Err(ChatError::invalid(Violation::new("seq", "unknown_message", message)));
    }
    let key = found.key();
    let marked = channels.mark_read(&key, user, seq).await?;
    let read_seq = marked.ok_or(ChatError::not_a_member("only members keep a read mark; join the channel first"))?;
    // A mark that was beyond `seq` has not moved.
    if read_seq == seq {
        let most = found.read_receipts.then_some(most);
        let event = EphemeralEvent::ReadUpdated { user_id: user.clone(), read_seq };
        // On the heap, because a nested future is part of its parent, and this one is large.
        if let Err(error) = Box::pin(send(delivery, &key, &event, user, began, most)).await {
            tracing::warn!(%error, channel_id = %channel, "a read mark was not sent");
        }
    }
    Ok(read_seq)
}

/// Sends the event of a read mark. `most`: the maximum audience of receipts, if the channel has them.
async fn send<Connections, Sockets, Fan, Time>(
    delivery: &Delivery<'_, Connections, Sockets, Fan, Time>,
    channel: &ChannelKey,
    event: &EphemeralEvent,
    user: &UserId,
    began: Duration,
    most: Option<usize>,
) -> Result<(), StoreError>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    if let Some(most) = most
        && delivery.deliver_to_few(channel, event, most, EPHEMERAL_PUSHES).await?.is_some()
    {
        return Ok(());
    }
    delivery.deliver_to_member(channel, event, user, began, EPHEMERAL_PUSHES).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
