//! Stores invitations.

use std::future::Future;

use crate::model::{
    access::Authority,
    channel::{Channel, Member, MemberAdded},
    error::StoreError,
    id::{ChannelId, UserId},
    incarnation::ChannelKey,
    invitation::{Invitation, InvitedChannel},
    time::Timestamp,
};

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
