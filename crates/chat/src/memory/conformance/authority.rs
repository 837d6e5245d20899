//! Law of the authority that a change rests on.

use super::{
    ChannelPorts, ConnectionPorts, Ports,
    bench::{Bench, LONG, MANY, Outcome, Stop, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberAdded, MemberRole, Visibility},
        message::StoredMessage,
        message_ref::MessageRef,
        pending_end::{EndCause, PendingEnd},
        reaction::{Reactions, Toggle},
        rev::Rev,
        seq::Seq,
    },
    ports::{
        channel_store::{ChannelCreated, MemberChanged},
        clock::Clock,
        deleted_channels::DeletedChannels,
        message_store::{MessageStore, ReactionResult, UpdateResult},
        reply_leases::{CancelResult, LeaseOwner, MessageKey},
    },
};

/// Event that makes an authority stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// No event.
    Nothing,
    /// The visibility of the channel changed.
    Shown,
    /// The channel was archived.
    Archived,
    /// The channel was deleted.
    Deleted,
    /// The channel was deleted and created again, with the same members.
    MadeAnew,
    /// The caller's role was changed.
    Demoted,
    /// The caller was removed.
    Removed,
    /// The caller was removed, and was added again with the same role.
    AddedAgain,
}

/// Change that an authority allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Update,
    Delete,
    Add,
    Promote,
    Remove,
    Revise,
    React,
    Cancel,
}

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn stale_authorities(&self) -> Outcome {
        use Change::{Add, Cancel, Delete, Promote, React, Remove, Revise, Update};
        use Since::{AddedAgain, Archived, Deleted, Demoted, MadeAnew, Nothing, Removed, Shown};
        let mut number = 0;
        for change in [Update, Delete, Add, Promote, Remove, Revise, React, Cancel] {
            for since in [Nothing, Shown, Archived, Deleted, MadeAnew, Demoted, Removed, AddedAgain] {
                for visibility in [Visibility::Public, Visibility::Private] {
                    number += 1;
                    let name = format!("stale{number}");
                    let what = format!("{change:?} of a {visibility:?} channel after {since:?}");
                    self.stale_authority(&name, visibility, change, since)
                        .await
                        .map_err(|Stop(found)| Stop(format!("{what}: {found}")))?;
                }
            }
        }
        Ok(())
    }

    async fn stale_authority(&self, name: &str, visibility: Visibility, change: Change, since: Since) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel(name, visibility).await?;
        let as_olga = Authority { channel: &channel, member: Some(&olga) };
        let paul = self.member(&as_olga, "paul", MemberRole::Owner).await?;
        let rita = self.member(&as_olga, "rita", MemberRole::Member).await?;
        let message = self.send(&channel, "rita").await?;
        let read = self.current(&channel).await?;
        let now = self.make_stale(&read, since, [&olga, &paul, &rita]).await?;
        let mut of_rita = rita.clone();
        let by = Authority { channel: &read, member: Some(&paul) };
        let made = self.attempt(&by, change, &rita, &message).await?;
        require_eq!(made, since == Since::Nothing, "the change");
        if since == Since::Nothing {
            return Ok(());
        }
        // The change has no effect.
        let key = now.key();
        if since == Since::Deleted {
            require_eq!(store.channel(&now.channel_id).await?, None, "the channel");
        } else {
            require_eq!(self.current(&now).await?, now, "the settings");
            of_rita = store.member(&key, &rita.user_id).await?.ok_or_else(|| Stop("rita is no member".to_owned()))?;
        }
        require_eq!(of_rita, rita, "rita's membership");
        require_eq!(store.member(&key, &id("ines")?).await?, None, "ines' membership");
        for key in [read.key(), key] {
            let found = self.ports.messages.message(&key, Seq::FIRST, self.now).await?;
            let found = found.map(|message| (message.content, message.reactions));
            require_eq!(found, Some((message.message.content.clone(), Reactions::new())), "the message");
        }
        Ok(())
    }

    /// Lets an event happen to a channel of olga, paul and rita, and returns the channel after it.
    async fn make_stale(&self, read: &Channel, since: Since, [olga, paul, rita]: [&Member; 3]) -> Outcome<Channel> {
        let store = self.ports.channels;
        let other = match read.visibility {
            Visibility::Public => Visibility::Private,
            Visibility::Private => Visibility::Public,
        };
        let mut now = read.clone();
        match since {
            Since::Nothing => {}
            Since::Shown => now = self.changed(read, olga, |channel| channel.visibility = other).await?,
            Since::Archived => {
                now = self.changed(read, olga, |channel| channel.archived_at = Some(self.now)).await?;
            }
            Since::Deleted => {
                self.delete(read, olga).await?;
            }
            Since::MadeAnew => {
                self.delete(read, olga).await?;
                let anew = self.new_channel(read.channel_id.as_str(), read.visibility)?;
                require_eq!(store.create(&anew, olga, None, MANY).await?, ChannelCreated::Done, "the id is not free");
                let by = Authority { channel: &anew, member: Some(olga) };
                for member in [paul, rita] {
                    require_eq!(
                        store.add_member(&by, member, Seq::ZERO).await?,
                        MemberAdded::Added,
                        "a member as before"
                    );
                }
                self.send(&anew, "rita").await?;
                now = self.current(&anew).await?;
            }
            Since::Demoted => {
                let by = Authority { channel: read, member: Some(olga) };
                let demoted = store.change_role(&by, paul, MemberRole::Moderator).await?;
                require_eq!(demoted, MemberChanged::Done, "demoting paul");
            }
            Since::Removed | Since::AddedAgain => {
                let by = Authority { channel: read, member: Some(olga) };
                self.remove(&by, paul).await?;
                if since == Since::AddedAgain {
                    self.member(&by, "paul", MemberRole::Owner).await?;
                }
            }
        }
        Ok(now)
    }

    /// Makes a change on behalf of paul, with the authority as read. Returns whether it was made.
    async fn attempt(
        &self,
        by: &Authority<'_>,
        change: Change,
        rita: &Member,
        message: &StoredMessage,
    ) -> Outcome<bool> {
        let Ports { channels: store, messages, .. } = *self.ports;
        let key = by.channel.key();
        let now = self.now;
        Ok(match change {
            Change::Update => {
                let changed = Channel { name: "x".to_owned(), version: by.channel.version + 1, ..by.channel.clone() };
                store.update(by, &changed, None, now).await?
            }
            Change::Delete => {
                store.delete(by, &PendingEnd::new(key, EndCause::ChannelDeleted, self.seed()), now).await?
            }
            Change::Add => {
                let ines = self.new_member(by.channel, "ines", MemberRole::Member)?;
                match store.add_member(by, &ines, Seq::ZERO).await? {
                    MemberAdded::Added => true,
                    MemberAdded::Stale => false,
                    MemberAdded::Already(there) => return Err(Stop(format!("{there:?} is a member already"))),
                }
            }
            Change::Promote => match store.change_role(by, rita, MemberRole::Moderator).await? {
                MemberChanged::Done => true,
                MemberChanged::Stale => false,
                MemberChanged::LastOwner => return Err(Stop("rita is the last owner".to_owned())),
            },
            Change::Remove => {
                let pending =
                    PendingEnd::new(key, EndCause::MemberRemoved { user_id: rita.user_id.clone() }, self.seed());
                match store.remove_member(by, rita, &pending, now).await? {
                    MemberChanged::Done => true,
                    MemberChanged::Stale => false,
                    MemberChanged::LastOwner => return Err(Stop("rita is the last owner".to_owned())),
                }
            }
            Change::Revise => {
                let mut revised = StoredMessage { message: message.message.revised(), ..message.clone() };
                "revised".clone_into(&mut revised.message.content);
                messages.update_message(by, &revised, self.number(Rev::ZERO)).await? == UpdateResult::Done
            }
            Change::React => {
                let revision = MessageRef {
                    channel_id: key.channel_id,
                    seq: message.message.seq,
                    caller: id("paul")?,
                    trace: None,
                };
                let number = self.number(Rev::ZERO);
                messages.react(by, &revision, &id("👍")?, Toggle::Add, number, now).await? == ReactionResult::Done
            }
            Change::Cancel => {
                let question = MessageKey { channel: key, seq: message.message.seq };
                store.acquire(&question, LeaseOwner::new(1), self.later(LONG), now).await?;
                match store.cancel(by, &question, now).await? {
                    CancelResult::Done => true,
                    CancelResult::Stale => false,
                    CancelResult::NoReply => return Err(Stop("the lease is held".to_owned())),
                }
            }
        })
    }
}
