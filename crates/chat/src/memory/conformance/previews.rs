//! Laws of the parts of messages that lists of channels show and count.

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome},
};
use crate::{
    model::{
        access::Authority,
        channel::Visibility,
        incarnation::ChannelKey,
        message::StoredMessage,
        preview::{MessageOutline, MessagePreview},
        seq::Seq,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{AppendResult, MessageStore, UpdateResult},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    /// The third message expires in an hour, and the second is deleted.
    pub(super) async fn previews(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("previews", Visibility::Public).await?;
        let first = self.send(&channel, "paul").await?;
        let second = self.send(&channel, "olga").await?;
        let head = self.head(&channel.channel_id).await?;
        let expires_at = Some(self.later(LONG));
        let third = StoredMessage { expires_at, ..self.message(&head, "paul")? };
        require_eq!(self.append(&head, &third, None).await?, AppendResult::Stored, "a message that expires");
        let fourth = self.send(&channel, "olga").await?;
        let current = self.current(&channel).await?;
        let by = Authority { channel: &current, member: Some(&olga) };
        let mut deleted = StoredMessage { message: second.message.revised(), ..second };
        deleted.message.content.clear();
        deleted.message.deleted_at = Some(self.now);
        require_eq!(self.revise(&by, &deleted).await?, UpdateResult::Done, "deleting a message");
        let all = [&first, &deleted, &third, &fourth].map(|stored| &stored.message);

        let (other, _) = self.channel("previews-other", Visibility::Public).await?;
        let of_other = self.send(&other, "paul").await?;
        let (empty, _) = self.channel("previews-empty", Visibility::Public).await?;
        for (number, message) in all.iter().enumerate() {
            let wanted = [(channel.key(), message.seq), (other.key(), Seq::FIRST), (empty.key(), Seq::FIRST)];
            let mut found = messages.previews(&wanted, self.now).await?;
            found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            let expected =
                vec![(channel.key(), MessagePreview::from(*message)), (other.key(), (&of_other.message).into())];
            require_eq!(found, expected, "the preview of message {}", message.seq);
            let late = messages.previews(&wanted[..1], self.later(LONG)).await?;
            require_eq!(late.len(), usize::from(number != 2), "the preview of message {} an hour later", message.seq);
        }
        require_eq!(messages.previews(&[], self.now).await?, vec![], "no previews");
        self.outlines(&channel.key(), &all.map(MessageOutline::from)).await
    }

    /// `all` are the outlines of all messages of the channel, oldest first. The third has expired an hour later.
    async fn outlines(&self, channel: &ChannelKey, all: &[MessageOutline; 4]) -> Outcome {
        let messages = self.ports.messages;
        for (after, before, limit, now, expected) in [
            (0, 5, 9, self.now, vec![4, 3, 2, 1]),
            (0, 5, 2, self.now, vec![4, 3]),
            (1, 4, 9, self.now, vec![3, 2]),
            (3, 4, 9, self.now, vec![]),
            (4, 4, 9, self.now, vec![]),
            (4, 2, 9, self.now, vec![]),
            (2, 99, 9, self.now, vec![4, 3]),
            (0, 5, 9, self.later(LONG), vec![4, 2, 1]),
            // The expired message is among those that are looked at.
            (0, 5, 2, self.later(LONG), vec![4]),
        ] {
            let found = messages.outlines(channel, Seq::new(after), Seq::new(before), limit, now).await?;
            let of_seq = |seq: u64| all.iter().find(|outline| outline.seq == Seq::new(seq)).cloned();
            let expected: Vec<MessageOutline> = expected.into_iter().filter_map(of_seq).collect();
            require_eq!(found, expected, "up to {limit} messages between {after} and {before}");
        }
        Ok(())
    }
}
