//! Law of exports and imports.

use std::collections::BTreeSet;

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Instructions, Member, MemberRole, Visibility},
        id::{ChannelId, TenantId},
        incarnation::Incarnation,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        rev::Rev,
        seq::Seq,
    },
    ports::{
        channel_transfer::{ChannelTransfer, Published},
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::{Append, AppendResult, MessageStore, Range, ReactionResult, Selection, UpdateResult},
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn transfer<Transfer: ChannelTransfer>(&self, transfer: &Transfer) -> Outcome {
        let channel = self.talkative("transfer-from").await?;
        let Some((exported, rev)) = transfer.channel_to_export(&channel.channel_id).await? else {
            return Err(super::Stop("the channel to export is not there".to_owned()));
        };
        require_eq!((exported.last_seq, rev), (Seq::new(6), Rev::new(3)), "the numbers of the exported channel");
        let members = self.exported_members(transfer, &exported).await?;
        let messages = self.exported_messages(transfer, &exported).await?;
        let all = self.all(transfer).await?;
        require!(all.contains(&(None, channel.channel_id.clone())), "{} is not among all channels", channel.channel_id);

        let mut copy =
            Channel { channel_id: id("transfer-to")?, incarnation: Incarnation::generate(self.seed()), ..exported };
        copy.agent.instructions = Instructions::Text("be brief".to_owned());
        let copied = |member: &(Member, Seq)| {
            let (member, read_seq) = member.clone();
            let incarnation = Incarnation::generate(self.seed());
            (Member { channel_id: copy.channel_id.clone(), incarnation, ..member }, read_seq)
        };
        let members: Vec<(Member, Seq)> = members.iter().map(copied).collect();
        let messages: Vec<StoredMessage> = messages.into_iter().map(|stored| of(&copy, stored)).collect();
        for _ in 0..2 {
            transfer.import_members(&copy.key(), &members).await?;
            transfer.import_messages(&copy.key(), &messages).await?;
        }
        require_eq!(self.ports.channels.channel(&copy.channel_id).await?, None, "a channel before it is published");
        for _ in 0..2 {
            require_eq!(transfer.publish(&copy, 2, rev).await?, Published::Done, "publishing");
        }
        let other = Channel { incarnation: Incarnation::generate(self.seed()), ..copy.clone() };
        require_eq!(transfer.publish(&other, 1, rev).await?, Published::Taken, "publishing another one");
        let again = transfer.channel_to_export(&copy.channel_id).await?;
        require_eq!(again, Some((copy.clone(), rev)), "the copy with its instructions");
        require_eq!(self.exported_members(transfer, &copy).await?, members, "the members of the copy");
        require_eq!(self.exported_messages(transfer, &copy).await?, messages, "the messages of the copy");
        self.reads(&channel, &copy).await?;
        self.goes_on(&copy, &members).await
    }

    /// Creates a channel with six messages: a thread, an edit, a deletion and a reaction. Message 6 expires later.
    async fn talkative(&self, name: &str) -> Outcome<Channel> {
        let (channel, olga) = self.channel(name, Visibility::Public).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        self.member(&by, "owen", MemberRole::Owner).await?;
        self.member(&by, "mara", MemberRole::Member).await?;
        self.ports.channels.mark_read(&channel.key(), &id("mara")?, Seq::new(2)).await?;
        for number in 1..=6_u64 {
            let head = self.head(&channel.channel_id).await?;
            let mut stored = self.message(&head, "olga")?;
            stored.message.thread_seq = matches!(number, 2 | 4).then_some(Seq::FIRST);
            stored.expires_at = (number == 6).then_some(self.later(LONG));
            let append = Append {
                head: &head,
                message: &stored,
                for_agent: false,
                record: None,
                member: None,
                token: None,
                now: self.now,
            };
            require_eq!(self.ports.messages.append(append).await?, AppendResult::Stored, "message {number}");
        }
        let third = self.read_back(&channel, 3).await?;
        let edited = Message { content: "edited".to_owned(), edited_at: Some(self.now), ..third.revised() };
        require_eq!(self.revise(&by, &of_message(&channel, edited)).await?, UpdateResult::Done, "an edit");
        let fifth = self.read_back(&channel, 5).await?;
        let deleted = Message { content: String::new(), deleted_at: Some(self.now), ..fifth.revised() };
        require_eq!(self.revise(&by, &of_message(&channel, deleted)).await?, UpdateResult::Done, "a deletion");
        let react =
            MessageRef { channel_id: channel.channel_id.clone(), seq: Seq::FIRST, caller: id("mara")?, trace: None };
        require_eq!(self.react(&by, &react, "👍", Toggle::Add, self.now).await?, ReactionResult::Done, "a reaction");
        Ok(channel)
    }

    async fn read_back(&self, channel: &Channel, seq: u64) -> Outcome<Message> {
        let found = self.ports.messages.message(&channel.key(), Seq::new(seq), self.now).await?;
        found.ok_or_else(|| super::Stop(format!("message {seq} is not there")))
    }

    async fn all<Transfer: ChannelTransfer>(
        &self,
        transfer: &Transfer,
    ) -> Outcome<BTreeSet<(Option<TenantId>, ChannelId)>> {
        let (mut all, mut after) = (BTreeSet::new(), None);
        loop {
            let part = transfer.all_channels(after.as_deref()).await?;
            for one in part.ids {
                require!(all.insert(one.clone()), "{one:?} is listed twice");
            }
            after = part.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    async fn exported_members<Transfer: ChannelTransfer>(
        &self,
        transfer: &Transfer,
        channel: &Channel,
    ) -> Outcome<Vec<(Member, Seq)>> {
        let whole = transfer.members_to_export(&channel.key(), None, 10).await?;
        let found: Vec<(&str, MemberRole, u64)> =
            whole.iter().map(|(member, mark)| (member.user_id.as_str(), member.role, mark.get())).collect();
        let wanted =
            vec![("mara", MemberRole::Member, 2), ("olga", MemberRole::Owner, 0), ("owen", MemberRole::Owner, 0)];
        require_eq!(found, wanted, "members and their marks");
        let mut pages = transfer.members_to_export(&channel.key(), None, 2).await?;
        require!(pages.len() == 2, "a page of two members has {}", pages.len());
        let last = pages.last().map(|(member, _)| member.user_id.clone());
        pages.extend(transfer.members_to_export(&channel.key(), last.as_ref(), 2).await?);
        require_eq!(pages, whole, "members in pages");
        Ok(whole)
    }

    async fn exported_messages<Transfer: ChannelTransfer>(
        &self,
        transfer: &Transfer,
        channel: &Channel,
    ) -> Outcome<Vec<StoredMessage>> {
        let (key, last) = (channel.key(), channel.last_seq);
        let whole = transfer.messages_to_export(&key, Seq::ZERO, last, 10, self.now).await?;
        let found: Vec<(u64, u64, u64)> =
            whole.iter().map(|stored| (stored.message.seq.get(), stored.message.version, stored.rev.get())).collect();
        let wanted = vec![(1, 2, 3), (2, 1, 0), (3, 2, 1), (4, 1, 0), (5, 2, 2), (6, 1, 0)];
        require_eq!(found, wanted, "messages with their versions and changes");
        let mut pages = Vec::new();
        loop {
            let after = pages.last().map_or(Seq::ZERO, |stored: &StoredMessage| stored.message.seq);
            let page = transfer.messages_to_export(&key, after, last, 4, self.now).await?;
            let is_last = page.len() < 4;
            pages.extend(page);
            if is_last {
                break;
            }
        }
        require_eq!(pages, whole, "messages in pages");
        let up_to = transfer.messages_to_export(&key, Seq::FIRST, Seq::new(3), 10, self.now).await?;
        require!(up_to.as_slice() == &whole[1..3], "messages after 1 up to 3 are {up_to:?}");
        let later = transfer.messages_to_export(&key, Seq::ZERO, last, 10, self.later(LONG)).await?;
        require_eq!(later.len(), 5, "messages when the last one has expired");
        Ok(whole)
    }

    /// Compares the reads of the copy with those of the channel.
    async fn reads(&self, channel: &Channel, copy: &Channel) -> Outcome {
        let Ports { channels, messages, .. } = *self.ports;
        let bare = copy.clone().without_instructions();
        require_eq!(channels.channel_with_rev(&copy.channel_id).await?, Some((bare.clone(), Rev::new(3))), "the copy");
        let listed = channels.memberships(&id("mara")?, 1_000).await?.channels;
        require!(listed.contains(&copy.key()), "mara does not list the copy");
        let public = channels.public_channels(&copy.name, None, 10).await?.channels;
        require!(public.contains(&bare), "the copy is not among the public channels");
        for selection in [Selection::OutsideThreads, Selection::Thread(Seq::FIRST), Selection::Roots] {
            let range = Range::After(Seq::ZERO);
            let found = messages.selected(&copy.key(), selection, range, 10, self.now).await?.messages;
            let wanted = messages.selected(&channel.key(), selection, range, 10, self.now).await?.messages;
            let wanted: Vec<Message> =
                wanted.into_iter().map(|message| Message { channel_id: copy.channel_id.clone(), ..message }).collect();
            require_eq!(found, wanted, "{selection:?} of the copy");
        }
        Ok(())
    }

    /// Sends, reacts and changes members in the copy.
    async fn goes_on(&self, copy: &Channel, members: &[(Member, Seq)]) -> Outcome {
        let sent = self.send(copy, "mara").await?;
        require_eq!(sent.message.seq, Seq::new(7), "the number of the next message");
        let Some((owner, _)) = members.iter().find(|(member, _)| member.user_id.as_str() == "olga") else {
            return Err(super::Stop("olga is no member".to_owned()));
        };
        let current = self.current(copy).await?;
        let by = Authority { channel: &current, member: Some(owner) };
        for (seq, toggle) in [(2, Toggle::Add), (1, Toggle::Remove)] {
            let react = MessageRef {
                channel_id: copy.channel_id.clone(),
                seq: Seq::new(seq),
                caller: id("mara")?,
                trace: None,
            };
            require_eq!(self.react(&by, &react, "👍", toggle, self.now).await?, ReactionResult::Done, "{toggle:?}");
        }
        require_eq!(self.last_change(&copy.channel_id).await?, Rev::new(5), "the number of the last change");
        let head = self.head(&copy.channel_id).await?;
        let mut reply = self.message(&head, "mara")?;
        reply.message.thread_seq = Some(Seq::FIRST);
        require_eq!(self.append(&head, &reply, None).await?, AppendResult::Stored, "a reply in the thread");
        let root = self.read_back(copy, 1).await?;
        require_eq!(root.thread.map(|thread| thread.reply_count), Some(3), "replies in the thread");
        let Some((other, _)) = members.iter().find(|(member, _)| member.user_id.as_str() == "owen") else {
            return Err(super::Stop("owen is no member".to_owned()));
        };
        self.remove(&by, other).await?;
        self.delete(copy, owner).await?;
        Ok(())
    }
}

/// Returns an exported message as one of `copy`.
fn of(copy: &Channel, stored: StoredMessage) -> StoredMessage {
    let message = Message { channel_id: copy.channel_id.clone(), ..stored.message };
    StoredMessage { message, incarnation: copy.incarnation, ..stored }
}

fn of_message(channel: &Channel, message: Message) -> StoredMessage {
    StoredMessage { message, incarnation: channel.incarnation, rev: Rev::ZERO, trace: None, expires_at: None }
}
