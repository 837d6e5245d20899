//! Channels, members, pending ends and removal in memory.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::{Call, Hook, MemoryStore, REMOVAL_PAGE, Reading, Rule};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Instructions, Member, MemberAdded, MemberRole, Memberships, Visibility},
        error::StoreError,
        id::{ChannelId, IdempotencyKey, UserId},
        incarnation::ChannelKey,
        invitation::{Invitation, InvitedChannel},
        pending_end::PendingEnd,
        rev::Rev,
        seq::Seq,
        text::search_key::SearchKey,
        time::Timestamp,
    },
    ports::{
        channel_store::{ChannelCreated, ChannelStore, Creation, MemberChanged, MemberPage, PublicPage, ReadMarks},
        deleted_channels::DeletedChannels,
        invitation_store::{InvitationPage, InvitationStore, Invited},
        pending_ends::PendingEnds,
    },
};

impl<H: Hook> ChannelStore for MemoryStore<H> {
    async fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> Result<ChannelCreated, StoreError> {
        self.change(Call::Create, |state| state.create(channel, owner, creation, most)).await
    }

    async fn creation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<Creation>, StoreError> {
        let place = (user.clone(), key.clone());
        self.call(Call::Creation, |state| state.creations.get(channel)?.get(&place).cloned()).await
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        let found = self.call(Call::Channel, |state| state.channels.get(id).cloned()).await?;
        Ok(found.map(Channel::without_instructions))
    }

    async fn with_instructions(&self, mut channels: Vec<Channel>) -> Result<Vec<Channel>, StoreError> {
        let unread = |channel: &&Channel| channel.agent.instructions.is_unread();
        let keys: Vec<ChannelKey> = channels.iter().filter(unread).map(Channel::key).collect();
        if keys.is_empty() {
            return Ok(channels);
        }
        let found: Vec<Instructions> = self
            .call(Call::Instructions, |state| {
                let of = |found: &Channel| found.agent.instructions.clone();
                keys.iter().map(|key| state.channel(key).map(of).unwrap_or_default()).collect()
            })
            .await?;
        let unread = channels.iter_mut().filter(|channel| channel.agent.instructions.is_unread());
        for (channel, instructions) in unread.zip(found) {
            channel.agent.instructions = instructions;
        }
        Ok(channels)
    }

    async fn channel_with_rev(&self, id: &ChannelId) -> Result<Option<(Channel, Rev)>, StoreError> {
        self.call(Call::Channel, |state| {
            let channel = state.channels.get(id)?;
            Some((channel.clone().without_instructions(), state.last_change(&channel.key())))
        })
        .await
    }

    async fn current_channels(&self, ids: &[ChannelId]) -> Result<Vec<Channel>, StoreError> {
        self.call(Call::CurrentChannels, |state| ids.iter().filter_map(|id| state.channels.get(id).cloned()).collect())
            .await
    }

    async fn channels_among(&self, keys: &[ChannelKey]) -> Result<Vec<Channel>, StoreError> {
        Ok(self.channels(keys.iter()).await?.into_iter().flatten().collect())
    }

    async fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change(Call::Update, |state| state.update(by, changed, pending, now)).await
    }

    async fn delete(&self, by: &Authority<'_>, pending: &PendingEnd, now: Timestamp) -> Result<bool, StoreError> {
        self.change(Call::Delete, |state| state.delete(by, pending, now)).await
    }

    async fn public_channels(
        &self,
        name_prefix: &str,
        after: Option<&str>,
        limit: u16,
    ) -> Result<PublicPage, StoreError> {
        let (prefix, limit) = (SearchKey::of(name_prefix).as_str().to_owned(), usize::from(limit));
        // A position without the prefix was not returned for this prefix.
        let after = after.filter(|after| after.strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty()));
        let listed: Vec<(String, ChannelKey)> = self
            .call(Call::PublicChannels, |state| {
                let from = after.map_or(Included(prefix.as_str()), Excluded);
                let rest = state.public.range::<str, _>((from, Unbounded));
                let of_prefix = rest.take_while(|(name, _)| name.starts_with(&prefix)).take(limit + 1);
                of_prefix.map(|(name, key)| (name.clone(), key.clone())).collect()
            })
            .await?;
        let more = listed.len() > limit;
        let page = listed.get(..limit).unwrap_or(&listed);
        let channels = self.channels(page.iter().map(|(_, key)| key)).await?;
        // The channel may have been made private since the list was read.
        let channels = channels.into_iter().flatten().filter(|channel| channel.visibility == Visibility::Public);
        let next_after = page.last().filter(|_| more).map(|(name, _)| name.clone());
        Ok(PublicPage { channels: channels.collect(), next_after })
    }

    async fn mark_read(&self, channel: &ChannelKey, user: &UserId, seq: Seq) -> Result<Option<Seq>, StoreError> {
        self.change(Call::MarkRead, |state| state.mark_read(channel, user, seq)).await
    }

    async fn member(&self, channel: &ChannelKey, user: &UserId) -> Result<Option<Member>, StoreError> {
        self.call(Call::Member, |state| state.member(channel, user).cloned()).await
    }

    async fn members_among(&self, channel: &ChannelKey, users: &[UserId]) -> Result<Vec<Member>, StoreError> {
        self.call(Call::MembersAmong, |state| {
            let members = state.members.get(channel).into_iter().flatten();
            members.filter(|(user, _)| users.contains(user)).map(|(_, member)| member.clone()).collect()
        })
        .await
    }

    async fn memberships_among(&self, user: &UserId, channels: &[ChannelKey]) -> Result<Vec<Member>, StoreError> {
        self.call(Call::MembershipsAmong, |state| {
            channels.iter().filter_map(|channel| state.member(channel, user).cloned()).collect()
        })
        .await
    }

    async fn read_marks(&self, members: &[(ChannelKey, UserId)]) -> Result<ReadMarks, StoreError> {
        self.call(Call::ReadMarks, |state| {
            let marks = members.iter().filter_map(|place| {
                let (channel, user) = place;
                Some((place.clone(), *state.listed.get(user)?.get(channel)?))
            });
            marks.collect()
        })
        .await
    }

    async fn members(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<MemberPage, StoreError> {
        let limit = usize::from(limit);
        let mut members: Vec<Member> = self
            .read(Call::Members, channel, Reading::Members, |state| {
                let Some(all) = state.members.get(channel) else { return Vec::new() };
                let rest = all.range::<UserId, _>((after.map_or(Unbounded, Excluded), Unbounded));
                rest.take(limit + 1).map(|(_, member)| member.clone()).collect()
            })
            .await?;
        let more = members.len() > limit;
        members.truncate(limit);
        let next_after = members.last().filter(|_| more).map(|member| member.user_id.clone());
        Ok(MemberPage { members, next_after })
    }

    async fn memberships(&self, user: &UserId, limit: usize) -> Result<Memberships, StoreError> {
        self.call(Call::Memberships, |state| state.memberships(user, limit)).await
    }

    async fn add_member(&self, by: &Authority<'_>, member: &Member, read_seq: Seq) -> Result<MemberAdded, StoreError> {
        self.change(Call::AddMember, |state| state.add_member(by, member, read_seq)).await
    }

    async fn change_role(
        &self,
        by: &Authority<'_>,
        member: &Member,
        role: MemberRole,
    ) -> Result<MemberChanged, StoreError> {
        self.change(Call::ChangeRole, |state| state.change_role(by, member, role)).await
    }

    async fn remove_member(
        &self,
        by: &Authority<'_>,
        member: &Member,
        pending: &PendingEnd,
        now: Timestamp,
    ) -> Result<MemberChanged, StoreError> {
        self.change(Call::RemoveMember, |state| state.remove_member(by, member, pending, now)).await
    }
}

impl<H: Hook> MemoryStore<H> {
    /// Returns the channels of some keys, or `None` for keys whose id leads to another channel or none.
    async fn channels(&self, keys: impl Iterator<Item = &ChannelKey>) -> Result<Vec<Option<Channel>>, StoreError> {
        let keys: Vec<&ChannelKey> = keys.collect();
        self.call(Call::Channel, |state| {
            keys.iter().map(|key| Some(state.channel(key)?.clone().without_instructions())).collect()
        })
        .await
    }
}

impl<H: Hook> InvitationStore for MemoryStore<H> {
    async fn invitation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Invitation>, StoreError> {
        self.call(Call::Invitation, |state| state.invitation(channel, user, now).cloned()).await
    }

    async fn invite(&self, by: &Authority<'_>, invitation: &Invitation, most: usize) -> Result<Invited, StoreError> {
        let (user, now) = (&invitation.user_id, invitation.invited_at);
        let pending = self.call(Call::Invitations, |state| state.invitations_of(user, now).count()).await?;
        if pending >= most {
            let there = self.invitation(&by.channel.key(), user, now).await?;
            return Ok(there.map_or(Invited::TooMany, Invited::Already));
        }
        self.change(Call::Invite, |state| state.invite(by, invitation)).await
    }

    async fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: Seq,
    ) -> Result<MemberAdded, StoreError> {
        self.change(Call::Accept, |state| state.accept(channel, invitation, member, read_seq)).await
    }

    async fn withdraw_invitation(
        &self,
        by: Option<&Authority<'_>>,
        invitation: &Invitation,
    ) -> Result<bool, StoreError> {
        self.change(Call::WithdrawInvitation, |state| state.withdraw_invitation(by, invitation)).await
    }

    async fn invitations_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
        now: Timestamp,
    ) -> Result<InvitationPage, StoreError> {
        let limit = usize::from(limit);
        self.call(Call::Invitations, |state| {
            let rest = state.invitations_of(user, now).filter(|one| after.is_none_or(|after| one.channel_id > *after));
            let mut listed: Vec<&Invitation> = rest.take(limit + 1).collect();
            let more = listed.len() > limit;
            listed.truncate(limit);
            let next_after = listed.last().filter(|_| more).map(|one| one.channel_id.clone());
            let channels = listed.into_iter().filter_map(|one| {
                let name = state.channel(&one.channel())?.name.clone();
                Some(InvitedChannel { name, invitation: one.clone() })
            });
            InvitationPage { channels: channels.collect(), next_after }
        })
        .await
    }
}

impl<H: Hook> PendingEnds for MemoryStore<H> {
    async fn lease(
        &self,
        pending: &PendingEnd,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<PendingEnd>, StoreError> {
        self.call(Call::Lease, |state| {
            let is_held = |stored: &PendingEnd| stored.lease_until > now && !state.broken.contains(Rule::LeaseHeld);
            let stored = state.pending.get_mut(&pending.id).filter(|stored| !is_held(stored))?;
            stored.lease_until = until;
            Some(stored.clone())
        })
        .await
    }

    async fn advance(&self, pending: &PendingEnd) -> Result<(), StoreError> {
        self.call(Call::Advance, |state| {
            if let Some(stored) = state.pending.get_mut(&pending.id) {
                stored.after.clone_from(&pending.after);
                stored.lease_until = pending.lease_until;
            }
        })
        .await
    }

    async fn finish(&self, pending: &PendingEnd) -> Result<(), StoreError> {
        self.call(Call::Finish, |state| {
            state.pending.remove(&pending.id);
        })
        .await
    }
}

impl<H: Hook> DeletedChannels for MemoryStore<H> {
    async fn remove_some(&self, channel: &ChannelKey) -> Result<bool, StoreError> {
        let page = self.removal_page.unwrap_or(REMOVAL_PAGE);
        self.call(Call::RemoveSome, |state| state.remove_some(channel, page)).await
    }
}
