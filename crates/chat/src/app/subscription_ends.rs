//! Ends of subscriptions that follow from a change: a channel was deleted or made private, or a member was removed.
//!
//! The change records a [`PendingEnd`] in its own transaction, and closes the channel's
//! [`Gate`](crate::model::connection::Gate). From then on delivery refuses the ended subscriptions. The request that
//! made the change ends as many as it can within [`SHUT_OUT_DURATION`]. The maintenance function ends the rest, page by
//! page. A function that stops leaves a record from which the next one continues.
//!
//! A delivery uses a gate for at most [`AUTHORITY_DURATION`](crate::model::limits::AUTHORITY_DURATION). One push takes
//! at most [`PUSH_DURATION`](crate::model::limits::PUSH_DURATION). [`SHUT_OUT_DURATION`] is the sum. A request that
//! waits that long responds after every push that was admitted before the change.
//!
//! A socket receives last frames before it is closed: the change, unless the user could not know it, and the reason.
//! They are not certain to arrive, and take no part in the promise above.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use futures::{
    StreamExt, TryStreamExt,
    future::{Either, select},
};

use crate::{
    app::closing::push_last_frames,
    model::{
        connection::{Gate, Subscription},
        error::StoreError,
        event::EphemeralEvent,
        frame::{ClosingReason, closing_frame, ephemeral_frame},
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        limits::{ENDING_PAGE, OPENING_SOCKET_DURATION, PENDING_LEASE_DURATION, PUSH_CONCURRENCY, SHUT_OUT_DURATION},
        pending_end::{EndCause, PendingEnd},
        time::Timestamp,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        connection_store::ConnectionStore,
        deleted_channels::DeletedChannels,
        pending_ends::PendingEnds,
        socket_gateway::{HANDSHAKE_DURATION, Pushed, SocketGateway},
    },
};

/// Interval between two attempts to close a socket that is still being opened.
const OPENING_SOCKET_INTERVAL: Duration = Duration::from_millis(50);

/// Ends of subscriptions, with the ports that carry them out.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionEnds<'a, Channels, Connections, Sockets, Time> {
    /// Channels, members and pending ends.
    pub channels: &'a Channels,
    /// Connections and subscriptions.
    pub connections: &'a Connections,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Time.
    pub clock: &'a Time,
}

impl<Channels, Connections, Sockets, Time> SubscriptionEnds<'_, Channels, Connections, Sockets, Time>
where
    Channels: ChannelStore + PendingEnds,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Time: Clock,
{
    /// Ends the subscriptions that a change has just recorded, as far as [`SHUT_OUT_DURATION`] allows. When this
    /// returns, no socket receives an event that the change forbids. Returns `true` if nothing remains for the
    /// maintenance function.
    pub async fn finish_now(&self, pending: &PendingEnd) -> bool {
        let ends_at = self.clock.monotonic() + SHUT_OUT_DURATION;
        let mut progress = pending.clone();
        let ended = {
            let work = pin!(self.end_subscriptions(&mut progress, None));
            let timer = pin!(self.clock.sleep(SHUT_OUT_DURATION));
            match select(work, timer).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Ok(false),
            }
        };
        if let Err(error) = &ended {
            tracing::warn!(%error, channel_id = %pending.channel.channel_id, "ending subscriptions failed");
        }
        let is_ended = matches!(ended, Ok(true));
        if !is_ended {
            let wait = ends_at.saturating_sub(self.clock.monotonic());
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
        }
        let kept = if is_ended && pending.cause != EndCause::ChannelDeleted {
            self.channels.finish(pending).await.map(|()| false)
        } else {
            // Without a lease the maintenance function continues at once.
            progress.lease_until = Timestamp::from_millis(0);
            self.channels.advance(&progress).await.map(|()| true)
        };
        // If the record stays, with a lease or without, the maintenance function finishes it.
        !kept.unwrap_or(true)
    }

    /// Works on a leased record until it is done (`true`) or [`Clock::monotonic`] has reached `until`.
    ///
    /// # Errors
    /// When a store or the gateway fails. The record stays, and the next function continues from it.
    pub async fn resume(
        &self,
        mut pending: PendingEnd,
        deleted: &impl DeletedChannels,
        until: Duration,
    ) -> Result<bool, StoreError> {
        if !self.end_subscriptions(&mut pending, Some(until)).await? {
            return Ok(false);
        }
        if pending.cause == EndCause::ChannelDeleted {
            while !deleted.remove_some(&pending.channel).await? {
                if self.clock.monotonic() >= until {
                    return Ok(false);
                }
                self.keep(&mut pending).await?;
            }
        }
        self.channels.finish(&pending).await?;
        Ok(true)
    }

    /// Extends the lease before it expires, and stores the progress with it.
    async fn keep(&self, pending: &mut PendingEnd) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now.plus(PENDING_LEASE_DURATION / 2) >= pending.lease_until {
            pending.lease_until = now.plus(PENDING_LEASE_DURATION);
            self.channels.advance(pending).await?;
        }
        Ok(())
    }

    /// Ends the subscriptions of a record. Returns `false` if some remain at `until`.
    async fn end_subscriptions(&self, pending: &mut PendingEnd, until: Option<Duration>) -> Result<bool, StoreError> {
        if let EndCause::MemberRemoved { user_id } = &pending.cause {
            // A user who has become a member again keeps the subscriptions.
            let is_back = until.is_some() && self.channels.member(&pending.channel, user_id).await?.is_some();
            if !is_back {
                self.end_user(&pending.channel, user_id).await?;
            }
            return Ok(true);
        }
        let told = match pending.cause {
            // The deletion closes the gate for all. Users whom the gate refused before learn nothing of the deletion.
            EndCause::ChannelDeleted => {
                let gate = self.connections.gate(&pending.channel, self.clock.now()).await?;
                Some(Gate { closed: false, ..gate })
            }
            // A stranger learns nothing of a channel that was made private. The end of a member has its own frames.
            EndCause::MadePrivate | EndCause::MemberRemoved { .. } => None,
        };
        loop {
            let page = self
                .connections
                .subscriptions_page(&pending.channel, pending.after.as_ref(), ENDING_PAGE, self.clock.now())
                .await?;
            let ending = match pending.cause {
                EndCause::MadePrivate => self.non_members(&pending.channel, page.subscriptions).await?,
                _ => page.subscriptions,
            };
            self.revoke_all(&pending.channel, ending, told.as_ref()).await?;
            let Some(next) = page.next_after else { return Ok(true) };
            pending.after = Some(next);
            if until.is_some_and(|until| self.clock.monotonic() >= until) {
                self.channels.advance(pending).await?;
                return Ok(false);
            }
            self.keep(pending).await?;
        }
    }

    /// Returns the subscriptions of a page whose users are no members. The other subscriptions are marked as those of
    /// members.
    async fn non_members(
        &self,
        channel: &ChannelKey,
        subscriptions: Vec<Subscription>,
    ) -> Result<Vec<Subscription>, StoreError> {
        let users: BTreeSet<&UserId> = subscriptions.iter().map(|one| &one.user_id).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let members = self.channels.members_among(channel, &users).await?;
        let members: BTreeSet<UserId> = members.into_iter().map(|member| member.user_id).collect();
        let (of_members, strangers): (Vec<_>, Vec<_>) =
            subscriptions.into_iter().partition(|one| members.contains(&one.user_id));
        let unconfirmed = of_members.into_iter().filter(|one| !one.member).map(Ok);
        futures::stream::iter(unconfirmed)
            .try_for_each_concurrent(PUSH_CONCURRENCY, async |one: Subscription| {
                self.connections.confirm_member(channel, &one).await?;
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(strangers)
    }

    /// Ends the subscriptions of a user's connections to a channel, and closes their sockets.
    ///
    /// # Errors
    /// When a store or the gateway fails.
    pub async fn end_user(&self, channel: &ChannelKey, user: &UserId) -> Result<(), StoreError> {
        let connections = self.connections.connections_of(user, self.clock.now()).await?;
        futures::stream::iter(connections)
            .map(async |connection| {
                let has_it = self.connections.is_subscribed(channel, &connection.key).await?;
                // A handshake under way may have removed its subscription itself, after a delivery had read it.
                let is_new = self.clock.now() < connection.key.connected_at.plus(HANDSHAKE_DURATION);
                let one = connection.subscription(user);
                if has_it {
                    self.end_of_member(channel, one).await?;
                } else if is_new {
                    // It may never have received the channel: its token may not reach it.
                    self.end_one(channel, one, &last_frames(&channel.channel_id, None)).await?;
                }
                Ok::<_, StoreError>(())
            })
            .buffer_unordered(PUSH_CONCURRENCY)
            .try_collect::<()>()
            .await
    }

    /// Ends subscriptions. Those that the gate `told` admits receive the event that the channel was deleted.
    async fn revoke_all(
        &self,
        channel: &ChannelKey,
        ending: Vec<Subscription>,
        told: Option<&Gate>,
    ) -> Result<(), StoreError> {
        let of_deletion = last_frames(&channel.channel_id, Some(&EphemeralEvent::ChannelDeleted));
        let reason = last_frames(&channel.channel_id, None);
        let (of_deletion, reason) = (of_deletion.as_slice(), reason.as_slice());
        futures::stream::iter(ending)
            .map(|one| {
                let is_told = told.is_some_and(|gate| gate.admits(&one.user_id, one.member));
                self.end_one(channel, one, if is_told { of_deletion } else { reason })
            })
            .buffer_unordered(PUSH_CONCURRENCY)
            .try_collect::<()>()
            .await
    }

    /// Ends a subscription whose user is no member any longer.
    pub(crate) async fn end_of_member(&self, channel: &ChannelKey, one: Subscription) -> Result<(), StoreError> {
        let event = EphemeralEvent::MemberRemoved(one.user_id.clone());
        self.end_one(channel, one, &last_frames(&channel.channel_id, Some(&event))).await
    }

    /// Closes the socket and then removes the subscription, so that a repeated call finds an interrupted one. The gate
    /// refuses the subscription meanwhile. An open socket without its subscription would miss events unnoticed after
    /// the user rejoins.
    async fn end_one(&self, channel: &ChannelKey, one: Subscription, last: &[String]) -> Result<(), StoreError> {
        self.close(&one, last).await?;
        self.connections.unsubscribe(channel, &one.connection).await?;
        Ok(())
    }

    /// Pushes the last frames to a socket, and closes it. A socket cannot be closed before the end of its handshake,
    /// and a push under way could still reach it. So this waits, for at most [`OPENING_SOCKET_DURATION`].
    async fn close(&self, one: &Subscription, last: &[String]) -> Result<(), StoreError> {
        let until = self.clock.monotonic() + OPENING_SOCKET_DURATION;
        let handshake_ends_at = one.connection.connected_at.plus(HANDSHAKE_DURATION);
        let mut pushed = None;
        loop {
            if pushed != Some(Pushed::Delivered) {
                pushed = push_last_frames(self.sockets, self.clock, &one.connection.id, last).await;
            }
            let is_gone = pushed == Some(Pushed::Gone) && self.clock.now() >= handshake_ends_at;
            if is_gone || self.sockets.close(&one.connection.id).await? {
                return Ok(());
            }
            let now = self.clock.now();
            if self.clock.monotonic() >= until || now >= handshake_ends_at {
                return Ok(());
            }
            // The handshake was refused, or the socket is gone.
            let of_user = self.connections.connections_of(&one.user_id, now).await?;
            if !of_user.iter().any(|other| other.key == one.connection) {
                return Ok(());
            }
            self.clock.sleep(OPENING_SOCKET_INTERVAL).await;
        }
    }
}

/// Returns the last frames of sockets that are closed: an event of the channel, if there is one, and the reason.
fn last_frames(channel: &ChannelId, event: Option<&EphemeralEvent>) -> Vec<String> {
    let event = event.and_then(|event| ephemeral_frame(channel, event).ok());
    event.into_iter().chain([closing_frame(ClosingReason::Removed)]).collect()
}
