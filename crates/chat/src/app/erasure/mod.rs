//! Erasing the data of a user, and exporting it.
//!
//! A message of the user becomes a tombstone, like a deleted message: an ordinary change with a number, which live
//! clients receive and others read. Numbers stay. So do threads, since a tombstone keeps its place.
//!
//! An erasure makes passes. Each pass reads all tables and erases what it finds of the user. It ends with the pass that
//! finds nothing: that pass is the proof. A user who still writes is found again, so the number of passes is limited.
//! Everything that a pass does may be repeated, so an interrupted erasure continues at the last stored position.
//!
//! The agent's replies to the user are erased too, because they may quote the user. Other users' texts stay: an operator
//! cannot know what they repeat.

mod export;
mod memberships;
mod messages;
mod progress;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

pub use self::{
    export::{ExportLine, ExportPage, Exporter},
    progress::{Erased, ErasureRequest, Progress},
};

use self::progress::Tally;
use crate::{
    app::{channel_messages::ChannelMessages, connection_ends::close_connection, membership::Membership},
    model::{
        error::Result,
        id::UserId,
        incarnation::ChannelKey,
        limits::PAGE_ITEMS,
        message::Role,
        seq::Seq,
        time::Timestamp,
        user_item::{UserData, UserItem},
    },
    ports::{
        channel_store::ChannelStore, clock::Clock, connection_store::ConnectionStore, fan_out::FanOut,
        invitation_store::InvitationStore, message_store::MessageStore, pending_ends::PendingEnds,
        socket_gateway::SocketGateway, user_items::UserItems,
    },
};

/// Maximum number of passes. The second pass finds nothing, unless the user or the agent writes meanwhile.
pub const ERASURE_PASSES: u32 = 8;

/// Maximum number of channels in which an erasure makes changes at once. Changes of one channel are made one by one,
/// because each takes the next number.
const CHANNELS_AT_ONCE: usize = 16;

/// State of an erasure after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to read.
    More,
    /// The last pass found nothing to erase: see [`Progress::is_clean`].
    Done,
    /// The last of [`ERASURE_PASSES`] still found something: the user or the agent is writing.
    StillWritten,
}

/// Erasure of a user's data, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Erasure<'a, Channels, Messages, Connections, Sockets, Fan, Items, Time> {
    /// Memberships, and the events of their ends.
    pub membership: Membership<'a, Channels, Connections, Sockets, Fan, Time>,
    /// Messages and their changes.
    pub messages: ChannelMessages<'a, Channels, Messages, Time>,
    /// Scan of all tables.
    pub items: &'a Items,
}

impl<Channels, Messages, Connections, Sockets, Fan, Items, Time>
    Erasure<'_, Channels, Messages, Connections, Sockets, Fan, Items, Time>
where
    Channels: ChannelStore + InvitationStore + PendingEnds,
    Messages: MessageStore,
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Items: UserItems,
    Time: Clock,
{
    /// Reads the next part of the tables and erases what is of the user in it. After an error, the position stays, so
    /// that the next call continues there.
    ///
    /// # Errors
    /// [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn step(&self, progress: &mut Progress) -> Result<Step> {
        let request = progress.request.clone();
        let now = self.messages.clock.now();
        let page = self.items.scan(&request.user_id, request.extent, progress.position.as_ref(), now).await?;
        let names = [&request.user_id, &request.alias];
        let items = of_user(&self.messages, &names, page.items, now).await?;
        let mut groups: BTreeMap<Option<ChannelKey>, Vec<UserItem>> = BTreeMap::new();
        for item in items {
            groups.entry(item.data.channel()).or_default().push(item);
        }
        let mut ended = futures::stream::iter(groups.into_values())
            .map(async |group| {
                let mut tally = Tally::default();
                let outcome = Box::pin(self.erase_group(&request, group, &mut tally)).await;
                (tally, outcome)
            })
            .buffer_unordered(CHANNELS_AT_ONCE);
        let mut failed = None;
        while let Some((tally, outcome)) = ended.next().await {
            progress.add(tally);
            failed = failed.or(outcome.err());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        progress.read += page.read;
        progress.position = page.next;
        if progress.position.is_some() {
            return Ok(Step::More);
        }
        if progress.found == 0 {
            return Ok(Step::Done);
        }
        if progress.pass >= ERASURE_PASSES {
            return Ok(Step::StillWritten);
        }
        progress.begin_pass();
        Ok(Step::More)
    }

    /// Erases items one by one, up to the first that fails.
    async fn erase_group(&self, request: &ErasureRequest, group: Vec<UserItem>, tally: &mut Tally) -> Result<()> {
        for item in group {
            self.erase_one(request, item, tally).await?;
        }
        Ok(())
    }

    async fn erase_one(&self, request: &ErasureRequest, item: UserItem, tally: &mut Tally) -> Result<()> {
        let UserItem { place, data } = item;
        let user = &request.user_id;
        if data == UserData::Word {
            tally.left.insert(place);
            return Ok(());
        }
        match data {
            UserData::Message(stored) => {
                let is_erased = self.bury(&stored.channel(), stored.message.seq, &place).await?;
                tally.erased.messages += u64::from(is_erased);
            }
            UserData::Reply { channel, seq, .. } => {
                tally.erased.replies += u64::from(self.bury(&channel, seq, &place).await?);
            }
            UserData::Mention(stored) => {
                let is_replaced = self.replace_mentions(request, &stored, &place).await?;
                tally.erased.mentions += u64::from(is_replaced);
            }
            UserData::Reaction { channel, seq, emoji } => {
                self.take_back(user, &channel, seq, &emoji).await?;
                tally.erased.reactions += 1;
            }
            UserData::Membership { channel, .. } | UserData::Invitation { channel, .. } => {
                // A channel that keeps its only owner is not counted: otherwise no pass would find nothing.
                if !self.end_membership(request, &channel, &place, tally).await? {
                    return Ok(());
                }
            }
            UserData::Connection { connection, is_copy } => {
                let Membership { connections, sockets, clock, .. } = self.membership;
                close_connection(connections, sockets, clock, user, &connection).await?;
                tally.erased.connections += u64::from(!is_copy);
            }
            UserData::DraftPiece { .. } | UserData::Own { .. } => {
                self.items.delete_item(&place).await?;
                tally.erased.items += 1;
            }
            UserData::Name => {
                self.items.rename_user(&place, user, &request.alias).await?;
                tally.erased.items += 1;
            }
            UserData::Word => {}
        }
        tally.found += 1;
        Ok(())
    }
}

/// Returns the items of the user with one of these names: without the agent's replies and drafts for others.
async fn of_user<Channels, Messages: MessageStore, Time>(
    messages: &ChannelMessages<'_, Channels, Messages, Time>,
    names: &[&UserId],
    items: Vec<UserItem>,
    now: Timestamp,
) -> Result<Vec<UserItem>> {
    let mut asked: BTreeMap<ChannelKey, BTreeSet<Seq>> = BTreeMap::new();
    for item in &items {
        if let (Some(channel), Some(question)) = (item.data.channel(), item.data.question()) {
            asked.entry(channel).or_default().insert(question);
        }
    }
    let mut own: BTreeMap<ChannelKey, BTreeSet<Seq>> = BTreeMap::new();
    for (channel, seqs) in asked {
        let seqs: Vec<Seq> = seqs.into_iter().collect();
        for some in seqs.chunks(usize::from(PAGE_ITEMS)) {
            let found = messages.messages.messages_among(&channel, some, now).await?;
            let of_user = found.into_iter().map(|(_, message)| message);
            let of_user = of_user.filter(|one| one.role == Role::User && names.contains(&&one.sender_id));
            own.entry(channel.clone()).or_default().extend(of_user.map(|message| message.seq));
        }
    }
    let is_own = |item: &UserItem| match (item.data.channel(), item.data.question()) {
        (Some(channel), Some(question)) => own.get(&channel).is_some_and(|seqs| seqs.contains(&question)),
        _ => true,
    };
    Ok(items.into_iter().filter(is_own).collect())
}

#[cfg(test)]
mod tests;
