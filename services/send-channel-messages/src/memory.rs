//! What a warm function remembers from one message to the next, so that each costs one request.

use std::{collections::HashMap, hash::Hash, sync::Mutex, time::Duration};

use chat::{
    clock::Timestamp,
    id::{ChannelId, TenantId, UserId},
    message::Head,
    send::Memory,
};

/// Channels, and users, that are remembered: little memory, and most of the reads saved.
const REMEMBERED: usize = 1_000;

/// A channel or a user, whatever the tenant.
type Of<Id> = (Option<TenantId>, Id);

/// The heads of channels, and when users' buckets will be full.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    heads: Bounded<Of<ChannelId>, Head>,
    buckets: Bounded<Of<UserId>, Timestamp>,
    /// Until when nothing is sent for users who asked too often for what stores nothing.
    refused: Bounded<Of<UserId>, Timestamp>,
}

impl Memories {
    pub(crate) fn recall(&self, tenant: Option<&TenantId>, channel: &ChannelId, user: &UserId) -> Memory {
        Memory {
            head: self.heads.get(&(tenant.cloned(), channel.clone())),
            full_at: self.buckets.get(&(tenant.cloned(), user.clone())),
        }
    }

    pub(crate) fn remember(&self, tenant: Option<TenantId>, channel: ChannelId, user: UserId, memory: Memory) {
        self.heads.set((tenant.clone(), channel), memory.head);
        self.buckets.set((tenant, user), memory.full_at);
    }
}

impl Memories {
    /// How long a user has to wait who asked too often for what stores nothing.
    pub(crate) fn wait(&self, tenant: Option<&TenantId>, user: &UserId, now: Timestamp) -> Option<Duration> {
        let until = self.refused.get(&(tenant.cloned(), user.clone()))?;
        (until > now).then(|| now.until(until))
    }

    /// Remembers that a user has to wait.
    pub(crate) fn refuse(&self, tenant: Option<TenantId>, user: UserId, until: Timestamp) {
        self.refused.set((tenant, user), Some(until));
    }
}

/// A map that begins anew when it is full.
#[derive(Debug)]
struct Bounded<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().ok()?.get(key).cloned()
    }

    fn set(&self, key: K, value: Option<V>) {
        let Ok(mut known) = self.0.lock() else { return };
        let Some(value) = value else {
            known.remove(&key);
            return;
        };
        if known.len() >= REMEMBERED && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_can_be_forgotten() {
        let map = Bounded::default();
        for number in 0..=REMEMBERED {
            map.set(number, Some(number));
        }
        assert_eq!(map.get(&REMEMBERED), Some(REMEMBERED));
        assert!(map.0.lock().unwrap().len() <= REMEMBERED);
        map.set(REMEMBERED, None);
        assert_eq!(map.get(&REMEMBERED), None);
    }
}
