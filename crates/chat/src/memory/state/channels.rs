//! Channels: creation, settings, deletion.

use super::{Decision, Effect, Rule, State};
use crate::{
    model::{
        access::Authority,
        channel::{Channel, Member, Visibility},
        pending_end::PendingEnd,
        seq::Seq,
        text::search_key::SearchKey,
        time::Timestamp,
    },
    ports::channel_store::{ChannelCreated, Creation},
};

fn public_name(channel: &Channel) -> String {
    format!("{}#{}", SearchKey::of(&channel.name).as_str(), channel.channel_id)
}

impl State {
    /// Stores a channel as given, without items that belong to it.
    pub fn put_channel(&mut self, channel: Channel) {
        if channel.visibility == Visibility::Public {
            self.public.insert(public_name(&channel), channel.key());
        }
        self.channels.insert(channel.channel_id.clone(), channel);
    }

    pub(crate) fn create(
        &self,
        channel: &Channel,
        owner: &Member,
        creation: Option<&Creation>,
        most: usize,
    ) -> Decision<ChannelCreated> {
        if self.channels.contains_key(&channel.channel_id) {
            return (ChannelCreated::Taken, None);
        }
        let created = self.channels.values().filter(|other| other.created_by == channel.created_by).count();
        if created >= most && !self.lacks(Rule::ChannelsCounted) {
            return (ChannelCreated::TooMany, None);
        }
        let (channel, owner, creation) = (channel.clone(), owner.clone(), creation.cloned());
        (ChannelCreated::Done, Some(Effect::ChannelCreated { channel, owner, creation }))
    }

    /// Whether a channel still has the version that was read.
    fn is_of_version(&self, read: &Channel) -> bool {
        self.channel(&read.key()).is_some_and(|current| current.version == read.version)
    }

    pub(crate) fn update(
        &self,
        by: &Authority<'_>,
        changed: &Channel,
        pending: Option<&PendingEnd>,
        now: Timestamp,
    ) -> Decision<bool> {
        if !self.is_of_version(by.channel) || !self.holds(by, Rule::SettingsAuthority) {
            return (false, None);
        }
        let (before, changed, pending) = (by.channel.clone(), changed.clone(), pending.cloned());
        (true, Some(Effect::ChannelUpdated { before, changed, pending, now }))
    }

    pub(crate) fn delete(&self, by: &Authority<'_>, pending: &PendingEnd, now: Timestamp) -> Decision<bool> {
        if !self.is_of_version(by.channel) || !self.holds(by, Rule::SettingsAuthority) {
            return (false, None);
        }
        let (channel, pending) = (by.channel.clone(), pending.clone());
        (true, Some(Effect::ChannelDeleted { channel, pending, now }))
    }

    pub(super) fn channel_created(&mut self, channel: Channel, owner: Member, creation: Option<Creation>) {
        let key = channel.key();
        if let Some(creation) = creation {
            let place = (owner.user_id.clone(), creation.key.clone());
            self.creations.entry(key.clone()).or_default().insert(place, creation);
        }
        self.put_member(&key, owner, Seq::ZERO);
        self.put_channel(channel);
    }

    pub(super) fn channel_updated(
        &mut self,
        before: &Channel,
        mut changed: Channel,
        pending: Option<PendingEnd>,
        now: Timestamp,
    ) {
        let Some(current) = self.channels.get(&changed.channel_id) else { return };
        let (last_seq, last_message_at) = (current.last_seq, current.last_message_at);
        if changed.agent.instructions.is_unread() {
            changed.agent.instructions.clone_from(&current.agent.instructions);
        }
        self.public.remove(&public_name(before));
        let key = changed.key();
        if before.visibility != changed.visibility && !self.lacks(Rule::GateWritten) {
            let is_private = changed.visibility == Visibility::Private;
            self.set_gate(&key, now, |gate| gate.private = is_private);
        }
        self.put_channel(Channel { last_seq, last_message_at, ..changed });
        self.record_end(pending);
    }

    pub(super) fn channel_deleted(&mut self, channel: &Channel, pending: PendingEnd, now: Timestamp) {
        self.channels.remove(&channel.channel_id);
        self.last_changes.remove(&channel.channel_id);
        self.public.remove(&public_name(channel));
        if !self.lacks(Rule::GateWritten) {
            self.set_gate(&channel.key(), now, |gate| gate.closed = true);
        }
        self.record_end(Some(pending));
    }
}
