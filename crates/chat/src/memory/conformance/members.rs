//! Laws of the memberships.

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Member, MemberAdded, MemberRole, Visibility},
        incarnation::Incarnation,
        pending_end::{EndCause, PendingEnd},
        seq::Seq,
    },
    ports::{
        channel_store::MemberChanged, clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore,
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn memberships_begun_anew(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("lives", Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let first = self.member(&by, "rita", MemberRole::Member).await?;
        let again = self.new_member(&channel, "rita", MemberRole::Member)?;
        let added = store.add_member(&by, &again, Seq::ZERO).await?;
        require_eq!(added, MemberAdded::Already(first.clone()), "a member twice");
        self.remove(&by, &first).await?;
        require_eq!(store.member(&channel.key(), &first.user_id).await?, None, "a member who was removed");
        let second = self.member(&by, "rita", MemberRole::Member).await?;
        let pending =
            PendingEnd::new(channel.key(), EndCause::MemberRemoved { user_id: first.user_id.clone() }, self.seed());
        let removed = store.remove_member(&by, &first, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "removing the membership before");
        let changed = store.change_role(&by, &first, MemberRole::Moderator).await?;
        require_eq!(changed, MemberChanged::Stale, "changing the membership before");
        require_eq!(store.member(&channel.key(), &first.user_id).await?, Some(second.clone()), "the membership");
        let lease = store.lease(&pending, self.later(LONG), self.later(LONG)).await?;
        require_eq!(lease, None, "an end of what has not ended");
        // The caller is the member: one condition covers both, instead of two that contradict each other.
        let as_moderator = Member { role: MemberRole::Moderator, ..second.clone() };
        let by_self = Authority { channel: &channel, member: Some(&as_moderator) };
        let removed = store.remove_member(&by_self, &second, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "a caller whose membership differs from the member's");
        let by_self = Authority { channel: &channel, member: Some(&second) };
        self.remove(&by_self, &second).await?;
        let among = store.members_among(&channel.key(), &[first.user_id, olga.user_id.clone(), id("x")?]).await?;
        require_eq!(among, vec![olga], "the members among some users");
        Ok(())
    }

    pub(super) async fn last_owners(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("owners", Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let pending =
            PendingEnd::new(channel.key(), EndCause::MemberRemoved { user_id: olga.user_id.clone() }, self.seed());
        let last = MemberChanged::LastOwner;
        require_eq!(store.remove_member(&by, &olga, &pending, self.now).await?, last, "the last owner leaves");
        require_eq!(store.change_role(&by, &olga, MemberRole::Member).await?, last, "the last owner steps down");
        require!(
            !self.ports.connections.gate(&channel.key(), self.now).await?.blocked.contains(&olga.user_id),
            "blocked"
        );
        let paul = self.member(&by, "paul", MemberRole::Owner).await?;
        let done = MemberChanged::Done;
        require_eq!(store.change_role(&by, &olga, MemberRole::Member).await?, done, "one of two owners steps down");
        let by_paul = Authority { channel: &channel, member: Some(&paul) };
        require_eq!(store.change_role(&by_paul, &paul, MemberRole::Moderator).await?, last, "the other one");
        let olga = Member { role: MemberRole::Member, ..olga };
        require_eq!(store.change_role(&by_paul, &olga, MemberRole::Owner).await?, done, "an owner again");
        self.remove(&by_paul, &paul).await?;
        let olga = Member { role: MemberRole::Owner, ..olga };
        let by = Authority { channel: &channel, member: Some(&olga) };
        require_eq!(store.remove_member(&by, &olga, &pending, self.now).await?, last, "the last of two");
        // A caller whose membership has changed gets `Stale`, and not `LastOwner`.
        let read_otherwise = Member { incarnation: Incarnation::generate(self.seed()), ..olga };
        let by = Authority { channel: &channel, member: Some(&read_otherwise) };
        let removed = store.remove_member(&by, &read_otherwise, &pending, self.now).await?;
        require_eq!(removed, MemberChanged::Stale, "a membership that is another");
        Ok(())
    }
}
