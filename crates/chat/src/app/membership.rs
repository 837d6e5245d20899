//! Joining and leaving channels, and the effect on open sockets.
//!
//! After a removal is acknowledged, the removed user's sockets receive nothing more of the channel. Order: delete the
//! membership and block the user in the gate, close the sockets, delete the subscriptions, respond. A push under way
//! meets a closed socket. The client reconnects and receives its remaining channels. A connection being opened is
//! registered before it reads memberships ([`connect`](crate::app::connect)). So it either sees the removal or is found
//! and closed.

mod announcements;

use crate::{
    app::{access::SameChannel, audit::record, subscription_ends::SubscriptionEnds},
    model::{
        access::Access,
        audit::AuditAction,
        channel::{Channel, Member, MemberAdded, MemberRole, Memberships, Visibility},
        connection::UserConnection,
        error::{ChatError, Result},
        event::EphemeralEvent,
        id::{ChannelId, UserId},
        incarnation::{ChannelKey, Incarnation},
        invitation::{Addition, Invitation, InvitedChannel},
        limits::{CHANGE_ATTEMPTS, CHANNELS_PER_CONNECTION, INVITATIONS_PER_USER},
        pending_end::{EndCause, PendingEnd},
        time::Timestamp,
    },
    ports::{
        channel_store::{ChannelStore, MemberChanged},
        clock::{CHANGE_BACKOFF, Clock},
        connection_store::ConnectionStore,
        fan_out::FanOut,
        invitation_store::{InvitationStore, Invited},
        pending_ends::PendingEnds,
        socket_gateway::SocketGateway,
    },
};

/// Result of adding a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// The user is a member.
    Joined {
        /// The membership.
        member: Member,
        /// `true` if the user was no member before.
        added: bool,
    },
    /// The user is invited and has to accept.
    Invited(InvitedChannel),
}

/// Manager of memberships, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Membership<'a, Channels, Connections, Sockets, Fan, Time> {
    /// Channels and members.
    pub channels: &'a Channels,
    /// Connections and subscriptions.
    pub connections: &'a Connections,
    /// Sockets.
    pub sockets: &'a Sockets,
    /// Dispatch of shards to other invocations.
    pub fan_out: &'a Fan,
    /// Time.
    pub clock: &'a Time,
    /// Time at which pushes of ephemeral events end.
    pub deadline: Timestamp,
}

impl<Channels, Connections, Sockets, Fan, Time> Membership<'_, Channels, Connections, Sockets, Fan, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Makes `user` a member on behalf of `caller`, or invites the user, with `role` if one is given.
    ///
    /// - Users add themselves to public channels as members, and to channels that they are invited to with the
    ///   invitation's role.
    /// - Moderators add or invite others, as `addition` says.
    /// - Owners may assign any role.
    ///
    /// The user's open connections with `auto_subscribe` receive the channel from then on.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::ChannelArchived`], [`ChatError::Forbidden`],
    /// [`ChatError::LastOwner`], [`ChatError::TooManyInvitations`], [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn add(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        user: &UserId,
        role: Option<MemberRole>,
        addition: Addition,
    ) -> Result<Added> {
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let (access, invitation) = self.access_to_add(channel, caller, user).await?;
            same.require(&access.channel)?;
            access.require_open()?;
            let added = match invitation {
                Some(invitation) => self.accept(&access, &invitation, role).await?,
                None => self.add_by_authority(&access, caller, user, role, addition).await?,
            };
            if let Some(added) = added {
                return Ok(added);
            }
            CHANGE_BACKOFF.pause(self.clock, attempt).await;
        }
        Err(ChatError::contended())
    }

    /// Adds a user without an invitation, invites the user, or changes the role of a member. Returns `None` if the
    /// authority or the membership has changed since it was read.
    async fn add_by_authority(
        &self,
        access: &Access,
        caller: &UserId,
        user: &UserId,
        role: Option<MemberRole>,
        addition: Addition,
    ) -> Result<Option<Added>> {
        let current = self.member(access, caller, user).await?;
        let wanted = role.or(current.as_ref().map(|member| member.role)).unwrap_or(MemberRole::Member);
        check_addition(access, caller == user, current.as_ref().map(|member| member.role), wanted)?;
        match current {
            Some(member) => self.give_role(access, caller, member, wanted).await,
            None if caller != user && addition == Addition::Invite => self.invite(access, caller, user, wanted).await,
            None => self.join(access, caller, user, wanted).await,
        }
    }

    /// Gives a member another role. Returns `None` if the authority or the membership has changed since it was read.
    pub(crate) async fn give_role(
        &self,
        access: &Access,
        caller: &UserId,
        member: Member,
        wanted: MemberRole,
    ) -> Result<Option<Added>> {
        // The call that added the member may have stopped before it subscribed the connections.
        if member.role == wanted {
            self.follow(&access.key(), &member.user_id).await?;
            return Ok(Some(Added::Joined { member, added: false }));
        }
        match self.channels.change_role(&access.as_member(), &member, wanted).await? {
            MemberChanged::Done => {
                let user_id = member.user_id.clone();
                let action = AuditAction::RoleChanged { user_id, from: member.role, to: wanted };
                record(self.clock.now(), caller, &member.channel_id, action);
                self.follow(&access.key(), &member.user_id).await?;
                let member = Member { role: wanted, ..member };
                self.announce(&access.key(), EphemeralEvent::MemberUpdated(member.clone())).await;
                Ok(Some(Added::Joined { member, added: false }))
            }
            MemberChanged::LastOwner => Err(ChatError::LastOwner),
            MemberChanged::Stale => Ok(None),
        }
    }

    async fn invite(
        &self,
        access: &Access,
        caller: &UserId,
        user: &UserId,
        wanted: MemberRole,
    ) -> Result<Option<Added>> {
        let invitation = Invitation::new(access, caller, user, wanted, self.clock.seed());
        let named = |invitation| InvitedChannel { name: access.channel.name.clone(), invitation };
        match self.channels.invite(&access.as_member(), &invitation, INVITATIONS_PER_USER).await? {
            Invited::Done => {
                let action = AuditAction::MemberInvited { user_id: user.clone(), role: wanted };
                record(self.clock.now(), caller, &invitation.channel_id, action);
                Ok(Some(Added::Invited(named(invitation))))
            }
            Invited::Already(earlier) if earlier.role == wanted => Ok(Some(Added::Invited(named(earlier)))),
            // The role differs: the earlier invitation is withdrawn, and the next attempt makes a new one.
            Invited::Already(earlier) => {
                self.channels.withdraw_invitation(Some(&access.as_member()), &earlier).await?;
                Ok(None)
            }
            Invited::TooMany => Err(ChatError::TooManyInvitations(INVITATIONS_PER_USER)),
            Invited::Stale => Ok(None),
        }
    }

    /// Makes a user a member. Returns `None` if the authority has changed since it was read, or the user is a member.
    pub(crate) async fn join(
        &self,
        access: &Access,
        caller: &UserId,
        user: &UserId,
        wanted: MemberRole,
    ) -> Result<Option<Added>> {
        let added_by = (caller != user).then(|| caller.clone());
        let member = self.new_member(access, user, wanted, added_by);
        match self.channels.add_member(&access.as_member(), &member, access.channel.last_seq).await? {
            MemberAdded::Added => {
                record_added(caller, &member);
                self.follow(&access.key(), user).await?;
                self.announce(&access.key(), EphemeralEvent::MemberJoined(member.clone())).await;
                Ok(Some(Added::Joined { member, added: true }))
            }
            // Another call was faster, or the authority has changed. The next attempt reads it again.
            MemberAdded::Already(_) | MemberAdded::Stale => Ok(None),
        }
    }

    /// Returns the caller's access to a channel in which a user is to be added. Users who add themselves may use an
    /// invitation. With one, a private channel exists for them.
    async fn access_to_add(
        &self,
        channel: &ChannelId,
        caller: &UserId,
        user: &UserId,
    ) -> Result<(Access, Option<Invitation>)> {
        let found = self.channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
        let key = found.key();
        let mut invitation = None;
        if caller == user {
            invitation = self.channels.invitation(&key, user, self.clock.now()).await?;
        }
        // Read after the invitation: an invitation that is accepted in between is found here as a membership.
        let member = self.channels.member(&key, caller).await?;
        let invitation = invitation.filter(|_| member.is_none());
        if found.visibility == Visibility::Private && member.is_none() && invitation.is_none() {
            return Err(ChatError::ChannelNotFound);
        }
        Ok((Access { channel: found, member }, invitation))
    }

    /// Makes an invited user a member. Returns `None` if the invitation or the channel has changed since it was read.
    async fn accept(
        &self,
        access: &Access,
        invitation: &Invitation,
        role: Option<MemberRole>,
    ) -> Result<Option<Added>> {
        if role.is_some_and(|role| role > invitation.role) {
            return Err(ChatError::not_permitted("the invitation offers a lower role; accept it without naming one"));
        }
        let member = self.new_member(access, &invitation.user_id, role.unwrap_or(invitation.role), None);
        match self.channels.accept(&access.channel, invitation, &member, access.channel.last_seq).await? {
            MemberAdded::Added => {
                record_added(&invitation.user_id, &member);
                self.follow(&access.key(), &invitation.user_id).await?;
                self.announce(&access.key(), EphemeralEvent::MemberJoined(member.clone())).await;
                Ok(Some(Added::Joined { member, added: true }))
            }
            MemberAdded::Already(_) | MemberAdded::Stale => Ok(None),
        }
    }

    fn new_member(&self, access: &Access, user: &UserId, role: MemberRole, added_by: Option<UserId>) -> Member {
        Member {
            channel_id: access.channel.channel_id.clone(),
            user_id: user.clone(),
            incarnation: Incarnation::generate(self.clock.seed()),
            role,
            joined_at: self.clock.now(),
            added_by,
        }
    }

    /// Returns the membership that is to be changed. The caller's own was read with the access.
    async fn member(&self, access: &Access, caller: &UserId, user: &UserId) -> Result<Option<Member>> {
        if caller == user {
            return Ok(access.member.clone());
        }
        Ok(self.channels.member(&access.key(), user).await?)
    }

    /// Ends the membership of `user` on behalf of `caller`, or withdraws the user's invitation. Users remove
    /// themselves. Moderators remove members. Owners remove any member but the last owner.
    ///
    /// # Errors
    /// [`ChatError::ChannelNotFound`], [`ChatError::MemberNotFound`], [`ChatError::Forbidden`],
    /// [`ChatError::LastOwner`], [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn remove(&self, channel: &ChannelId, caller: &UserId, user: &UserId) -> Result<()> {
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let access = self.access_to_leave(channel, caller, user).await?;
            same.require(&access.channel)?;
            let key = access.key();
            let current = self.member(&access, caller, user).await?;
            if caller != user {
                let needed =
                    current.as_ref().map_or(MemberRole::Moderator, |member| member.role.max(MemberRole::Moderator));
                if access.role() < Some(needed) {
                    return Err(ChatError::not_permitted(
                        "only a moderator removes members, and only an owner removes moderators and owners",
                    ));
                }
            }
            let Some(member) = current else {
                if let Some(invitation) = self.channels.invitation(&key, user, self.clock.now()).await? {
                    if caller != user && access.role() < Some(invitation.role) {
                        return Err(ChatError::not_permitted(
                            "only an owner takes back the invitation of a moderator or an owner",
                        ));
                    }
                    let authority = access.as_member();
                    let by = (caller != user).then_some(&authority);
                    if self.channels.withdraw_invitation(by, &invitation).await? {
                        let action = AuditAction::InvitationEnded { user_id: user.clone() };
                        record(self.clock.now(), caller, channel, action);
                        return Ok(());
                    }
                    CHANGE_BACKOFF.pause(self.clock, attempt).await;
                    continue;
                }
                // An invitation that was accepted between the two reads has become a membership.
                if self.channels.member(&key, user).await?.is_some() {
                    CHANGE_BACKOFF.pause(self.clock, attempt).await;
                    continue;
                }
                // An earlier call may have stopped before it closed the sockets.
                self.subscription_ends().end_user(&key, user).await?;
                return Err(ChatError::MemberNotFound);
            };
            let pending = PendingEnd::new(key, EndCause::MemberRemoved { user_id: user.clone() }, self.clock.seed());
            let now = self.clock.now();
            match self.channels.remove_member(&access.as_member(), &member, &pending, now).await? {
                MemberChanged::Done => {
                    record(
                        now,
                        caller,
                        channel,
                        AuditAction::MemberRemoved { user_id: user.clone(), role: member.role },
                    );
                    let event = EphemeralEvent::MemberRemoved(user.clone());
                    self.end_and_announce(&pending, event).await;
                    return Ok(());
                }
                MemberChanged::LastOwner => return Err(ChatError::LastOwner),
                MemberChanged::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
            }
        }
        Err(ChatError::contended())
    }

    /// Returns the caller's access to a channel in which a membership is to end.
    async fn access_to_leave(&self, channel: &ChannelId, caller: &UserId, user: &UserId) -> Result<Access> {
        let found = self.channels.channel(channel).await?.ok_or(ChatError::ChannelNotFound)?;
        let key = found.key();
        let mut member = self.channels.member(&key, caller).await?;
        if found.visibility == Visibility::Private && member.is_none() {
            if caller != user {
                return Err(ChatError::ChannelNotFound);
            }
            if self.channels.invitation(&key, user, self.clock.now()).await?.is_none() {
                // An invitation that was accepted between the two reads has become a membership.
                member = self.channels.member(&key, user).await?;
                if member.is_none() {
                    // An earlier call may have stopped before it closed the caller's own sockets.
                    self.subscription_ends().end_user(&key, user).await?;
                    return Err(ChatError::ChannelNotFound);
                }
            }
        }
        Ok(Access { channel: found, member })
    }

    /// Subscribes a connection that has no room for a further channel. A membership that the user chose replaces one
    /// that the connection would leave out if it were opened now. The client is notified of the number of channels left
    /// out.
    async fn follow_without_room(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        connection: &UserConnection,
    ) -> Result<()> {
        let Memberships { channels: wanted, left_out } =
            self.channels.memberships(user, CHANNELS_PER_CONNECTION).await?;
        // If no channel is left out, the subscription failed because the connection is not open.
        if left_out == 0 {
            return Ok(());
        }
        let is_chosen = self.channels.member(channel, user).await?.is_some_and(|member| member.added_by.is_none());
        if is_chosen && connection.allowed_channels.is_none() && wanted.contains(channel) {
            let open = self.connections.connection(&connection.key.id).await?;
            let open = open.filter(|open| open.key == connection.key);
            let others = open.into_iter().flat_map(|open| open.channels);
            if let Some(other) = others.into_iter().find(|other| !wanted.contains(other)) {
                self.connections.unsubscribe(&other, &connection.key).await?;
                subscribe_member(self.channels, self.connections, channel, user, connection).await?;
            }
        }
        self.connections.set_left_out(connection, left_out).await?;
        Ok(())
    }

    /// Returns the [`SubscriptionEnds`] that carry out the pending ends of a change.
    pub(crate) fn subscription_ends(&self) -> SubscriptionEnds<'_, Channels, Connections, Sockets, Time> {
        let Self { channels, connections, sockets, clock, .. } = *self;
        SubscriptionEnds { channels, connections, sockets, clock }
    }

    /// Subscribes the member's open connections that have `auto_subscribe`. A subscription that a connection requested
    /// by id rests on the membership from then on.
    pub(crate) async fn follow(&self, channel: &ChannelKey, user: &UserId) -> Result<()> {
        for connection in self.connections.connections_of(user, self.clock.now()).await? {
            if connection.receives(&channel.channel_id) {
                // A failed call may still have stored the subscription.
                let subscribed = self.connections.subscribe(channel, user, &connection, true).await;
                if self.channels.member(channel, user).await?.is_none() {
                    // The membership has ended. The connection may have had the channel before, and the function that
                    // ends the membership finds its socket by the subscription alone. So both end here.
                    self.subscription_ends().end_of_member(channel, connection.subscription(user)).await?;
                } else if !subscribed? {
                    self.follow_without_room(channel, user, &connection).await?;
                }
            } else {
                let subscription = connection.subscription(user);
                if self.connections.confirm_member(channel, &subscription).await?
                    && self.channels.member(channel, user).await?.is_none()
                {
                    // The membership has ended, and the subscription may have been made after that. The client reopens
                    // its socket.
                    self.subscription_ends().end_of_member(channel, subscription).await?;
                }
            }
        }
        Ok(())
    }
}

/// Subscribes a connection that does not have the channel, although its user has joined it. Returns `false` if the
/// connection is not open or has the maximum number of channels. The membership may end meanwhile, and the function that
/// ends it may miss the subscription. In that case the subscription is removed.
pub(crate) async fn subscribe_member(
    channels: &impl ChannelStore,
    connections: &impl ConnectionStore,
    channel: &ChannelKey,
    user: &UserId,
    connection: &UserConnection,
) -> Result<bool> {
    // A failed call may still have stored the subscription.
    let subscribed = connections.subscribe(channel, user, connection, true).await;
    if channels.member(channel, user).await?.is_none() {
        connections.unsubscribe(channel, &connection.key).await?;
    }
    Ok(subscribed?)
}

/// Checks that a caller may give the role `wanted` to a user who has `current`.
fn check_addition(access: &Access, is_self: bool, current: Option<MemberRole>, wanted: MemberRole) -> Result<()> {
    let caller = access.role();
    if is_self && current.is_none() && access.channel.visibility == Visibility::Private {
        return Err(ChatError::ChannelNotFound);
    }
    if current == Some(wanted) && (is_self || caller >= Some(MemberRole::Moderator)) {
        return Ok(());
    }
    if caller == Some(MemberRole::Owner) {
        return Ok(());
    }
    let steps_down = is_self && current.is_some_and(|current| wanted < current);
    let changes_a_role = current.is_some() || wanted > MemberRole::Member;
    if changes_a_role && !steps_down {
        return Err(ChatError::not_permitted("only an owner changes roles"));
    }
    if !is_self && caller < Some(MemberRole::Moderator) {
        return Err(ChatError::not_permitted("only a moderator or an owner adds others to a channel"));
    }
    Ok(())
}

/// Records a new membership for the audit log.
fn record_added(actor: &UserId, member: &Member) {
    let action = AuditAction::MemberAdded { user_id: member.user_id.clone(), role: member.role };
    record(member.joined_at, actor, &member.channel_id, action);
}

/// Whether the change from `before` to `after` ends subscriptions of users who are no members.
pub(crate) fn restricts_visibility(before: &Channel, after: &Channel) -> bool {
    before.visibility == Visibility::Public && after.visibility == Visibility::Private
}

#[cfg(test)]
mod tests;
