//! Removal of the items of deleted channels.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, State, keys::reply_bucket};
use crate::model::incarnation::ChannelKey;

impl State {
    /// Removes up to `limit` messages of a deleted channel, and up to `limit` of its other items. Returns `true` if
    /// there were none.
    pub(crate) fn remove_some(&mut self, key: &ChannelKey, limit: usize) -> bool {
        if !self.lacks(Rule::RemovalIncarnation) {
            return self.remove_from(key, limit);
        }
        let of_id = |other: &&ChannelKey| other.channel_id == key.channel_id;
        let keys: BTreeSet<ChannelKey> =
            self.messages.keys().chain(self.members.keys()).filter(of_id).chain([key]).cloned().collect();
        let left: Vec<bool> = keys.iter().map(|one| !self.remove_from(one, limit)).collect();
        !left.contains(&true)
    }

    fn remove_from(&mut self, key: &ChannelKey, limit: usize) -> bool {
        if drain(&mut self.messages, key, limit).is_some() {
            return false;
        }
        if let Some(members) = drain(&mut self.members, key, limit) {
            for (user, _) in members {
                if let Some(listed) = self.listed.get_mut(&user) {
                    listed.remove(key);
                }
            }
            return false;
        }
        let records = self.record_place(key);
        self.buckets.remove(&reply_bucket(key)).is_none()
            & drain(&mut self.records, &records, limit).is_none()
            & drain(&mut self.creations, key, limit).is_none()
            & drain(&mut self.invitations, key, limit).is_none()
            & drain(&mut self.claims, key, limit).is_none()
            & drain(&mut self.changes, key, limit).is_none()
            & drain(&mut self.drafts, key, limit).is_none()
    }
}

/// Removes up to `limit` items of a partition and returns them, or `None` if it has none.
fn drain<K: Clone + Ord, V>(
    table: &mut BTreeMap<ChannelKey, BTreeMap<K, V>>,
    partition: &ChannelKey,
    limit: usize,
) -> Option<Vec<(K, V)>> {
    let items = table.get_mut(partition)?;
    let mut taken = Vec::new();
    while taken.len() < limit
        && let Some(item) = items.pop_first()
    {
        taken.push(item);
    }
    if items.is_empty() {
        table.remove(partition);
    }
    (!taken.is_empty()).then_some(taken)
}
