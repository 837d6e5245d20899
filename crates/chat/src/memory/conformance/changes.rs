//! Laws of the changes of messages: their numbers, and their records.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Visibility},
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        rev::{ChangeNumber, Rev},
        seq::Seq,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, ReactionResult, UpdateResult},
    },
};

/// Returns the next state of a message, with another content.
fn edited(stored: &StoredMessage, content: &str) -> StoredMessage {
    let message = Message { content: content.to_owned(), ..stored.message.revised() };
    StoredMessage { message, ..stored.clone() }
}

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    /// Each change takes the number after the last one of its channel, or is not made.
    pub(super) async fn change_numbers(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("change-numbers", Visibility::Public).await?;
        let first = self.send(&channel, "olga").await?;
        let second = self.send(&channel, "olga").await?;
        require_eq!(self.last_change(&channel.channel_id).await?, Rev::ZERO, "the number without a change");
        let by = Authority { channel: &channel, member: Some(&olga) };
        let (none, one) = (self.number(Rev::ZERO), self.number(Rev::FIRST));
        let first = edited(&first, "edited");
        require_eq!(messages.update_message(&by, &first, none).await?, UpdateResult::Done, "the first change");
        self.require_last(&channel, 1).await?;

        let revised = edited(&second, "revised");
        let react = Self::reaction_of_rita(&channel, Seq::new(2))?;
        for number in [none, self.number(Rev::new(2)), self.number(Rev::new(9))] {
            let found = messages.update_message(&by, &revised, number).await?;
            require_eq!(found, UpdateResult::Behind(Rev::FIRST), "an edit after change {}", number.last);
            let found = messages.react(&by, &react, &id("👍")?, Toggle::Add, number, self.now).await?;
            require_eq!(found, ReactionResult::Behind(Rev::FIRST), "a reaction after change {}", number.last);
        }
        let found = messages.message(&channel.key(), Seq::new(2), self.now).await?;
        require_eq!(found.as_ref(), Some(&second.message), "the message after changes with other numbers");
        self.require_last(&channel, 1).await?;

        // What is already as requested needs no number, and takes none.
        for (toggle, number, last) in
            [(Toggle::Remove, none, 1), (Toggle::Add, one, 2), (Toggle::Add, one, 2), (Toggle::Add, none, 2)]
        {
            let found = messages.react(&by, &react, &id("👍")?, toggle, number, self.now).await?;
            require_eq!(found, ReactionResult::Done, "{toggle:?} after change {}", number.last);
            self.require_last(&channel, last).await?;
        }
        self.refusals_before_numbers(&by, &first, none).await
    }

    /// A message that is not there and another version are reported first, whatever the number is.
    async fn refusals_before_numbers(&self, by: &Authority<'_>, edited: &StoredMessage, old: ChangeNumber) -> Outcome {
        let messages = self.ports.messages;
        require_eq!(messages.update_message(by, edited, old).await?, UpdateResult::Stale, "another version");
        let mut absent = edited.clone();
        absent.message.seq = Seq::new(99);
        let found = messages.update_message(by, &absent, old).await?;
        require_eq!(found, UpdateResult::MessageNotFound, "an edit of a message that is not there");
        let react = Self::reaction_of_rita(by.channel, Seq::new(99))?;
        let found = messages.react(by, &react, &id("👍")?, Toggle::Add, old, self.now).await?;
        require_eq!(found, ReactionResult::MessageNotFound, "a reaction to a message that is not there");
        self.require_last(by.channel, 2).await
    }

    /// Each change has a record until it expires, and is the last change of its message.
    pub(super) async fn change_records(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("change-records", Visibility::Public).await?;
        let key = channel.key();
        let by = Authority { channel: &channel, member: Some(&olga) };
        let first = self.send(&channel, "olga").await?;
        let second = self.send(&channel, "olga").await?;
        let head = self.head(&channel.channel_id).await?;
        let expires_at = Some(self.later(LONG));
        let third = StoredMessage { expires_at, ..self.message(&head, "olga")? };
        require_eq!(self.append(&head, &third, None).await?, AppendResult::Stored, "a message that expires");
        require_eq!(messages.changes(&key, Rev::ZERO, 10, self.now).await?, vec![], "records without a change");

        let first = edited(&first, "edited");
        require_eq!(self.revise(&by, &first).await?, UpdateResult::Done, "an edit");
        let react = Self::reaction_of_rita(&channel, Seq::new(2))?;
        for toggle in [Toggle::Add, Toggle::Remove] {
            let found = self.react(&by, &react, "👍", toggle, self.now).await?;
            require_eq!(found, ReactionResult::Done, "{toggle:?}");
        }
        // The record of the last change is stored for longer.
        let mut deleted = StoredMessage { message: second.message.revised().revised().revised(), ..second };
        deleted.message.content.clear();
        deleted.message.deleted_at = Some(self.now);
        let last = ChangeNumber { last: Rev::new(3), expires_at: self.later(LONG * 2) };
        require_eq!(messages.update_message(&by, &deleted, last).await?, UpdateResult::Done, "a deletion");
        require_eq!(self.revise(&by, &deleted).await?, UpdateResult::MessageNotFound, "what is deleted");
        self.require_last(&channel, 4).await?;

        let all: [(u64, u64); 4] = [(1, 1), (2, 2), (3, 2), (4, 2)];
        let late = self.later(LONG + Duration::from_secs(1));
        for (after, limit, now, wanted) in [
            (0, 10, self.now, &all[..]),
            (0, 4, self.now, &all[..]),
            (0, 1, self.now, &all[..1]),
            (1, 2, self.now, &all[1..3]),
            (3, 10, self.now, &all[3..]),
            (4, 10, self.now, &all[4..]),
            (9, 10, self.now, &all[4..]),
            (0, 10, late, &all[4..]),
            (2, 1, late, &all[4..]),
            (3, 1, late, &all[3..]),
        ] {
            let found = messages.changes(&key, Rev::new(after), limit, now).await?;
            let found: Vec<(u64, u64)> = found.into_iter().map(|(rev, seq)| (rev.get(), seq.get())).collect();
            require_eq!(found, wanted, "up to {limit} records after change {after}");
        }
        let wanted = [(Rev::FIRST, first.message), (Rev::new(4), deleted.message), (Rev::ZERO, third.message)];
        for (now, wanted) in [(self.now, &wanted[..]), (late, &wanted[..2])] {
            let seqs = [1, 2, 3, 99].map(Seq::new);
            let mut found = messages.messages_among(&key, &seqs, now).await?;
            found.sort_unstable_by_key(|(_, message)| message.seq);
            require_eq!(found, wanted, "messages with the numbers of their last changes");
        }
        require_eq!(messages.messages_among(&key, &[], self.now).await?, vec![], "no messages");
        Ok(())
    }

    /// A channel that reuses an id counts its changes from 1.
    pub(super) async fn changes_counted_anew(&self) -> Outcome {
        let messages = self.ports.messages;
        let mut keys = Vec::new();
        for changes in [3, 1] {
            let (channel, olga) = self.channel("change-anew", Visibility::Public).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let mut stored = self.send(&channel, "olga").await?;
            self.require_last(&channel, 0).await?;
            require_eq!(messages.changes(&channel.key(), Rev::ZERO, 10, self.now).await?, vec![], "records before");
            for number in 1..=changes {
                stored = edited(&stored, &number.to_string());
                require_eq!(self.revise(&by, &stored).await?, UpdateResult::Done, "change {number}");
                self.require_last(&channel, number).await?;
            }
            let found = messages.changes(&channel.key(), Rev::ZERO, 10, self.now).await?;
            let wanted: Vec<(Rev, Seq)> = (1..=changes).map(|number| (Rev::new(number), Seq::FIRST)).collect();
            require_eq!(found, wanted, "the records");
            keys.push(channel.key());
            if changes == 3 {
                self.delete(&channel, &olga).await?;
                require_eq!(messages.head(&channel.channel_id).await?, None, "the number of a deleted channel");
            }
        }
        for (key, changes) in keys.iter().zip([3, 1]) {
            let found = messages.changes(key, Rev::ZERO, 10, self.now).await?;
            require_eq!(found.len(), changes, "records of {key}, which has not been removed");
        }
        Ok(())
    }

    async fn require_last(&self, channel: &Channel, last: u64) -> Outcome {
        require_eq!(self.last_change(&channel.channel_id).await?, Rev::new(last), "the number of the last change");
        Ok(())
    }

    fn reaction_of_rita(channel: &Channel, seq: Seq) -> Outcome<MessageRef> {
        Ok(MessageRef { channel_id: channel.channel_id.clone(), seq, caller: id("rita")?, trace: None })
    }
}
