//! Laws of the invitations.

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded, MemberRole, Visibility},
        incarnation::Incarnation,
        invitation::Invitation,
        seq::Seq,
    },
    ports::{clock::Clock, deleted_channels::DeletedChannels, invitation_store::Invited, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn invitations(&self) -> Outcome {
        let (channel, olga) = self.channel("invited", Visibility::Private).await?;
        self.invitation_is_accepted(&channel, &olga).await?;
        self.invitation_ends_with_membership(&channel, &olga).await?;
        self.invitation_is_withdrawn(&channel, &olga).await?;
        self.invitation_ends_with_channel(&channel, &olga).await
    }

    async fn invitation_is_accepted(&self, channel: &Channel, olga: &Member) -> Outcome {
        let store = self.ports.channels;
        let (key, ina, by) = (channel.key(), id("ina")?, Authority { channel, member: Some(olga) });
        let member = Member { role: MemberRole::Moderator, ..self.new_member(channel, "ina", MemberRole::Member)? };
        let made_up = self.new_invitation(channel, "ina")?;
        let accepted = store.accept(channel, &made_up, &member, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting an invitation that was never made");

        let invitation = self.new_invitation(channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting");
        require_eq!(store.invitation(&key, &ina, self.now).await?, Some(invitation.clone()), "the invitation");
        require_eq!(store.member(&key, &ina).await?, None, "an invited user is no member");
        let again = store.invite(&by, &made_up, 10).await?;
        require_eq!(again, Invited::Already(invitation.clone()), "inviting again");
        require_eq!(store.invitation(&key, &ina, self.later(LONG)).await?, None, "an invitation that has expired");
        let accepted = store.accept(channel, &made_up, &member, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting another invitation than there is");
        let late = Member { joined_at: self.later(LONG), ..member.clone() };
        let accepted = store.accept(channel, &invitation, &late, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting an invitation that has expired");
        let archived = Channel { archived_at: Some(self.now), ..channel.clone() };
        let accepted = store.accept(&archived, &invitation, &member, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a channel that is not as it was read");

        let page = store.invitations_of(&ina, None, 10, self.now).await?;
        let listed: Vec<_> = page.channels.iter().map(|one| (&one.name, &one.invitation)).collect();
        require_eq!(listed, vec![(&channel.name, &invitation)], "the list of invitations");
        require_eq!(store.accept(channel, &invitation, &member, Seq::ZERO).await?, MemberAdded::Added, "accepting");
        require_eq!(store.member(&key, &ina).await?, Some(member.clone()), "the member");
        require_eq!(store.invitation(&key, &ina, self.now).await?, None, "an invitation that was accepted");
        require_eq!(store.invitations_of(&ina, None, 10, self.now).await?.channels, vec![], "the list after that");
        require_eq!(store.invite(&by, &made_up, 10).await?, Invited::Stale, "inviting a member");
        self.remove(&by, &member).await?;
        let anew = self.new_member(channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(channel, &invitation, &anew, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting once more");
        Ok(())
    }

    /// A user who is added despite an invitation, and then removed, cannot use the invitation to return.
    async fn invitation_ends_with_membership(&self, channel: &Channel, olga: &Member) -> Outcome {
        let store = self.ports.channels;
        let (key, ina, by) = (channel.key(), id("ina")?, Authority { channel, member: Some(olga) });
        let invitation = self.new_invitation(channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting again after the removal");
        let member = self.member(&by, "ina", MemberRole::Member).await?;
        self.remove(&by, &member).await?;
        require_eq!(store.invitation(&key, &ina, self.now).await?, None, "an invitation that a membership ended");
        let anew = self.new_member(channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(channel, &invitation, &anew, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting what a membership ended");
        Ok(())
    }

    /// The user or an authority that holds ends an invitation, and no other.
    async fn invitation_is_withdrawn(&self, channel: &Channel, olga: &Member) -> Outcome {
        let store = self.ports.channels;
        let by = Authority { channel, member: Some(olga) };
        let made_up = self.new_invitation(channel, "ina")?;
        let invitation = self.new_invitation(channel, "ina")?;
        require_eq!(store.invite(&by, &invitation, 10).await?, Invited::Done, "inviting once more");
        let stranger = self.new_member(channel, "sam", MemberRole::Owner)?;
        let stale = Authority { channel, member: Some(&stranger) };
        require!(!store.withdraw_invitation(Some(&stale), &invitation).await?, "a stranger takes it back");
        require!(!store.withdraw_invitation(Some(&by), &made_up).await?, "another invitation is taken back");
        require!(store.withdraw_invitation(Some(&by), &invitation).await?, "it is not taken back");
        require!(!store.withdraw_invitation(None, &invitation).await?, "it is declined after that");
        require_eq!(store.invite(&stale, &invitation, 10).await?, Invited::Stale, "inviting without a membership");
        Ok(())
    }

    /// A user has a maximum number of pending invitations. An invitation ends with its channel.
    async fn invitation_ends_with_channel(&self, channel: &Channel, olga: &Member) -> Outcome {
        let store = self.ports.channels;
        let (ina, by) = (id("ina")?, Authority { channel, member: Some(olga) });
        let invitation = self.new_invitation(channel, "ina")?;
        let (second, of_second) = self.channel("invited2", Visibility::Public).await?;
        let by_second = Authority { channel: &second, member: Some(&of_second) };
        let to_second = self.new_invitation(&second, "ina")?;
        require_eq!(store.invite(&by_second, &to_second, 10).await?, Invited::Done, "inviting to the second");
        require_eq!(store.invite(&by, &invitation, 1).await?, Invited::TooMany, "inviting a user who has enough");
        let elsewhere = self.new_member(channel, "ina", MemberRole::Member)?;
        let accepted = store.accept(channel, &to_second, &elsewhere, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into another channel");
        let other = self.new_member(&second, "sam", MemberRole::Member)?;
        let accepted = store.accept(&second, &to_second, &other, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting by another user");
        self.delete(&second, &of_second).await?;
        let (anew, _) = self.channel("invited2", Visibility::Private).await?;
        let into_anew = self.new_member(&anew, "ina", MemberRole::Member)?;
        let accepted = store.accept(&anew, &to_second, &into_anew, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a channel that reuses the id");
        require_eq!(store.invitation(&anew.key(), &ina, self.now).await?, None, "an invitation to another incarnation");
        let member = self.new_member(&second, "ina", MemberRole::Member)?;
        let accepted = store.accept(&second, &to_second, &member, Seq::ZERO).await?;
        require_eq!(accepted, MemberAdded::Stale, "accepting into a deleted channel");
        require_eq!(store.invitations_of(&ina, None, 10, self.now).await?.channels, vec![], "the list at the end");
        while !self.ports.removal.remove_some(&second.key()).await? {}
        require_eq!(store.invitation(&second.key(), &ina, self.now).await?, None, "what was removed");
        Ok(())
    }

    pub(super) fn new_invitation(&self, channel: &Channel, user: &str) -> Outcome<Invitation> {
        Ok(Invitation {
            channel_id: channel.channel_id.clone(),
            channel_incarnation: channel.incarnation,
            user_id: id(user)?,
            incarnation: Incarnation::generate(self.seed()),
            role: MemberRole::Moderator,
            invited_by: id("olga")?,
            invited_at: self.now,
            expires_at: self.later(LONG),
        })
    }
}
