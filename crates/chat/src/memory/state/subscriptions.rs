//! Subscriptions, and the old views of them that a lagging replica returns.

use super::{Rule, State};
use crate::model::{
    connection::{ConnectionKey, Subscription},
    id::ConnectionId,
    incarnation::ChannelKey,
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

    /// Returns a page of subscriptions, and the connection after which the next page begins.
    pub(crate) fn subscriptions_page(
        &self,
        key: &ChannelKey,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> (Vec<&Subscription>, Option<ConnectionId>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(all) = self.subscriptions.get(&self.subscription_place(key)) else { return (Vec::new(), None) };
        let mut rest = all.range::<ConnectionId, _>((after.map_or(Unbounded, Excluded), Unbounded));
        let page: Vec<&Subscription> = rest.by_ref().take(limit).map(|(_, one)| one).collect();
        let mut last = page.last().filter(|_| page.len() == limit).map(|one| one.connection.id.clone());
        if self.lacks(Rule::PageEnd)
            && let Some((skipped, _)) = rest.take(limit).last()
        {
            last = last.map(|_| skipped.clone());
        }
        (page, last)
    }

    pub(crate) fn subscription(&self, key: &ChannelKey, id: &ConnectionId) -> Option<&Subscription> {
        self.subscriptions.get(&self.subscription_place(key))?.get(id)
    }

    /// Stores a subscription as given.
    pub fn put_subscription(&mut self, key: &ChannelKey, subscription: Subscription) {
        let place = self.subscription_place(key);
        self.keep_stale();
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
