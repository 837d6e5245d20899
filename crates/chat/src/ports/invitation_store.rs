//! Port that stores invitations.

use std::future::Future;

use crate::model::{
    access::Authority,
    channel::{Channel, Member, MemberAdded},
    error::StoreError,
    id::{ChannelId, UserId},
    incarnation::ChannelKey,
    invitation::{Invitation, InvitedChannel},
    seq::Seq,
    time::Timestamp,
};

/// Page of a user's invitations, in the order of the channels' ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvitationPage {
    /// Channels that exist, with their invitations.
    pub channels: Vec<InvitedChannel>,
    /// Channel after which the next page begins, if there is more.
    pub next_after: Option<ChannelId>,
}

/// Result of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invited {
    /// The user is invited.
    Done,
    /// The user already has this invitation to the channel.
    Already(Invitation),
    /// The user has the maximum number of pending invitations.
    TooMany,
    /// The user is a member, or the authority has changed since it was read.
    Stale,
}

/// Store of invitations. All reads are strongly consistent. Invitations that have expired by `now` count as absent.
pub trait InvitationStore: Send + Sync {
    /// Returns the invitation of a user to a channel.
    fn invitation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Invitation>, StoreError>> + Send;

    /// Stores an invitation to the channel in `by`, in one transaction that checks `by`. Conditions: the user is no
    /// member and has no invitation to the channel. A user has at most `most` pending invitations. Concurrent inviters
    /// may each exceed this limit by one.
    fn invite(
        &self,
        by: &Authority<'_>,
        invitation: &Invitation,
        most: usize,
    ) -> impl Future<Output = Result<Invited, StoreError>> + Send;

    /// Makes the invited user the member `member` and deletes the invitation, in one transaction. Conditions: the
    /// invitation exists, is to `channel`, and belongs to the user of `member`. `channel` exists with the visibility
    /// and the archived flag that were read.
    fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: Seq,
    ) -> impl Future<Output = Result<MemberAdded, StoreError>> + Send;

    /// Deletes exactly this invitation, on behalf of its user or with the authority `by`. Returns `false` if it does
    /// not exist or the authority has changed since it was read.
    fn withdraw_invitation(
        &self,
        by: Option<&Authority<'_>>,
        invitation: &Invitation,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns up to `limit` invitations of a user, after the id `after`. Leaves out those to deleted channels.
    fn invitations_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
        now: Timestamp,
    ) -> impl Future<Output = Result<InvitationPage, StoreError>> + Send;
}
