//! Joining and leaving channels, and what that does to live sockets.
//!
//! No event of a channel reaches a socket after the answer that ended its membership: the membership goes first,
//! then the subscriptions of the user's connections, then the sockets that had them are closed, then comes the
//! answer. A push already under way meets a closed socket, and the client comes back to what is left. A connection
//! made at the same moment was announced before it read the memberships ([`crate::connect`]): either it has read the
//! end of this one, or it is found here, and its socket is closed as soon as it is open.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::{
    channel::{Channel, ChannelStore, Member, MemberAdded, MemberChanged, MemberPage, MemberRole, Visibility},
    clock::{Clock, Timestamp},
    connection::{ConnectionStore, UserConnection},
    delivery::SocketPusher,
    error::{ChatError, Result, StoreError},
    history::readable_channel,
    id::{ChannelId, ConnectionId, UserId},
    limits::{CHANGE_ATTEMPTS, HANDSHAKE_DURATION, OPENING_SOCKET_DURATION, PUSHES_AT_ONCE},
};

/// Between two attempts to close a socket that is still being opened.
const OPENING_SOCKET_INTERVAL: Duration = Duration::from_millis(50);

/// A membership, and whether this call made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The membership.
    pub member: Member,
    /// Whether the user was no member before.
    pub added: bool,
}

/// What memberships are managed with.
#[derive(Debug, Clone, Copy)]
pub struct Membership<'a, Channels, Connections, Sockets, Time> {
    /// Channels and members.
    pub channels: &'a Channels,
    /// Who is connected.
    pub connections: &'a Connections,
    /// Their sockets.
    pub sockets: &'a Sockets,
    /// Time.
    pub clock: &'a Time,
}

impl<Channels, Connections, Sockets, Time> Membership<'_, Channels, Connections, Sockets, Time>
where
    Channels: ChannelStore,
    Connections: ConnectionStore,
    Sockets: SocketPusher,
    Time: Clock,
{
    /// Makes `user` a member on behalf of `caller`, with `role` if one is given. Users add themselves to public
    /// channels as members; moderators add others; owners give any role. The user's live sockets that follow the
    /// memberships receive the channel from then on.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::ChannelArchived`], [`ChatError::Forbidden`],
    /// [`ChatError::LastOwner`], [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn add(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        user: &UserId,
        role: Option<MemberRole>,
    ) -> Result<Joined> {
        for _ in 0..CHANGE_ATTEMPTS {
            let found = readable_channel(self.channels, channel, caller).await?;
            if found.archived_at.is_some() {
                return Err(ChatError::ChannelArchived);
            }
            let callers_role = self.channels.member(channel, caller).await?.map(|member| member.role);
            let current = self.channels.member(channel, user).await?;
            let wanted = role.or(current.as_ref().map(|member| member.role)).unwrap_or(MemberRole::Member);
            check_addition(callers_role, caller == user, current.as_ref().map(|member| member.role), wanted)?;
            if let Some(member) = current {
                match self.change_role(&member, wanted).await? {
                    MemberChanged::Done => {
                        return Ok(Joined { member: Member { role: wanted, ..member }, added: false });
                    }
                    MemberChanged::LastOwner => return Err(ChatError::LastOwner),
                    MemberChanged::Lost => continue,
                }
            }
            let member = Member {
                channel_id: channel.clone(),
                user_id: user.clone(),
                role: wanted,
                joined_at: self.clock.now(),
            };
            match self.channels.add_member(&member, found.visibility, found.last_seq).await? {
                MemberAdded::Added => {
                    self.follow(channel, user).await?;
                    return Ok(Joined { member, added: true });
                }
                // Somebody was faster, or the channel is another: look again.
                MemberAdded::Already(_) | MemberAdded::ChannelChanged => {}
            }
        }
        Err(contended())
    }

    async fn change_role(&self, member: &Member, role: MemberRole) -> Result<MemberChanged> {
        if member.role == role {
            // An earlier call may have ended before the sockets followed.
            self.follow(&member.channel_id, &member.user_id).await?;
            return Ok(MemberChanged::Done);
        }
        Ok(self.channels.change_role(member, role).await?)
    }

    /// Ends the membership of `user` on behalf of `caller`: users remove themselves, moderators remove members,
    /// owners remove anybody but the last owner.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::MemberNotFound`], [`ChatError::Forbidden`],
    /// [`ChatError::LastOwner`], [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn remove(&self, channel: &ChannelId, caller: &UserId, user: &UserId) -> Result<()> {
        for _ in 0..CHANGE_ATTEMPTS {
            if let Err(error) = readable_channel(self.channels, channel, caller).await {
                // An earlier call may have ended before the caller's own sockets were closed.
                if caller == user && matches!(error, ChatError::ChannelNotFound) {
                    self.end_subscriptions(channel, user).await?;
                }
                return Err(error);
            }
            let callers_role = self.channels.member(channel, caller).await?.map(|member| member.role);
            let current = self.channels.member(channel, user).await?;
            if caller != user {
                let needed =
                    current.as_ref().map_or(MemberRole::Moderator, |member| member.role.max(MemberRole::Moderator));
                if callers_role.is_none_or(|role| role < needed) {
                    return Err(ChatError::Forbidden(
                        "only a moderator removes members, and only an owner removes moderators and owners",
                    ));
                }
            }
            let Some(member) = current else {
                // An earlier call may have ended before the sockets were closed.
                self.end_subscriptions(channel, user).await?;
                return Err(ChatError::MemberNotFound);
            };
            match self.channels.remove_member(&member).await? {
                MemberChanged::Done => return self.end_subscriptions(channel, user).await,
                MemberChanged::LastOwner => return Err(ChatError::LastOwner),
                MemberChanged::Lost => {}
            }
        }
        Err(contended())
    }

    /// A page of a channel's members, for those who may see the channel.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::Store`].
    pub async fn list(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<MemberPage> {
        readable_channel(self.channels, channel, caller).await?;
        Ok(self.channels.members(channel, after, limit).await?)
    }

    /// Subscribes the live connections of a new member that follow the memberships.
    async fn follow(&self, channel: &ChannelId, user: &UserId) -> Result<()> {
        for connection in self.connections.connections_of(user, self.clock.now()).await? {
            if connection.receives(channel) {
                subscribe_member(self.channels, self.connections, channel, user, &connection).await?;
            }
        }
        Ok(())
    }

    /// Ends what the user's connections receive of a channel, and closes their sockets.
    async fn end_subscriptions(&self, channel: &ChannelId, user: &UserId) -> Result<()> {
        let connections = self.connections.connections_of(user, self.clock.now()).await?;
        let ends =
            connections.into_iter().map(|connection| (user.clone(), connection.connection_id, connection.connected_at));
        self.end(channel, ends.collect()).await
    }

    /// Ends all subscriptions of a channel.
    ///
    /// # Errors
    /// [`ChatError::Store`].
    pub async fn end_all(&self, channel: &ChannelId) -> Result<()> {
        let all = self.connections.subscriptions(channel, self.clock.now()).await?;
        let ends = all.into_iter().map(|one| (one.user_id, one.connection_id, one.connected_at));
        self.end(channel, ends.collect()).await
    }

    /// Ends the subscriptions of all who may not see a channel any more, now that it is private.
    ///
    /// # Errors
    /// [`ChatError::Store`].
    pub async fn end_strangers(&self, channel: &Channel) -> Result<()> {
        let id = &channel.channel_id;
        let mut strangers = Vec::new();
        for subscription in self.connections.subscriptions(id, self.clock.now()).await? {
            if self.channels.member(id, &subscription.user_id).await?.is_none() {
                strangers.push((subscription.user_id, subscription.connection_id, subscription.connected_at));
            }
        }
        self.end(id, strangers).await
    }

    async fn end(&self, channel: &ChannelId, connections: Vec<(UserId, ConnectionId, Timestamp)>) -> Result<()> {
        futures::stream::iter(connections)
            .map(async |(user, id, connected_at)| {
                let had_it = self.connections.unsubscribe(channel, &id, connected_at).await?;
                // A handshake that is still under way may have taken its subscription back by itself, after a
                // delivery had read it.
                let is_new = self.clock.now() < connected_at.plus(HANDSHAKE_DURATION);
                if had_it || is_new {
                    self.close(&user, &id, connected_at).await?;
                }
                Ok::<_, StoreError>(())
            })
            .buffer_unordered(PUSHES_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    /// Closes a socket. One whose handshake is not through yet cannot be closed, and a push under way could still
    /// reach it: it is waited for.
    async fn close(&self, user: &UserId, id: &ConnectionId, connected_at: Timestamp) -> Result<(), StoreError> {
        let until = self.clock.now().plus(OPENING_SOCKET_DURATION);
        loop {
            if self.sockets.close(id).await? {
                return Ok(());
            }
            let now = self.clock.now();
            if now >= until || now >= connected_at.plus(HANDSHAKE_DURATION) {
                return Ok(());
            }
            // A handshake that was refused, or a socket that has gone.
            let of_user = self.connections.connections_of(user, now).await?;
            if !of_user.iter().any(|one| one.connection_id == *id && one.connected_at == connected_at) {
                return Ok(());
            }
            self.clock.sleep(OPENING_SOCKET_INTERVAL).await;
        }
    }
}

/// Subscribes a connection to a channel that its user has become a member of. The membership may have ended in the
/// meantime, and whoever ended it may not have seen the subscription: then it is taken back.
pub(crate) async fn subscribe_member(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    channel: &ChannelId,
    user: &UserId,
    connection: &UserConnection,
) -> Result<()> {
    connections.subscribe(channel, user, connection).await?;
    if channels.member(channel, user).await?.is_none() {
        connections.unsubscribe(channel, &connection.connection_id, connection.connected_at).await?;
    }
    Ok(())
}

/// Whether a caller with a role may give `wanted` to a user who has `current`.
fn check_addition(
    caller: Option<MemberRole>,
    is_self: bool,
    current: Option<MemberRole>,
    wanted: MemberRole,
) -> Result<()> {
    if current == Some(wanted) && (is_self || caller >= Some(MemberRole::Moderator)) {
        return Ok(());
    }
    if caller == Some(MemberRole::Owner) {
        return Ok(());
    }
    let steps_down = is_self && current.is_some_and(|current| wanted < current);
    let changes_a_role = current.is_some() || wanted > MemberRole::Member;
    if changes_a_role && !steps_down {
        return Err(ChatError::Forbidden("only an owner changes roles"));
    }
    if !is_self && caller < Some(MemberRole::Moderator) {
        return Err(ChatError::Forbidden("only a moderator or an owner adds others to a channel"));
    }
    Ok(())
}

fn contended() -> ChatError {
    ChatError::Contended { retry_after: crate::limits::RETRY_AFTER }
}

/// Whether settings that were `before` and are `after` shut somebody out.
pub(crate) fn shuts_out(before: &Channel, after: &Channel) -> bool {
    before.visibility == Visibility::Public && after.visibility == Visibility::Private
}

#[cfg(test)]
mod tests;
