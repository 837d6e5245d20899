//! Laws of the threads: their roots and summaries, and the reads of parts of a history.

use std::time::Duration;

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Visibility},
        message::{Message, StoredMessage},
        seq::Seq,
        thread::ThreadSummary,
        time::Timestamp,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{Append, AppendResult, Excerpt, MessageStore, Range, Selection, UpdateResult},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn roots(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("roots", Visibility::Public).await?;
        let key = channel.key();
        let root = self.send(&channel, "olga").await?;
        let thread = async || -> Outcome<Option<ThreadSummary>> {
            Ok(messages.message(&key, Seq::FIRST, self.now).await?.and_then(|message| message.thread))
        };
        require_eq!(thread().await?, None, "the summary without a reply");
        for seq in [2, 3] {
            let (_, appended) = self.in_thread(&channel, Seq::FIRST, self.now).await?;
            require_eq!(appended, AppendResult::Stored, "reply {seq}");
            let wanted = ThreadSummary { reply_count: seq - 1, last_reply_seq: Seq::new(seq), last_reply_at: self.now };
            require_eq!(thread().await?, Some(wanted), "the summary after reply {seq}");
        }
        let (_, nested) = self.in_thread(&channel, Seq::new(2), self.now).await?;
        require_eq!(nested, AppendResult::NotARoot, "a thread in a thread");
        let (_, absent) = self.in_thread(&channel, Seq::new(99), self.now).await?;
        require_eq!(absent, AppendResult::RootNotFound, "a thread of a message that is not there");
        require_eq!(self.head(&channel.channel_id).await?.last_seq, Seq::new(3), "the number after them");

        // A change of the root keeps the summary, and a deleted root keeps its thread.
        let current = self.current(&channel).await?;
        let by = Authority { channel: &current, member: Some(&olga) };
        let deleted = Message { content: String::new(), deleted_at: Some(self.now), ..root.message.revised() };
        let deleted = StoredMessage { message: deleted, ..root };
        require_eq!(self.revise(&by, &deleted).await?, UpdateResult::Done, "a deletion of the root");
        require_eq!(thread().await?.map(|thread| thread.reply_count), Some(2), "the summary of a deleted root");
        let (_, late) = self.in_thread(&channel, Seq::FIRST, self.now).await?;
        require_eq!(late, AppendResult::Stored, "a reply below a deleted root");
        require_eq!(thread().await?.map(|thread| thread.reply_count), Some(3), "the summary after it");
        let found = messages.message(&key, Seq::FIRST, self.now).await?;
        require!(found.is_some_and(|root| root.deleted_at.is_some()), "the deleted root is deleted no more");

        // A repeated attempt counts once.
        let before = self.head(&channel.channel_id).await?;
        let (again, _) = self.in_thread(&channel, Seq::FIRST, self.now).await?;
        require_eq!(self.append(&before, &again, None).await?, AppendResult::Stored, "the same reply again");
        require_eq!(thread().await?.map(|thread| thread.reply_count), Some(4), "the summary after it");

        let head = self.head(&channel.channel_id).await?;
        let mut expiring = self.message(&head, "olga")?;
        expiring.expires_at = Some(self.later(LONG));
        require_eq!(self.append(&head, &expiring, None).await?, AppendResult::Stored, "a message that expires");
        let after = self.later(LONG + Duration::from_secs(1));
        let (_, expired) = self.in_thread(&channel, expiring.message.seq, after).await?;
        require_eq!(expired, AppendResult::RootNotFound, "a thread of an expired message");
        Ok(())
    }

    pub(super) async fn selections(&self) -> Outcome {
        let (channel, _) = self.channel("selections", Visibility::Public).await?;
        // Roots of the messages 1 to 9, or 0.
        let roots: [u64; 9] = [0, 0, 1, 2, 1, 0, 1, 1, 0];
        for (number, root) in (1_u64..).zip(roots) {
            let head = self.head(&channel.channel_id).await?;
            let mut message = self.message(&head, "olga")?;
            message.message.thread_seq = (root > 0).then_some(Seq::new(root));
            // The seventh message expires.
            message.expires_at = (number == 7).then(|| self.later(LONG));
            require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "message {number}");
        }
        for (now, is_late) in [(self.now, false), (self.later(LONG + Duration::from_secs(1)), true)] {
            for (selection, all) in [
                (Selection::OutsideThreads, vec![1, 2, 6, 9]),
                (Selection::Thread(Seq::FIRST), vec![3, 5, 7, 8]),
                (Selection::Thread(Seq::new(2)), vec![4]),
                (Selection::Thread(Seq::new(6)), vec![]),
                (Selection::Thread(Seq::new(99)), vec![]),
                (Selection::Roots, vec![1, 2]),
            ] {
                let all: Vec<u64> = all.into_iter().filter(|seq| !(is_late && *seq == 7)).collect();
                self.selection(&channel, selection, &all, now).await?;
            }
        }
        Ok(())
    }

    /// Checks the pages of a selection in each range. `all` are the selected messages.
    async fn selection(&self, channel: &Channel, selection: Selection, all: &[u64], now: Timestamp) -> Outcome {
        let newest_first =
            |before: u64| -> Vec<u64> { all.iter().copied().rev().filter(|seq| *seq < before).collect() };
        let ranges: [(Range, Vec<u64>); 6] = [
            (Range::Newest, newest_first(u64::MAX)),
            (Range::Before(Seq::new(6)), newest_first(6)),
            (Range::Before(Seq::FIRST), vec![]),
            (Range::After(Seq::ZERO), all.to_vec()),
            (Range::After(Seq::new(5)), all.iter().copied().filter(|seq| *seq > 5).collect()),
            (Range::After(Seq::LARGEST), vec![]),
        ];
        for (first, wanted) in ranges {
            for limit in [1, 2, 10] {
                let (mut range, mut found) = (first, Vec::new());
                loop {
                    let page = self.ports.messages.selected(&channel.key(), selection, range, limit, now).await?;
                    let Excerpt { messages, rest } = page;
                    require!(messages.len() <= usize::from(limit), "{selection:?}, {first:?}: more than {limit}");
                    found.extend(messages.iter().map(|message| message.seq.get()));
                    let Some(rest) = rest else { break };
                    require!(
                        messages.len() == usize::from(limit),
                        "{selection:?}, {first:?}: {} messages of {limit}, and more to come",
                        messages.len()
                    );
                    range = if matches!(first, Range::After(_)) { Range::After(rest) } else { Range::Before(rest) };
                }
                require_eq!(found, wanted, "{selection:?}, {first:?}, up to {limit}");
            }
        }
        Ok(())
    }

    /// Appends a message to a thread, after the current head.
    async fn in_thread(&self, channel: &Channel, root: Seq, now: Timestamp) -> Outcome<(StoredMessage, AppendResult)> {
        let head = self.head(&channel.channel_id).await?;
        let mut message = self.message(&head, "olga")?;
        message.message.thread_seq = Some(root);
        let append =
            Append { head: &head, message: &message, for_agent: false, record: None, member: None, token: None, now };
        let appended = self.ports.messages.append(append).await?;
        Ok((message, appended))
    }
}
