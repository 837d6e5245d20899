//! Laws of the messages.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, LONG, Outcome, id, request_key},
};
use crate::{
    model::{
        access::Authority,
        agent_data::{AgentData, ReplyStatus},
        channel::{Channel, ChannelHead, Member, Visibility},
        id::UserId,
        limits::REACTIONS_PER_MESSAGE,
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        reaction::{Reactions, Toggle},
        seq::Seq,
        time::Timestamp,
    },
    ports::{
        deleted_channels::DeletedChannels,
        message_store::{
            Append, AppendResult, IdempotencyRecord, MessageStore, Range, ReactionResult, RecordKey, Token,
            UpdateResult,
        },
    },
};

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn appends(&self) -> Outcome {
        let (channel, owner) = self.channel("appends", Visibility::Private).await?;
        let key = request_key("olga")?;
        self.appends_of_known_messages(&channel, &key).await?;
        self.appends_of_senders(&channel).await?;
        self.appends_after_changes(&channel, &owner, key).await
    }

    /// A key and an own message are recognized, and an old head is refused.
    async fn appends_of_known_messages(&self, channel: &Channel, key: &RecordKey) -> Outcome {
        let messages = self.ports.messages;
        let head = ChannelHead::from(channel);
        let first = self.message(&head, "olga")?;
        let record = self.record(key.clone(), &first);
        require_eq!(self.append(&head, &first, Some(&record)).await?, AppendResult::Stored, "the first");
        require_eq!(messages.idempotency_record(&channel.key(), key).await?, Some(record.clone()), "its record");
        let now = self.head(&channel.channel_id).await?;
        require_eq!(now, ChannelHead { last_seq: Seq::FIRST, ..head.clone() }, "the head after it");
        // A used key is reported first, whatever other conditions fail.
        let again = self.message(&head, "olga")?;
        let of_again = self.record(key.clone(), &again);
        require_eq!(self.append(&head, &again, Some(&of_again)).await?, AppendResult::KeyTaken(record), "a used key");
        // An append without a key recognizes its own message, and no other.
        let second = self.message(&now, "olga")?;
        require_eq!(self.append(&now, &second, None).await?, AppendResult::Stored, "without a key");
        require_eq!(self.append(&now, &second, None).await?, AppendResult::Stored, "the same again");
        let now = self.head(&channel.channel_id).await?;
        require_eq!(now.last_seq, Seq::new(2), "the number after the same message twice");
        let other = self.message(&head, "olga")?;
        require_eq!(
            self.append(&head, &other, None).await?,
            AppendResult::Stale { head: Some(now.clone()), bucket_full_at: None },
            "an old head"
        );
        Ok(())
    }

    /// A required member and a bucket are conditions.
    async fn appends_of_senders(&self, channel: &Channel) -> Outcome {
        let messages = self.ports.messages;
        let now = self.head(&channel.channel_id).await?;
        // A required member.
        let third = self.message(&now, "mallory")?;
        let mallory = id("mallory")?;
        let append = Append {
            head: &now,
            message: &third,
            for_agent: false,
            record: None,
            member: Some(&mallory),
            token: None,
            now: self.now,
        };
        require_eq!(messages.append(append).await?, AppendResult::NotAMember, "a stranger");
        // A bucket that differs from the cached one.
        let token = |full_at, seconds| Token { full_at, next: self.later(Duration::from_secs(seconds)) };
        let append = Append { member: None, token: Some(token(None, 5)), ..append };
        require_eq!(messages.append(append).await?, AppendResult::Stored, "a token of a full bucket");
        let moved = self.later(Duration::from_secs(5));
        let before = now.clone();
        let now = self.head(&channel.channel_id).await?;
        let fourth = self.message(&now, "mallory")?;
        let append = Append { head: &now, message: &fourth, ..append };
        require_eq!(
            messages.append(append).await?,
            AppendResult::Stale { head: None, bucket_full_at: Some(moved) },
            "a bucket that is not full"
        );
        let late = self.message(&before, "mallory")?;
        let both = Append { head: &before, message: &late, ..append };
        require_eq!(
            messages.append(both).await?,
            AppendResult::Stale { head: Some(now.clone()), bucket_full_at: Some(moved) },
            "both"
        );
        let right = Append { token: Some(token(Some(moved), 10)), ..append };
        require_eq!(messages.append(right).await?, AppendResult::Stored, "a token of the bucket as it is");
        Ok(())
    }

    /// Settings that have changed and a record that has expired are noticed.
    async fn appends_after_changes(&self, channel: &Channel, owner: &Member, key: RecordKey) -> Outcome {
        let messages = self.ports.messages;
        // Changed settings have another version.
        let changed = self.changed(channel, owner, |channel| "other".clone_into(&mut channel.name)).await?;
        let now = self.head(&channel.channel_id).await?;
        let behind = ChannelHead { version: 1, ..now.clone() };
        let fifth = self.message(&now, "olga")?;
        require_eq!(
            self.append(&behind, &fifth, None).await?,
            AppendResult::Stale { head: Some(now), bucket_full_at: None },
            "an old version"
        );
        require_eq!((changed.last_seq, changed.version), (Seq::new(4), 2), "a change of settings keeps the number");
        let history = messages.messages(&channel.key(), Range::After(Seq::ZERO), 10, self.now).await?;
        require_eq!(history.iter().map(|one| one.seq.get()).collect::<Vec<_>>(), [1, 2, 3, 4], "the numbers");
        // An expired record counts as absent.
        let now = self.head(&channel.channel_id).await?;
        let fifth = self.message(&now, "olga")?;
        let later = self.later(LONG + Duration::from_secs(1));
        let record = IdempotencyRecord { expires_at: later.plus(LONG), ..self.record(key, &fifth) };
        let append = Append {
            head: &now,
            message: &fifth,
            for_agent: false,
            record: Some(&record),
            member: None,
            token: None,
            now: later,
        };
        require_eq!(messages.append(append).await?, AppendResult::Stored, "a key whose time is over");
        Ok(())
    }

    pub(super) async fn cached_heads(&self) -> Outcome {
        let (old, owner) = self.channel("heads", Visibility::Public).await?;
        let cached = ChannelHead::from(&old);
        self.delete(&old, &owner).await?;
        let message = self.message(&cached, "olga")?;
        require_eq!(self.append(&cached, &message, None).await?, AppendResult::ChannelNotFound, "no channel");
        let (new, _) = self.channel("heads", Visibility::Public).await?;
        let wanted = AppendResult::Stale { head: Some(ChannelHead::from(&new)), bucket_full_at: None };
        require_eq!(self.append(&cached, &message, None).await?, wanted, "another incarnation, alike in all else");
        require_eq!(self.head(&new.channel_id).await?.last_seq, Seq::ZERO, "the number of the new channel");
        let left = self.ports.messages.messages(&old.key(), Range::After(Seq::ZERO), 10, self.now).await?;
        require_eq!(left, vec![], "the history of the old channel");
        Ok(())
    }

    pub(super) async fn history(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, _) = self.channel("history", Visibility::Public).await?;
        let key = channel.key();
        let mut stored = Vec::new();
        for number in 1..=6_u64 {
            let head = self.head(&channel.channel_id).await?;
            let mut message = self.message(&head, "olga")?;
            message.message.agent = (number == 2).then(|| AgentData {
                draft_id: Some(message.message.message_id),
                model: Some("m".to_owned()),
                input_tokens: Some(111),
                output_tokens: Some(0),
                ..AgentData::of_status(ReplyStatus::Complete)
            });
            // The fifth message expires.
            message.expires_at = (number == 5).then(|| self.later(LONG));
            require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "message {number}");
            stored.push(message.message);
        }
        require_eq!(messages.message(&key, Seq::new(2), self.now).await?, stored.get(1).cloned(), "one message");
        require_eq!(messages.message(&key, Seq::new(7), self.now).await?, None, "a message that is not there");
        let (before, after) = (self.now, self.later(LONG + Duration::from_secs(1)));
        let all: (&[u64], &[u64]) = (&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 6]);
        for (now, numbers) in [(before, all.0), (after, all.1)] {
            let of = |range: Range, limit: usize| -> Vec<u64> {
                let (mut chosen, newest_first): (Vec<u64>, bool) = match range {
                    Range::Newest => (numbers.to_vec(), true),
                    Range::Before(seq) => (numbers.iter().copied().filter(|one| *one < seq.get()).collect(), true),
                    Range::After(seq) => (numbers.iter().copied().filter(|one| *one > seq.get()).collect(), false),
                };
                if newest_first {
                    chosen.reverse();
                }
                chosen.truncate(limit);
                chosen
            };
            let (back, forth) = ([5, 1].map(Seq::new).map(Range::Before), [0, 3, 9].map(Seq::new).map(Range::After));
            for range in [Range::Newest].into_iter().chain(back).chain(forth) {
                for limit in [1_u16, 2, 10] {
                    let found = messages.messages(&key, range, limit, now).await?;
                    let found: Vec<u64> = found.iter().map(|message| message.seq.get()).collect();
                    require_eq!(found, of(range, usize::from(limit)), "{range:?}, up to {limit}");
                }
            }
        }
        require_eq!(messages.message(&key, Seq::new(5), after).await?, None, "a message that has expired");
        Ok(())
    }

    pub(super) async fn revisions(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel("revisions", Visibility::Public).await?;
        let key = channel.key();
        let head = self.head(&channel.channel_id).await?;
        let mut sent = self.message(&head, "olga")?;
        sent.message.agent = Some(AgentData::of_status(ReplyStatus::Truncated));
        require_eq!(self.append(&head, &sent, None).await?, AppendResult::Stored, "a message");
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let react =
            MessageRef { channel_id: channel.channel_id.clone(), seq: Seq::FIRST, caller: id("rita")?, trace: None };
        require_eq!(self.react(&by, &react, "👍", Toggle::Add, self.now).await?, ReactionResult::Done, "a reaction");
        let mut edited = StoredMessage { message: sent.message.revised(), ..sent.clone() };
        "edited".clone_into(&mut edited.message.content);
        edited.message.edited_at = Some(self.now);
        let before = self.revise(&by, &edited).await?;
        require_eq!(before, UpdateResult::Stale, "an edit of the state before the reaction");
        edited.message = edited.message.revised();
        require_eq!(self.revise(&by, &edited).await?, UpdateResult::Done, "an edit");
        let found = messages.message(&key, Seq::FIRST, self.now).await?;
        let wanted = Reactions::from([(id("👍")?, BTreeSet::from([id("rita")?]))]);
        let wanted = Message { reactions: wanted, ..edited.message.clone() };
        require_eq!(found, Some(wanted), "the message, with the reaction that came before");
        self.stale_revisions(&by, &sent, &edited).await?;
        let mut deleted = StoredMessage { message: edited.message.revised(), ..sent.clone() };
        deleted.message.content = String::new();
        deleted.message.deleted_at = Some(self.now);
        require_eq!(self.revise(&by, &deleted).await?, UpdateResult::Done, "a deletion");
        let wanted = Message { agent: None, ..deleted.message };
        require_eq!(messages.message(&key, Seq::FIRST, self.now).await?, Some(wanted), "the deleted message");
        require_eq!(self.revise(&by, &edited).await?, UpdateResult::MessageNotFound, "an edit of what is deleted");
        let gone = self.react(&by, &react, "👍", Toggle::Add, self.now).await?;
        require_eq!(gone, ReactionResult::MessageNotFound, "a reaction to what is deleted");
        let mut absent = sent;
        absent.message.seq = Seq::new(2);
        require_eq!(self.revise(&by, &absent).await?, UpdateResult::MessageNotFound, "an edit of what is not there");
        require_eq!(messages.message(&key, Seq::new(2), self.now).await?, None, "what is not there");
        Ok(())
    }

    /// An edit and a deletion of the message as it was sent change nothing after another edit.
    async fn stale_revisions(&self, by: &Authority<'_>, sent: &StoredMessage, edited: &StoredMessage) -> Outcome {
        let messages = self.ports.messages;
        let (key, seq) = (by.channel.key(), sent.message.seq);
        let before = messages.message(&key, seq, self.now).await?;
        require_eq!(before.as_ref().map(|message| message.version), Some(edited.message.version), "the version");
        let mut late = StoredMessage { message: sent.message.revised(), ..sent.clone() };
        late.message.metadata = Some(serde_json::Map::new());
        require_eq!(self.revise(by, &late).await?, UpdateResult::Stale, "an edit of an earlier state");
        late.message.deleted_at = Some(self.now);
        require_eq!(self.revise(by, &late).await?, UpdateResult::Stale, "a deletion of an earlier state");
        require_eq!(messages.message(&key, seq, self.now).await?, before, "the message after stale changes");
        Ok(())
    }

    pub(super) async fn reactions(&self) -> Outcome {
        let messages = self.ports.messages;
        let (channel, _) = self.channel("reactions", Visibility::Public).await?;
        let head = self.head(&channel.channel_id).await?;
        let expires_at = Some(self.later(LONG));
        let message = StoredMessage { expires_at, ..self.message(&head, "olga")? };
        require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "a message");
        let channel = self.current(&channel).await?;
        let by = Authority { channel: &channel, member: None };
        let react = async |user: &str, emoji: &str, toggle: Toggle, now: Timestamp| -> Outcome<ReactionResult> {
            let revision =
                MessageRef { channel_id: channel.channel_id.clone(), seq: Seq::FIRST, caller: id(user)?, trace: None };
            self.react(&by, &revision, emoji, toggle, now).await
        };
        let done = ReactionResult::Done;
        for (user, emoji, toggle, version) in [
            ("rita", "👍", Toggle::Add, 2),
            ("rita", "👍", Toggle::Add, 2),
            ("paul", "👍", Toggle::Add, 3),
            ("paul", "🎉", Toggle::Add, 4),
            ("rita", "👍", Toggle::Remove, 5),
            ("rita", "👍", Toggle::Remove, 5),
        ] {
            require_eq!(react(user, emoji, toggle, self.now).await?, done, "a reaction");
            let found = messages.message(&channel.key(), Seq::FIRST, self.now).await?;
            require_eq!(found.map(|message| message.version), Some(version), "the version after {toggle:?} of {user}");
        }
        let found = messages.message(&channel.key(), Seq::FIRST, self.now).await?.map(|message| message.reactions);
        let paul: BTreeSet<UserId> = BTreeSet::from([id("paul")?]);
        let wanted = Reactions::from([(id("👍")?, paul.clone()), (id("🎉")?, paul)]);
        require_eq!(found, Some(wanted), "the reactions");
        require_eq!(react("paul", "🎉", Toggle::Remove, self.now).await?, done, "the last of its kind");
        let found =
            messages.message(&channel.key(), Seq::FIRST, self.now).await?.map(|message| message.reactions.len());
        require_eq!(found, Some(1), "the remaining kinds");
        let late = self.later(LONG + Duration::from_secs(1));
        require_eq!(
            react("rita", "👍", Toggle::Add, late).await?,
            ReactionResult::MessageNotFound,
            "a message that has expired"
        );
        for kind in ('😀'..).take(REACTIONS_PER_MESSAGE - 1) {
            require_eq!(react("rita", &kind.to_string(), Toggle::Add, self.now).await?, done, "kind {kind}");
        }
        require_eq!(react("rita", "🚀", Toggle::Add, self.now).await?, ReactionResult::Full, "one kind too many");
        require_eq!(react("rita", "👍", Toggle::Add, self.now).await?, done, "a kind that is there");
        Ok(())
    }
}
