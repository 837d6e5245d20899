//! State that a warm function caches between messages, so that each costs one request.

use std::{collections::HashMap, hash::Hash, sync::Mutex, time::Duration};

use chat::{
    app::{
        rate_limit::SenderTokens,
        send::{Rivals, SendCache},
    },
    model::{
        channel::ChannelHead,
        id::{ChannelId, TenantId, UserId},
        rev::Rev,
        time::Timestamp,
    },
};

/// Maximum number of cached channels and of cached users: little memory, but most reads are saved.
const CACHED: usize = 1_000;

/// A channel or a user, with its tenant.
type Of<Id> = (Option<TenantId>, Id);

/// The channel heads, the numbers of the channels' changes and of their senders, and the tokens of users.
#[derive(Debug, Default)]
pub(crate) struct SendCaches {
    heads: Bounded<Of<ChannelId>, ChannelHead>,
    /// Numbers of the channels' last changes, with the times when they were read.
    revs: Bounded<Of<ChannelId>, (Rev, Timestamp)>,
    /// Numbers of the channels' concurrent senders. An environment has one request at a time, so they are senders of
    /// other environments.
    rivals: Bounded<Of<ChannelId>, Rivals>,
    tokens: Bounded<Of<UserId>, SenderTokens>,
    /// Times until which sends of a user are refused, after too many requests that stored nothing.
    refused: Bounded<Of<UserId>, Timestamp>,
}

impl SendCaches {
    /// Returns the state for one message. Tokens are taken out until [`SendCaches::set`], so that none is used twice.
    pub(crate) fn get(&self, tenant: Option<&TenantId>, channel: &ChannelId, user: &UserId) -> SendCache {
        let of_channel = (tenant.cloned(), channel.clone());
        SendCache {
            head: self.heads.get(&of_channel),
            rev: self.revs.get(&of_channel),
            rivals: self.rivals.get(&of_channel),
            tokens: self.tokens.take(&(tenant.cloned(), user.clone())).unwrap_or_default(),
        }
    }

    pub(crate) fn set(&self, tenant: Option<TenantId>, channel: ChannelId, user: UserId, cache: SendCache) {
        let of_channel = (tenant.clone(), channel);
        self.revs.set(of_channel.clone(), cache.rev);
        self.rivals.set(of_channel.clone(), cache.rivals);
        self.heads.set(of_channel, cache.head);
        self.tokens.set((tenant, user), Some(cache.tokens).filter(|tokens| *tokens != SenderTokens::default()));
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

    fn take(&self, key: &K) -> Option<V> {
        self.0.lock().ok()?.remove(key)
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

    #[test]
    fn tokens_are_of_a_user_in_all_channels_and_are_taken_out_once() {
        let caches = SendCaches::default();
        let of = |channel: &str, user: &str| caches.get(None, &channel.parse().unwrap(), &user.parse().unwrap()).tokens;
        let tokens = SenderTokens::read(Timestamp::from_secs(1));
        let cache = SendCache { tokens, ..SendCache::default() };
        caches.set(None, "c".parse().unwrap(), "u".parse().unwrap(), cache);
        assert_eq!(of("d", "v"), SenderTokens::default());
        assert_eq!(of("d", "u"), tokens);
        assert_eq!(of("d", "u"), SenderTokens::default());
    }

    #[test]
    fn a_number_of_changes_is_that_of_one_tenants_channel_until_it_is_forgotten() {
        let caches = SendCaches::default();
        let (tenant, channel, user) = ("t".parse().unwrap(), "c".parse().unwrap(), "u".parse().unwrap());
        let read = Some((Rev::new(7), Timestamp::from_secs(1)));
        caches.set(Some(tenant), channel, user, SendCache { rev: read, ..SendCache::default() });
        let of = |tenant: Option<&str>, channel: &str| {
            let tenant = tenant.map(|tenant| tenant.parse().unwrap());
            caches.get(tenant.as_ref(), &channel.parse().unwrap(), &"v".parse().unwrap()).rev
        };
        assert_eq!(of(Some("t"), "c"), read, "another user of the channel");
        assert_eq!((of(None, "c"), of(Some("u"), "c"), of(Some("t"), "d")), (None, None, None));
        let (tenant, channel, user) = ("t".parse().unwrap(), "c".parse().unwrap(), "u".parse().unwrap());
        caches.set(Some(tenant), channel, user, SendCache::default());
        assert_eq!(of(Some("t"), "c"), None);
    }
}
