//! Invitations: memberships that are offered, and begin when the invited user accepts.
//!
//! An inviter's authority is checked when the invitation is made, in its own transaction. Accepting rests on the invitation
//! alone: it is a condition of the transaction that makes the membership, and is gone with it. An invitation is of one
//! incarnation of a channel, so that it never leads into another channel that took the id.

use std::str::FromStr;

use serde::Serialize;

use crate::model::id::Seed;
use crate::model::{
    access::Access,
    channel::MemberRole,
    error::Result,
    id::{ChannelId, UserId},
    incarnation::{ChannelKey, Incarnation},
    limits::INVITATION_DURATION,
    time::Timestamp,
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
    #[must_use]
    pub fn new(access: &Access, inviter: &UserId, user: &UserId, role: MemberRole, seed: Seed) -> Self {
        let now = seed.now;
        Self {
            channel_id: access.channel.channel_id.clone(),
            channel_incarnation: access.channel.incarnation,
            user_id: user.clone(),
            incarnation: Incarnation::generate(seed),
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
