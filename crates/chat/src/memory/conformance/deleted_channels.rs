//! Law of the removal of deleted channels.

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id, request_key},
};
use crate::{
    model::{
        access::Authority,
        channel::{MemberRole, Visibility},
        rev::Rev,
        seq::Seq,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, Range, UpdateResult},
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
        let current = self.current(&old).await?;
        let by = Authority { channel: &current, member: Some(&olga) };
        let mut changed = message;
        for _ in 0..3 {
            changed.message = changed.message.revised();
            require_eq!(self.revise(&by, &changed).await?, UpdateResult::Done, "a change");
        }
        self.delete(&old, &olga).await?;
        let listed = store.memberships(&id("u1")?, 100).await?.channels;
        require!(listed.contains(&old.key()), "a membership outlives a deletion until it is removed");

        let (new, owner) = self.channel("removal", Visibility::Private).await?;
        let mut kept = self.send(&new, "olga").await?;
        kept.message = kept.message.revised();
        let by = Authority { channel: &new, member: Some(&owner) };
        require_eq!(self.revise(&by, &kept).await?, UpdateResult::Done, "a change in the channel that took the id");
        let mut calls = 0;
        while !removal.remove_some(&old.key()).await? {
            calls += 1;
            require!(calls < 1_000, "the removal does not end");
        }
        require!(removal.remove_some(&old.key()).await?, "a removal that is done, once more");
        let key = old.key();
        require_eq!(messages.messages(&key, Range::After(Seq::ZERO), 10, self.now).await?, vec![], "messages");
        require_eq!(messages.changes(&key, Rev::ZERO, 10, self.now).await?, vec![], "records of changes");
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
        let found = messages.changes(&new.key(), Rev::ZERO, 10, self.now).await?;
        require_eq!(found, vec![(Rev::FIRST, Seq::FIRST)], "the changes of the channel that took the id");
        require_eq!(self.last_change(&new.channel_id).await?, Rev::FIRST, "the number of its last change");
        Ok(())
    }
}
