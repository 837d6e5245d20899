//! State that a warm function caches between messages, so that each costs one request.

use std::{collections::HashMap, hash::Hash, sync::Mutex, time::Duration};

use chat::{
    app::send::SendCache,
    model::{
        channel::ChannelHead,
        id::{ChannelId, TenantId, UserId},
        time::Timestamp,
    },
};

/// Maximum number of cached channels and of cached users: little memory, but most reads are saved.
const CACHED: usize = 1_000;

/// A channel or a user, with its tenant.
type Of<Id> = (Option<TenantId>, Id);

/// The channel heads, and the times at which users' buckets are full.
#[derive(Debug, Default)]
pub(crate) struct SendCaches {
    heads: Bounded<Of<ChannelId>, ChannelHead>,
    buckets: Bounded<Of<UserId>, Timestamp>,
    /// Times until which sends of a user are refused, after too many requests that stored nothing.
    refused: Bounded<Of<UserId>, Timestamp>,
}

impl SendCaches {
    pub(crate) fn get(&self, tenant: Option<&TenantId>, channel: &ChannelId, user: &UserId) -> SendCache {
        SendCache {
            head: self.heads.get(&(tenant.cloned(), channel.clone())),
            full_at: self.buckets.get(&(tenant.cloned(), user.clone())),
        }
    }

    pub(crate) fn set(&self, tenant: Option<TenantId>, channel: ChannelId, user: UserId, cache: SendCache) {
        self.heads.set((tenant.clone(), channel), cache.head);
        self.buckets.set((tenant, user), cache.full_at);
    }
}

impl SendCaches {
    /// Returns the time for which a user's sends are still refused.
    pub(crate) fn wait(&self, tenant: Option<&TenantId>, user: &UserId, now: Timestamp) -> Option<Duration> {
        let until = self.refused.get(&(tenant.cloned(), user.clone()))?;
        (until > now).then(|| now.until(until))
    }

    /// Refuses a user's sends until `until`.
    pub(crate) fn refuse(&self, tenant: Option<TenantId>, user: UserId, until: Timestamp) {
        self.refused.set((tenant, user), Some(until));
    }
}

/// A map that is cleared when it is full.
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
        if known.len() >= CACHED && !known.contains_key(&key) {
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
        for number in 0..=CACHED {
            map.set(number, Some(number));
        }
        assert_eq!(map.get(&CACHED), Some(CACHED));
        assert!(map.0.lock().unwrap().len() <= CACHED);
        map.set(CACHED, None);
        assert_eq!(map.get(&CACHED), None);
    }
}
