//! Invitations: offers of memberships, which begin when the invited user accepts.
//!
//! The transaction that makes an invitation checks the inviter's authority. Accepting rests on the invitation alone:
//! the transaction that makes the membership requires it and deletes it. An invitation is for one incarnation of a
//! channel, so it is not valid for another channel that reuses the id.

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

/// Moderators who add users without an invitation: a setting of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberAdditions {
    /// All moderators.
    #[default]
    Everybody,
    /// Moderators whose token has the scope for it. Other moderators invite.
    Scope,
    /// No moderators: they all invite.
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
    /// Returns the effect of adding another user, for a caller with or without the scope.
    #[must_use]
    pub fn of_caller(self, has_scope: bool) -> Addition {
        match self {
            Self::Everybody => Addition::Outright,
            Self::Scope if has_scope => Addition::Outright,
            Self::Scope | Self::Nobody => Addition::Invite,
        }
    }
}

/// Effect of adding a user who is no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// The user becomes a member.
    Outright,
    /// The user gets an invitation.
    Invite,
}

/// Invitation of a user to a channel, as it is stored. Clients see it with the channel's name: [`InvitedChannel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// Id of the channel.
    pub channel_id: ChannelId,
    /// Incarnation of the channel. Not shown to clients.
    #[serde(skip_serializing)]
    pub channel_incarnation: Incarnation,
    /// Invited user.
    pub user_id: UserId,
    /// Incarnation: distinguishes the invitation from others of the same user to the same channel. Not shown to
    /// clients.
    #[serde(skip_serializing)]
    pub incarnation: Incarnation,
    /// Role of the membership.
    pub role: MemberRole,
    /// Inviter.
    pub invited_by: UserId,
    /// Time of the invitation.
    pub invited_at: Timestamp,
    /// Time from which the invitation counts as absent.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// Returns an invitation of `user` by `inviter`, made at the seed's time.
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
            // In whole seconds, like the stored value.
            expires_at: Timestamp::from_secs(now.plus(INVITATION_DURATION).as_secs()),
        }
    }

    /// Returns the key of the channel.
    #[must_use]
    pub fn channel(&self) -> ChannelKey {
        ChannelKey { channel_id: self.channel_id.clone(), incarnation: self.channel_incarnation }
    }
}

/// Invitation with the name of its channel, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvitedChannel {
    /// Display name of the channel.
    pub name: String,
    /// Invitation.
    #[serde(flatten)]
    pub invitation: Invitation,
}
