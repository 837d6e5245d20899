//! Law of the removal of deleted channels.

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id, request_key},
};
use crate::{
    model::{
        access::Authority,
        channel::{MemberRole, Visibility},
        seq::Seq,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, Range},
        reply_leases::{Acquire, LeaseOwner, MessageKey},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn removal(&self) -> Outcome {
        let Ports { channels: store, messages, removal, .. } = *self.ports;
        let (old, olga) = self.channel("removal", Visibility::Private).await?;
        let by = Authority { channel: &old, member: Some(&olga) };
        for number in 0..5 {
            self.member(&by, &format!("u{number}"), MemberRole::Member).await?;
            self.send(&old, "olga").await?;
        }
        let head = self.head(&old.channel_id).await?;
        let message = self.message(&head, "olga")?;
        let record = self.record(request_key("olga")?, &message);
        require_eq!(self.append(&head, &message, Some(&record)).await?, AppendResult::Stored, "a message with a key");
        let question = MessageKey { channel: old.key(), seq: Seq::FIRST };
        store.acquire(&question, LeaseOwner::new(1), self.later(LONG), self.now).await?;
        self.delete(&old, &olga).await?;
        let listed = store.memberships(&id("u1")?, 100).await?.channels;
        require!(listed.contains(&old.key()), "a membership outlives a deletion until it is removed");

        let (new, _) = self.channel("removal", Visibility::Private).await?;
        let kept = self.send(&new, "olga").await?;
        let mut calls = 0;
        while !removal.remove_some(&old.key()).await? {
            calls += 1;
            require!(calls < 1_000, "the removal does not end");
        }
        require!(removal.remove_some(&old.key()).await?, "a removal that is done, once more");
        let key = old.key();
        require_eq!(messages.messages(&key, Range::After(Seq::ZERO), 10, self.now).await?, vec![], "messages");
        require_eq!(store.members(&key, None, 10).await?.members, vec![], "members");
        require_eq!(messages.idempotency_record(&key, &record.key).await?, None, "a record");
        let claimed = store.acquire(&question, LeaseOwner::new(2), self.later(LONG), self.now).await?;
        require!(matches!(claimed, Acquire::Acquired(_)), "a claim of a channel that was removed");
        for user in ["olga", "u1"] {
            let listed = store.memberships(&id(user)?, 100).await?.channels;
            require!(!listed.contains(&key), "{user} still lists the channel");
        }
        let listed = store.memberships(&id("olga")?, 1_000).await?.channels;
        require!(listed.contains(&new.key()), "olga does not list the channel that took the id");
        let found = messages.messages(&new.key(), Range::After(Seq::ZERO), 10, self.now).await?;
        require_eq!(found, vec![kept.message], "the history of the channel that took the id");
        Ok(())
    }
}
