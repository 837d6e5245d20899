//! Law of the pages: entries that stay are listed once, although others begin and end between two pages.
//!
//! Between two pages, the last entry of the page ends, and two further entries begin: one before it and one after it.

use super::{
    ChannelPorts, ConnectionPorts,
    bench::{Bench, Outcome, id},
};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member, MemberRole, Visibility},
        id::UserId,
        message::StoredMessage,
        rev::Rev,
        seq::Seq,
    },
    ports::{
        deleted_channels::DeletedChannels,
        invitation_store::Invited,
        message_store::{AppendResult, MessageStore, Range, Selection, UpdateResult},
    },
};

/// Number of entries before the first page.
const ENTRIES: usize = 6;

/// Number of pages after which the list stops changing, so that it has an end.
const CHANGES: usize = 3;

/// Requires that the first entries are found once each. `found` may have further entries, once each.
fn require_once(mut found: Vec<String>, first: &[String], what: &str) -> Outcome {
    found.sort_unstable();
    require!(found.windows(2).all(|two| two[0] != two[1]), "{what}: an entry is listed twice: {found:?}");
    let missing: Vec<&String> = first.iter().filter(|entry| !found.contains(entry)).collect();
    require!(missing.is_empty(), "{what}: {missing:?} are not listed: {found:?}");
    Ok(())
}

impl<Channels, Messages, Connections, Removal> Bench<'_, Channels, Messages, Connections, Removal>
where
    Channels: ChannelPorts,
    Messages: MessageStore,
    Connections: ConnectionPorts,
    Removal: DeletedChannels,
{
    pub(super) async fn pages(&self) -> Outcome {
        for limit in [1, 2] {
            self.pages_of_members(limit).await?;
            self.pages_of_public_channels(limit).await?;
            self.pages_of_invitations(limit).await?;
            self.pages_of_messages(limit).await?;
        }
        Ok(())
    }

    async fn pages_of_members(&self, limit: u16) -> Outcome {
        let store = self.ports.channels;
        let (channel, olga) = self.channel(&format!("pages-members{limit}"), Visibility::Private).await?;
        let by = Authority { channel: &channel, member: Some(&olga) };
        let mut first = Vec::new();
        for number in 0..ENTRIES {
            first.push(self.member(&by, &format!("m{number}"), MemberRole::Member).await?);
        }
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.members(&channel.key(), after.as_ref(), limit).await?;
            if let Some(last) = page.members.last().filter(|last| pages < CHANGES && last.user_id != olga.user_id) {
                self.remove(&by, last).await?;
                for user in [format!("a{pages}"), format!("z{pages}")] {
                    self.member(&by, &user, MemberRole::Member).await?;
                }
            }
            found.extend(page.members.into_iter().map(|member| member.user_id.to_string()));
            (after, pages) = (page.next_after, pages + 1);
            if after.is_none() {
                break;
            }
        }
        let first: Vec<String> = first.iter().map(|member| member.user_id.to_string()).collect();
        require_once(found, &first, "members")
    }

    /// Creates public channels with these ids, and adds a user to them.
    async fn channels_with(&self, ids: Vec<String>, user: &str) -> Outcome<Vec<(Channel, Member)>> {
        let mut made = Vec::new();
        for id in ids {
            let (channel, olga) = self.channel(&id, Visibility::Public).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            self.member(&by, user, MemberRole::Member).await?;
            made.push((channel, olga));
        }
        Ok(made)
    }

    async fn pages_of_public_channels(&self, limit: u16) -> Outcome {
        let ids: Vec<String> = (0..ENTRIES).map(|number| format!("pages-public{limit}-m{number}")).collect();
        let mut made = self.channels_with(ids.clone(), "paul").await?;
        let (mut found, mut after, mut pages) = (Vec::new(), None::<String>, 0);
        let prefix = format!("pages-public{limit}-");
        loop {
            let page = self.ports.channels.public_channels(&prefix, after.as_deref(), limit).await?;
            let listed: Vec<String> = page.channels.iter().map(|channel| channel.channel_id.to_string()).collect();
            if pages < CHANGES {
                self.delete_listed(&made, listed.last()).await?;
                let further = ["a", "z"].map(|order| format!("{prefix}{order}{pages}"));
                made.extend(self.channels_with(further.into(), "paul").await?);
            }
            found.extend(listed);
            (after, pages) = (page.next_after, pages + 1);
            if after.is_none() {
                break;
            }
        }
        require_once(found, &ids, "public channels")
    }

    /// Deletes a channel that a page lists.
    async fn delete_listed(&self, made: &[(Channel, Member)], listed: Option<&String>) -> Outcome {
        let is_listed = |channel: &Channel| listed.is_some_and(|id| channel.channel_id.as_str() == id);
        if let Some((channel, olga)) = made.iter().find(|(channel, _)| is_listed(channel)) {
            self.delete(channel, olga).await?;
        }
        Ok(())
    }

    async fn pages_of_invitations(&self, limit: u16) -> Outcome {
        let store = self.ports.channels;
        let user = format!("ivo{limit}");
        let ivo: UserId = id(&user)?;
        let ids: Vec<String> = (0..ENTRIES).map(|number| format!("pages-invited{limit}-m{number}")).collect();
        self.invite_to(&ids, &user).await?;
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.invitations_of(&ivo, after.as_ref(), limit, self.now).await?;
            if let Some(last) = page.channels.last().filter(|_| pages < CHANGES) {
                require!(store.withdraw_invitation(None, &last.invitation).await?, "an invitation is not declined");
                let further = ["a", "z"].map(|order| format!("pages-invited{limit}-{order}{pages}"));
                self.invite_to(&further, &user).await?;
            }
            found.extend(page.channels.into_iter().map(|one| one.invitation.channel_id.to_string()));
            (after, pages) = (page.next_after, pages + 1);
            if after.is_none() {
                break;
            }
        }
        require_once(found, &ids, "invitations")
    }

    /// Creates private channels with these ids, and invites a user to them.
    async fn invite_to(&self, ids: &[String], user: &str) -> Outcome {
        for id in ids {
            let (channel, olga) = self.channel(id, Visibility::Private).await?;
            let by = Authority { channel: &channel, member: Some(&olga) };
            let invitation = self.new_invitation(&channel, user)?;
            require_eq!(self.ports.channels.invite(&by, &invitation, 100).await?, Invited::Done, "inviting {user}");
        }
        Ok(())
    }

    /// A deleted message keeps its place, in the history and in its thread.
    async fn pages_of_messages(&self, limit: u16) -> Outcome {
        let messages = self.ports.messages;
        let (channel, olga) = self.channel(&format!("pages-messages{limit}"), Visibility::Public).await?;
        let key = channel.key();
        self.send(&channel, "olga").await?;
        for is_thread in [true, false] {
            let mut made = Vec::new();
            for _ in 0..ENTRIES {
                made.push(self.send_reply(&channel).await?);
            }
            let first: Vec<String> = made.iter().map(|message| message.message.seq.to_string()).collect();
            let (mut found, mut after, mut pages) = (Vec::new(), Seq::ZERO, 0);
            loop {
                let range = Range::After(after);
                let page = if is_thread {
                    let thread = Selection::Thread(Seq::FIRST);
                    messages.selected(&key, thread, range, limit, self.now).await?.messages
                } else {
                    messages.messages(&key, range, limit, self.now).await?
                };
                let Some(last) = page.last() else { break };
                after = last.seq;
                if pages < CHANGES {
                    let current = self.current(&channel).await?;
                    let by = Authority { channel: &current, member: Some(&olga) };
                    let mut deleted = last.revised();
                    deleted.deleted_at = Some(self.now);
                    let incarnation = channel.incarnation;
                    let (rev, trace, expires_at) = (Rev::ZERO, None, None);
                    let deleted = StoredMessage { message: deleted, incarnation, rev, trace, expires_at };
                    // A message that the first list deleted stays deleted.
                    let is_new = last.deleted_at.is_none();
                    let result = self.revise(&by, &deleted).await?;
                    require_eq!(result == UpdateResult::Done, is_new, "deleting message {after}");
                    self.send_reply(&channel).await?;
                }
                pages += 1;
                found.extend(page.into_iter().map(|message| message.seq.to_string()));
            }
            require_once(found, &first, if is_thread { "a thread" } else { "the history" })?;
        }
        Ok(())
    }

    /// Appends a message to the thread of the first one.
    async fn send_reply(&self, channel: &Channel) -> Outcome<StoredMessage> {
        let head = self.head(&channel.channel_id).await?;
        let mut message = self.message(&head, "olga")?;
        message.message.thread_seq = Some(Seq::FIRST);
        require_eq!(self.append(&head, &message, None).await?, AppendResult::Stored, "a reply");
        Ok(message)
    }
}
