//! Exports and imports in memory. There is one tenant.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::{
    Call, Hook, MemoryStore,
    state::{MessageItem, State, is_live},
};
use crate::{
    model::{
        channel::{Channel, Member},
        error::StoreError,
        id::{ChannelId, UserId},
        incarnation::ChannelKey,
        message::StoredMessage,
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
    ports::channel_transfer::{ChannelIds, ChannelTransfer, Published},
};

/// Number of ids in one part of the list of all channels.
const IDS: usize = 2;

fn read_mark(state: &State, channel: &ChannelKey, user: &UserId) -> Seq {
    state.listed.get(user).and_then(|channels| channels.get(channel)).copied().unwrap_or_default()
}

impl<H: Hook> ChannelTransfer for MemoryStore<H> {
    async fn all_channels(&self, after: Option<&str>) -> Result<ChannelIds, StoreError> {
        self.call(Call::AllChannels, |state| {
            let rest = state.channels.keys().filter(|id| after.is_none_or(|after| id.as_str() > after));
            let found: Vec<ChannelId> = rest.take(IDS).cloned().collect();
            let next = found.last().filter(|_| found.len() == IDS).map(ToString::to_string);
            ChannelIds { ids: found.into_iter().map(|id| (None, id)).collect(), next }
        })
        .await
    }

    async fn channel_to_export(&self, id: &ChannelId) -> Result<Option<(Channel, Rev)>, StoreError> {
        self.call(Call::Channel, |state| {
            let channel = state.channels.get(id)?;
            Some((channel.clone(), state.last_change(&channel.key())))
        })
        .await
    }

    async fn members_to_export(
        &self,
        channel: &ChannelKey,
        after: Option<&UserId>,
        limit: u16,
    ) -> Result<Vec<(Member, Seq)>, StoreError> {
        self.call(Call::Members, |state| {
            let state: &State = state;
            let Some(all) = state.members.get(channel) else { return Vec::new() };
            let rest = all.range::<UserId, _>((after.map_or(Unbounded, Excluded), Unbounded));
            let with_mark = |(user, member): (&UserId, &Member)| (member.clone(), read_mark(state, channel, user));
            rest.take(usize::from(limit)).map(with_mark).collect()
        })
        .await
    }

    async fn messages_to_export(
        &self,
        channel: &ChannelKey,
        after: Seq,
        last: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.call(Call::Messages, |state| {
            let Some(all) = state.messages.get(channel).filter(|_| after < last) else { return Vec::new() };
            let live = all.range((Excluded(after), Included(last))).filter(|(_, item)| is_live(&item.stored, now));
            let without_trace = |(_, item): (&Seq, &MessageItem)| StoredMessage { trace: None, ..item.stored.clone() };
            live.take(usize::from(limit)).map(without_trace).collect()
        })
        .await
    }

    async fn import_members(&self, channel: &ChannelKey, members: &[(Member, Seq)]) -> Result<(), StoreError> {
        self.call(Call::ImportMembers, |state| {
            for (member, read_seq) in members {
                state.put_member(channel, member.clone(), *read_seq);
            }
        })
        .await
    }

    async fn import_messages(&self, channel: &ChannelKey, messages: &[StoredMessage]) -> Result<(), StoreError> {
        self.call(Call::ImportMessages, |state| {
            let all = state.messages.entry(channel.clone()).or_default();
            for stored in messages {
                all.insert(stored.message.seq, MessageItem { stored: stored.clone(), for_agent: false });
            }
        })
        .await
    }

    /// The number of owners follows from the members.
    async fn publish(&self, channel: &Channel, _: usize, rev: Rev) -> Result<Published, StoreError> {
        self.call(Call::Publish, |state| {
            if let Some(current) = state.channels.get(&channel.channel_id) {
                let is_same = current.incarnation == channel.incarnation;
                return if is_same { Published::Done } else { Published::Taken };
            }
            state.put_channel(channel.clone());
            state.last_changes.insert(channel.channel_id.clone(), (channel.incarnation, rev));
            Published::Done
        })
        .await
    }
}
