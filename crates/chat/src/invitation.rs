//! Invitations: memberships that are offered, and begin when the invited user accepts.
//!
//! An inviter's authority is checked when the invitation is made, in its own transaction. Accepting rests on the invitation
//! alone: it is a condition of the transaction that makes the membership, and is gone with it. An invitation is of one
//! incarnation of a channel, so that it never leads into another channel that took the id.

use std::{future::Future, str::FromStr};

use serde::Serialize;

use crate::{
    access::{Access, Authority},
    channel::{Channel, Member, MemberAdded, MemberRole},
    clock::{Clock, Timestamp},
    error::StoreError,
    id::{ChannelId, UserId},
    incarnation::{ChannelKey, Incarnation},
    limits::INVITATION_DURATION,
};

/// Who makes others members without asking them: a setting of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberAdditions {
    /// Every moderator.
    #[default]
    Everybody,
    /// Moderators whose token has a scope for it. The others invite.
    Scope,
    /// No caller: moderators invite.
    Nobody,
}

impl FromStr for MemberAdditions {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "everybody" => Ok(Self::Everybody),
            "scope" => Ok(Self::Scope),
            "nobody" => Ok(Self::Nobody),
            _ => Err("must be everybody, scope or nobody"),
        }
    }
}

impl MemberAdditions {
    /// What a caller does who adds somebody else.
    #[must_use]
    pub fn of_caller(self, has_scope: bool) -> Addition {
        match self {
            Self::Everybody => Addition::Outright,
            Self::Scope if has_scope => Addition::Outright,
            Self::Scope | Self::Nobody => Addition::Invite,
        }
    }
}

/// What adding a user who is no member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// Makes the user a member.
    Outright,
    /// Invites the user.
    Invite,
}

/// A membership that a user is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// The channel.
    pub channel_id: ChannelId,
    /// The channel's incarnation. Not shown to clients.
    #[serde(skip_serializing)]
    pub channel_incarnation: Incarnation,
    /// Who is invited.
    pub user_id: UserId,
    /// Distinguishes the invitation from others of the same user to the same channel. Not shown to clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// What the user may do as a member.
    pub role: MemberRole,
    /// Who invited.
    pub invited_by: UserId,
    /// When.
    pub invited_at: Timestamp,
    /// From when on it counts as absent.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// An invitation of `user` that `inviter` makes now.
    pub fn new(access: &Access, inviter: &UserId, user: &UserId, role: MemberRole, clock: &impl Clock) -> Self {
        let now = clock.now();
        Self {
            channel_id: access.channel.channel_id.clone(),
            channel_incarnation: access.channel.incarnation,
            user_id: user.clone(),
            incarnation: Incarnation::generate(clock),
            role,
            invited_by: inviter.clone(),
            invited_at: now,
            // In whole seconds, as it is stored.
            expires_at: Timestamp::from_secs(now.plus(INVITATION_DURATION).as_secs()),
        }
    }

    /// The key of the channel.
    #[must_use]
    pub fn channel(&self) -> ChannelKey {
        ChannelKey { channel_id: self.channel_id.clone(), incarnation: self.channel_incarnation }
    }
}

/// A channel that a user is invited to, as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvitedChannel {
    /// The channel.
    pub channel_id: ChannelId,
    /// Its display name.
    pub name: String,
    /// The invitation.
    pub invitation: Invitation,
}

/// A page of a user's invitations, in the order of the channels' ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvitationPage {
    /// The channels that exist, with their invitations.
    pub channels: Vec<InvitedChannel>,
    /// The id to go on after, when there is more.
    pub next_after: Option<ChannelId>,
}

/// What came of inviting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invited {
    /// The user is invited.
    Done,
    /// The user has an invitation to this channel, as given.
    Already(Invitation),
    /// The user has all the pending invitations that there may be.
    TooMany,
    /// The user is a member, or the channel or the caller's membership is not as it was read.
    Stale,
}

/// Stores invitations. All reads are strongly consistent; what has expired by `now` counts as absent.
pub trait InvitationStore: Send + Sync {
    /// The invitation of a user to a channel.
    fn invitation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Invitation>, StoreError>> + Send;

    /// Stores an invitation to the channel in `by`, on condition that the user is no member and has no invitation to it, in one
    /// transaction with what allowed it. A user has at most `most` pending ones: those who invite at the same moment may go
    /// beyond it by as many as they are.
    fn invite(
        &self,
        by: &Authority<'_>,
        invitation: &Invitation,
        most: usize,
    ) -> impl Future<Output = Result<Invited, StoreError>> + Send;

    /// Makes `member` of the user of an invitation, and deletes the invitation, in one transaction, on condition that the
    /// invitation is there, is to `channel` and of the user of `member`, and `channel` exists with the visibility and the
    /// archival as read.
    fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: u64,
    ) -> impl Future<Output = Result<MemberAdded, StoreError>> + Send;

    /// Deletes an invitation, on condition that it is this one: by its user, or by those whom `by` allows it. `false`: it is
    /// not there, or what allowed it is not as it was read.
    fn withdraw_invitation(
        &self,
        by: Option<&Authority<'_>>,
        invitation: &Invitation,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Up to `limit` invitations of a user, after the id `after`. Those to channels that were deleted are left out.
    fn invitations_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<InvitationPage, StoreError>> + Send;
}
