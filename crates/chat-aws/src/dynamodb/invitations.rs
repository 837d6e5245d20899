//! Invitations, in `chat_channels`: see [`crate::dynamodb::keys`].
//!
//! The item under the channel's key is the invitation, and all decisions use it. A copy in the user's list is written
//! and deleted with it, so that the user can list invitations.

use chat::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded, MemberRole},
        error::StoreError,
        id::{ChannelId, UserId},
        incarnation::{ChannelKey, Incarnation},
        invitation::{Invitation, InvitedChannel},
        seq::Seq,
        time::Timestamp,
    },
    ports::invitation_store::{InvitationPage, InvitationStore, Invited},
};
use serde::{Deserialize, Serialize};

use crate::{
    dynamodb::{
        authority::Access,
        channels::DynamoChannels,
        item::{ABSENT_OR_EXPIRED, attribute, is_unexpired, n, read, text, write},
        keys,
        transaction::{OPERATION, Part, Ran, Transaction, Write},
    },
    sdk::decode_error,
};

#[derive(Serialize, Deserialize)]
struct InvitationItem {
    incarnation: Incarnation,
    role: MemberRole,
    invited_by: UserId,
    invited_at: Timestamp,
    /// TTL, in seconds since the Unix epoch.
    expires_at: i64,
}

impl InvitationItem {
    fn invitation(self, channel: &ChannelKey, user: &UserId) -> Invitation {
        Invitation {
            channel_id: channel.channel_id.clone(),
            channel_incarnation: channel.incarnation,
            user_id: user.clone(),
            incarnation: self.incarnation,
            role: self.role,
            invited_by: self.invited_by,
            invited_at: self.invited_at,
            expires_at: Timestamp::from_secs(self.expires_at),
        }
    }
}

impl DynamoChannels {
    /// Deletes the copy of an invitation. Returns the deletion of the invitation itself, on condition of its
    /// incarnation.
    fn delete_invitation(&self, transaction: &mut Transaction, invitation: &Invitation) -> Result<Write, StoreError> {
        let (channel, user) = (invitation.channel(), &invitation.user_id);
        let listed = Write::delete(&self.table, self.keys.listed_invitation(user, &channel));
        transaction.add(Part::Other, listed)?;
        Ok(Write::delete(&self.table, self.keys.invitation(&channel, user))
            .when("incarnation = :invitation")
            .value("invitation", attribute(OPERATION, invitation.incarnation)?))
    }

    /// Deletes an invitation, if there is one, and its copy.
    pub(crate) fn end_invitation(
        &self,
        transaction: &mut Transaction,
        channel: &ChannelKey,
        user: &UserId,
    ) -> Result<(), StoreError> {
        transaction.add(Part::Other, Write::delete(&self.table, self.keys.invitation(channel, user)))?;
        transaction.add(Part::Other, Write::delete(&self.table, self.keys.listed_invitation(user, channel)))
    }
}

impl InvitationStore for DynamoChannels {
    async fn invitation(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Invitation>, StoreError> {
        let found = self.get(self.keys.invitation(channel, user)).await?.filter(|item| is_unexpired(item, now));
        found.map(|item| Ok(read::<InvitationItem>("GetItem", item)?.invitation(channel, user))).transpose()
    }

    async fn invite(&self, by: &Authority<'_>, invitation: &Invitation, most: usize) -> Result<Invited, StoreError> {
        let (channel, user, now) = (by.channel.key(), &invitation.user_id, invitation.invited_at);
        let (listed, _) = self.page(&self.keys.invitations(user, None), most).await?;
        if listed.iter().filter(|item| is_unexpired(item, now)).count() >= most {
            let there = self.invitation(&channel, user, now).await?;
            return Ok(there.map_or(Invited::TooMany, Invited::Already));
        }
        let fields = InvitationItem {
            incarnation: invitation.incarnation,
            role: invitation.role,
            invited_by: invitation.invited_by.clone(),
            invited_at: now,
            expires_at: invitation.expires_at.as_secs(),
        };
        let mut item = write(OPERATION, fields)?;
        item.extend(self.keys.invitation(&channel, user));
        let mut listed = self.keys.listed_invitation(user, &channel);
        listed.insert("expires_at".to_owned(), n(invitation.expires_at.as_secs()));
        let mut transaction = Transaction::default();
        self.place().require(&mut transaction, by, Access::Kept, None)?;
        let is_no_member = Write::check(&self.table, self.keys.member(&channel, user));
        transaction.add(Part::Member, is_no_member.when("attribute_not_exists(sk)"))?;
        let put = Write::put(&self.table, item).when(ABSENT_OR_EXPIRED).value("now", n(now.as_secs()));
        transaction.add(Part::Record, put.showing_old())?;
        transaction.add(Part::Other, Write::put(&self.table, listed))?;
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(Invited::Done),
            Ran::Refused(refused) => refused,
        };
        let is_stale = [Part::Access, Part::Caller, Part::Member].into_iter().any(|part| refused.is_of(part));
        match refused.item(Part::Record) {
            Some(item) if !is_stale => {
                let there: InvitationItem = read(OPERATION, item.clone())?;
                Ok(Invited::Already(there.invitation(&channel, user)))
            }
            _ => Ok(Invited::Stale),
        }
    }

    async fn accept(
        &self,
        channel: &Channel,
        invitation: &Invitation,
        member: &Member,
        read_seq: Seq,
    ) -> Result<MemberAdded, StoreError> {
        // The invitation admits to its own channel only, not to a later channel with the same id.
        if invitation.channel() != channel.key() || invitation.user_id != member.user_id {
            return Ok(MemberAdded::Stale);
        }
        let mut transaction = Transaction::default();
        let access = Access::of_roles(None, Some(member.role));
        self.place().require(&mut transaction, &Authority { channel, member: None }, access, None)?;
        let delete = self.delete_invitation(&mut transaction, invitation)?;
        let delete = delete.when("expires_at > :now").value("now", n(member.joined_at.as_secs()));
        transaction.add(Part::Record, delete)?;
        self.put_member(&mut transaction, channel, member, read_seq)?;
        let refused = match self.run(transaction).await? {
            Ran::Done => return Ok(MemberAdded::Added),
            Ran::Refused(refused) => refused,
        };
        match refused.item(Part::Member) {
            Some(item) if !refused.is_of(Part::Access) && !refused.is_of(Part::Record) => {
                Ok(MemberAdded::Already(read(OPERATION, self.keys.plain(item.clone()))?))
            }
            _ => Ok(MemberAdded::Stale),
        }
    }

    async fn withdraw_invitation(
        &self,
        by: Option<&Authority<'_>>,
        invitation: &Invitation,
    ) -> Result<bool, StoreError> {
        let mut transaction = Transaction::default();
        if let Some(by) = by {
            self.place().require(&mut transaction, by, Access::Kept, None)?;
        }
        let delete = self.delete_invitation(&mut transaction, invitation)?;
        transaction.add(Part::Record, delete)?;
        Ok(matches!(self.run(transaction).await?, Ran::Done))
    }

    async fn invitations_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
        now: Timestamp,
    ) -> Result<InvitationPage, StoreError> {
        let (items, more) = self.page(&self.keys.invitations(user, after), usize::from(limit)).await?;
        let channels = items.iter().map(|item| {
            keys::listed_invitation_channel(text(item, "sk").unwrap_or_default())
                .map_err(|error| decode_error("Query", error))
        });
        let mut listed: Vec<ChannelKey> = channels.collect::<Result<_, _>>()?;
        // A page ends between two ids. It must not separate two incarnations of one id, since the first is being
        // removed.
        if more && let Some(last) = listed.last().map(|key| key.channel_id.clone()) {
            let kept = listed.iter().position(|key| key.channel_id == last).filter(|kept| *kept > 0);
            listed.truncate(kept.unwrap_or(listed.len()));
        }
        let next_after = listed.last().filter(|_| more).map(|key| key.channel_id.clone());
        let found = self.channels(listed.iter().map(|key| &key.channel_id)).await?;
        let wanted = listed.iter().map(|key| self.keys.invitation(key, user)).collect();
        let mut invitations = Vec::new();
        for item in self.batch_get(wanted).await? {
            if is_unexpired(&item, now) {
                let (_, key) = keys::channel_key(text(&item, "channel_id").unwrap_or_default())
                    .map_err(|error| decode_error("BatchGetItem", error))?;
                invitations.push(read::<InvitationItem>("BatchGetItem", item)?.invitation(&key, user));
            }
        }
        let channels = listed.iter().filter_map(|key| {
            let channel = found.get(&key.channel_id).filter(|channel| channel.incarnation == key.incarnation)?;
            let invitation = invitations.iter().find(|one| one.channel() == *key)?.clone();
            Some(InvitedChannel { name: channel.name.clone(), invitation })
        });
        Ok(InvitationPage { channels: channels.collect(), next_after })
    }
}
