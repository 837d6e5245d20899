//! Subscriptions, and the old views of them that a lagging replica returns.

use super::{Rule, State};
use crate::model::{
    connection::{ConnectionKey, Subscription},
    id::ConnectionId,
    incarnation::ChannelKey,
    parts::{AudienceCursor, Parts},
};

/// Number of old views of the subscriptions that a lagging replica still returns.
const STALE_VIEWS: usize = 2;

impl State {
    pub(crate) fn subscriptions_of(&self, key: &ChannelKey) -> impl Iterator<Item = &Subscription> {
        let view = match self.stale.front() {
            Some(stale) if self.lacks(Rule::SubscriptionsCurrent) => stale,
            _ => &self.subscriptions,
        };
        view.get(&self.subscription_place(key)).into_iter().flatten().map(|(_, one)| one)
    }

    /// Returns a page of the part of the subscriptions at a position, and the position of the next page. Without `end`,
    /// the rule that a page ends where the next one begins, a page is skipped.
    pub(crate) fn subscriptions_page(
        &self,
        key: &ChannelKey,
        at: Option<&AudienceCursor>,
        limit: usize,
        end: Rule,
    ) -> (Vec<&Subscription>, Option<AudienceCursor>) {
        let at = at.cloned().unwrap_or_else(|| AudienceCursor::start(self.parts_of(key)));
        let is_next = |one: &&Subscription| {
            let id = &one.connection.id;
            self.part_of(key, id) == at.part && at.after.as_ref().is_none_or(|after| id > after)
        };
        let mut rest = self.subscriptions_of(key).filter(is_next);
        let page: Vec<&Subscription> = rest.by_ref().take(limit).collect();
        let next = match page.last() {
            Some(last) if page.len() == limit => {
                let last = if self.lacks(end) { rest.take(limit).last().unwrap_or(last) } else { last };
                Some(AudienceCursor { after: Some(last.connection.id.clone()), ..at.clone() })
            }
            _ if self.lacks(Rule::PartsRead) => None,
            // Parts that are empty at this instant are read with this page.
            _ => std::iter::successors(at.next_part(), AudienceCursor::next_part)
                .find(|next| self.subscriptions_of(key).any(|one| self.part_of(key, &one.connection.id) == next.part)),
        };
        (page, next)
    }

    /// Returns the number of parts of a channel's subscriptions.
    pub(crate) fn parts_of(&self, key: &ChannelKey) -> Parts {
        self.parts.get(&self.subscription_place(key)).copied().unwrap_or_default()
    }

    /// Returns the part in which a subscription was written.
    fn part_of(&self, key: &ChannelKey, id: &ConnectionId) -> u32 {
        self.placed.get(&(self.subscription_place(key), id.clone())).copied().unwrap_or_default()
    }

    /// Divides a channel's subscriptions into more parts.
    pub(crate) fn divide(&mut self, key: &ChannelKey, parts: Parts) {
        let place = self.subscription_place(key);
        let stored = self.parts.entry(place).or_default();
        *stored = parts.max(*stored);
    }

    pub(crate) fn subscription(&self, key: &ChannelKey, id: &ConnectionId) -> Option<&Subscription> {
        self.subscriptions.get(&self.subscription_place(key))?.get(id)
    }

    /// Stores a subscription as given.
    pub fn put_subscription(&mut self, key: &ChannelKey, subscription: Subscription) {
        let place = self.subscription_place(key);
        self.keep_stale();
        let id = &subscription.connection.id;
        // A subscription that is replaced stays in its part.
        if self.subscriptions.get(&place).is_none_or(|all| !all.contains_key(id)) {
            let part = self.parts_of(key).part_of(id);
            self.placed.remove(&(place.clone(), id.clone()));
            if part > 0 {
                self.placed.insert((place.clone(), id.clone()), part);
            }
        }
        self.subscriptions.entry(place).or_default().insert(subscription.connection.id.clone(), subscription);
    }

    /// Removes the subscription of a connection. Keeps that of another connection with the same id.
    pub(crate) fn remove_subscription(&mut self, key: &ChannelKey, connection: &ConnectionKey) -> bool {
        if self.subscription(key, &connection.id).is_none_or(|one| one.connection != *connection) {
            return false;
        }
        self.keep_stale();
        let place = self.subscription_place(key);
        self.subscriptions.get_mut(&place).is_some_and(|all| all.remove(&connection.id).is_some())
    }

    fn keep_stale(&mut self) {
        if self.lacks(Rule::SubscriptionsCurrent) {
            self.stale.push_back(self.subscriptions.clone());
            if self.stale.len() > STALE_VIEWS {
                self.stale.pop_front();
            }
        }
    }
}
