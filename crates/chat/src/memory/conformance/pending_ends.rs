//! Laws of the pending ends, and of the gates that go with them.

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, MemberRole, Visibility},
        connection::Gate,
        pending_end::{EndCause, PendingEnd},
    },
    ports::{clock::Clock, deleted_channels::DeletedChannels, message_store::MessageStore},
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn ends(&self) -> Outcome {
        let Ports { channels: store, connections, .. } = *self.ports;
        let (channel, olga) = self.channel("ends", Visibility::Public).await?;
        let key = channel.key();
        let gate = async || connections.gate(&key, self.now).await;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        require_eq!(gate().await?, Gate::default(), "the gate of a channel that nothing has ended in");
        let removed = self.remove(&by, &rita).await?;
        require!(gate().await?.blocked.contains(&rita.user_id), "a removed user is not blocked");
        let rita = self.member(&by, "rita", MemberRole::Member).await?;
        require!(!gate().await?.blocked.contains(&rita.user_id), "a user who is a member again is blocked");

        let private = Channel { visibility: Visibility::Private, version: 2, ..channel.clone() };
        let made_private = PendingEnd::new(key.clone(), EndCause::MadePrivate, self.seed());
        let updated = store.update(&by, &private, Some(&made_private), self.now).await?;
        require!(updated, "the channel is not made private");
        require!(gate().await?.private, "the gate of a channel that was made private");
        require_eq!(self.current(&channel).await?, private, "the channel that was made private");
        let archived = self.changed(&private, &olga, |channel| channel.archived_at = Some(self.now)).await?;
        require!(gate().await?.private, "the gate after a change of something else");
        let public = self.changed(&archived, &olga, |channel| channel.visibility = Visibility::Public).await?;
        require!(!gate().await?.private, "the gate of a channel that is public again");
        let deleted = self.delete(&public, &olga).await?;
        require!(gate().await?.closed, "the gate of a deleted channel");
        let after = self.later(LONG * 4);
        require_eq!(connections.gate(&key, after).await?, Gate::default(), "a gate after its time");

        for pending in [removed, made_private, deleted] {
            let until = self.later(LONG * 2);
            let leased = store.lease(&pending, until, self.later(LONG)).await?;
            require_eq!(leased, Some(PendingEnd { lease_until: until, ..pending.clone() }), "what was recorded");
            store.finish(&pending).await?;
        }
        Ok(())
    }

    pub(super) async fn leases(&self) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel("leases", Visibility::Public).await?;
        let recorded = self.delete(&channel, &olga).await?;
        let [first, second] = [1, 2].map(|hours| self.later(LONG * hours));
        require_eq!(store.lease(&recorded, second, self.now).await?, None, "what its maker has a lease on");
        let leased = store.lease(&recorded, second, recorded.lease_until).await?;
        require_eq!(leased, Some(PendingEnd { lease_until: second, ..recorded.clone() }), "a lease that has ended");
        require_eq!(store.lease(&recorded, second, first).await?, None, "a lease of another");
        let advanced = PendingEnd { after: Some(id("a=")?), lease_until: first, ..recorded.clone() };
        store.advance(&advanced).await?;
        let leased = store.lease(&recorded, second, first).await?;
        require_eq!(leased, Some(PendingEnd { lease_until: second, ..advanced.clone() }), "the progress");
        store.finish(&recorded).await?;
        store.advance(&advanced).await?;
        require_eq!(store.lease(&recorded, second, self.later(LONG * 3)).await?, None, "what is finished");
        store.finish(&recorded).await?;
        Ok(())
    }
}
