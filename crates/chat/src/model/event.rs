//! Ephemeral events: presence, typing, and changes of channels, members and read marks. They are pushed and never
//! stored.

use serde::Serialize;

use crate::model::{
    channel::{Channel, Member},
    id::UserId,
    seq::Seq,
    time::Timestamp,
};

/// User with a live connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Present {
    /// The user.
    pub user_id: UserId,
    /// Time at which the oldest of the user's connections was opened.
    pub since: Timestamp,
}

/// Event that is pushed and not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EphemeralEvent {
    /// A user came online.
    Joined(UserId),
    /// A user went offline.
    Left(UserId),
    /// A user is typing.
    Typing(UserId),
    /// The channel was created.
    ChannelCreated(Box<Channel>),
    /// Settings of the channel were changed.
    ChannelUpdated(Box<Channel>),
    /// The channel was deleted.
    ChannelDeleted,
    /// A user became a member.
    MemberJoined(Member),
    /// The role of a member was changed.
    MemberUpdated(Member),
    /// The membership of a user ended.
    MemberRemoved(UserId),
    /// A member read the channel up to a message.
    ReadUpdated {
        /// The member.
        user_id: UserId,
        /// `seq` up to which the member has read the channel.
        read_seq: Seq,
    },
}

impl EphemeralEvent {
    /// Returns whether the sockets of `user` in the audience receive the event. A user's own presence and typing go to
    /// the others only.
    #[must_use]
    pub fn is_for(&self, user: &UserId) -> bool {
        match self {
            Self::Joined(about) | Self::Left(about) | Self::Typing(about) => about != user,
            Self::ChannelCreated(_)
            | Self::ChannelUpdated(_)
            | Self::ChannelDeleted
            | Self::MemberJoined(_)
            | Self::MemberUpdated(_)
            | Self::MemberRemoved(_)
            | Self::ReadUpdated { .. } => true,
        }
    }
}
