//! Law of the questions: an append of a reply requires them.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Visibility},
        message::Message,
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{Append, AppendResult, MessageStore, RecordKey, UpdateResult},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn questions(&self) -> Outcome {
        let (channel, olga) = self.channel("questions", Visibility::Public).await?;
        let mut answered = self.send(&channel, "olga").await?;
        require_eq!(self.reply(&channel, Seq::FIRST, self.now).await?, AppendResult::Stored, "a reply");
        let mut deleted = self.send(&channel, "olga").await?;
        let current = self.current(&channel).await?;
        let by = Authority { channel: &current, member: Some(&olga) };
        for message in [&mut answered, &mut deleted] {
            let deleted = Message { content: String::new(), deleted_at: Some(self.now), ..message.message.revised() };
            message.message = deleted;
            require_eq!(self.revise(&by, message).await?, UpdateResult::Done, "a deletion");
        }
        let again = self.reply(&channel, answered.message.seq, self.now).await?;
        require!(matches!(again, AppendResult::KeyTaken(_)), "a used key of a deleted question: {again:?}");
        let late = self.reply(&channel, deleted.message.seq, self.now).await?;
        require_eq!(late, AppendResult::QuestionNotFound, "a reply to a deleted question");

        let head = self.head(&channel.channel_id).await?;
        let mut expiring = self.message(&head, "olga")?;
        expiring.expires_at = Some(self.later(LONG));
        require_eq!(self.append(&head, &expiring, None).await?, AppendResult::Stored, "a question that expires");
        let after = self.later(LONG + Duration::from_secs(1));
        let late = self.reply(&channel, expiring.message.seq, after).await?;
        require_eq!(late, AppendResult::QuestionNotFound, "a reply to an expired question");
        require_eq!(
            self.reply(&channel, Seq::new(99), self.now).await?,
            AppendResult::QuestionNotFound,
            "a reply to a message that is not there"
        );
        require_eq!(self.head(&channel.channel_id).await?.last_seq, expiring.message.seq, "the number after them");
        require_eq!(
            self.reply(&channel, expiring.message.seq, self.now).await?,
            AppendResult::Stored,
            "a reply to a question that expires later"
        );
        Ok(())
    }

    /// Appends a reply to a message, after the current head.
    async fn reply(&self, channel: &Channel, to: Seq, now: Timestamp) -> Outcome<AppendResult> {
        let head = self.head(&channel.channel_id).await?;
        let mut message = self.message(&head, "agent")?;
        message.message.reply_to = Some(to);
        let record = self.record(RecordKey::Reply { seq: to }, &message);
        let append = Append {
            head: &head,
            message: &message,
            for_agent: false,
            record: Some(&record),
            member: None,
            token: None,
            now,
        };
        Ok(self.ports.messages.append(append).await?)
    }
}
