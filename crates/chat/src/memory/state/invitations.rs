//! Invitations.

use super::{Decision, Effect, Rule, State};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded},
        id::UserId,
        incarnation::ChannelKey,
        invitation::Invitation,
        seq::Seq,
        time::Timestamp,
    },
    ports::invitation_store::Invited,
};

impl State {
    pub(crate) fn invitation(&self, key: &ChannelKey, user: &UserId, now: Timestamp) -> Option<&Invitation> {
        self.invitations.get(key)?.get(user).filter(|one| one.expires_at > now)
    }

    /// Returns a user's invitations, in the order of the channels' ids.
    pub(crate) fn invitations_of<'a>(
        &'a self,
        user: &'a UserId,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Invitation> {
        self.invitations.keys().filter_map(move |key| self.invitation(key, user, now))
    }

    pub(crate) fn invite(&self, by: &Authority<'_>, invitation: &Invitation) -> Decision<Invited> {
        let (key, user) = (by.channel.key(), &invitation.user_id);
        if !self.holds(by, Rule::MemberAuthority) || self.member(&key, user).is_some() {
            return (Invited::Stale, None);
        }
        if let Some(there) = self.invitation(&key, user, invitation.invited_at) {
            return (Invited::Already(there.clone()), None);
        }
        (Invited::Done, Some(Effect::Invited { invitation: invitation.clone() }))
    }

    fn is_pending(&self, invitation: &Invitation, now: Timestamp) -> bool {
        self.invitation(&invitation.channel(), &invitation.user_id, now)
            .is_some_and(|there| there.incarnation == invitation.incarnation)
    }

    pub(crate) fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: Seq,
    ) -> Decision<MemberAdded> {
        let as_read = Authority { channel, member: None };
        let is_own = invitation.channel() == channel.key() && invitation.user_id == member.user_id;
        let holds =
            is_own && self.is_pending(invitation, member.joined_at) && self.holds(&as_read, Rule::InvitationHeld);
        if !holds && !self.lacks(Rule::InvitationHeld) {
            return (MemberAdded::Stale, None);
        }
        let channel = channel.key();
        if let Some(there) = self.member(&channel, &member.user_id) {
            return (MemberAdded::Already(there.clone()), None);
        }
        (MemberAdded::Added, Some(Effect::MemberAdded { channel, member: member.clone(), read_seq }))
    }

    pub(crate) fn withdraw_invitation(&self, by: Option<&Authority<'_>>, invitation: &Invitation) -> Decision<bool> {
        // An expired invitation may be withdrawn too.
        if !self.is_pending(invitation, Timestamp::from_millis(0))
            || by.is_some_and(|by| !self.holds(by, Rule::MemberAuthority))
        {
            return (false, None);
        }
        (true, Some(Effect::InvitationWithdrawn { invitation: invitation.clone() }))
    }

    pub(super) fn invited(&mut self, invitation: Invitation) {
        let of_channel = self.invitations.entry(invitation.channel()).or_default();
        of_channel.insert(invitation.user_id.clone(), invitation);
    }

    pub(super) fn end_invitation(&mut self, key: &ChannelKey, user: &UserId) {
        if let Some(of_channel) = self.invitations.get_mut(key) {
            of_channel.remove(user);
        }
    }
}
