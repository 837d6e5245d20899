//! Port that stores which presence was announced.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use crate::model::{
    connection::Subscription,
    error::StoreError,
    id::UserId,
    incarnation::{ChannelKey, Incarnation},
    time::Timestamp,
};

/// Announced presence of a channel, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Announced {
    /// Those of the requested users that were announced, with the marks of their records. Each write of a record
    /// changes its mark.
    pub marks: BTreeMap<UserId, Incarnation>,
    /// Subscriptions that got an arrival. Departures go to them when the channel has grown.
    pub listeners: Vec<Subscription>,
    /// Mark of the listeners. `None`: none are stored.
    pub listeners_mark: Option<Incarnation>,
}

/// Store of the presence that was announced to a channel's subscribers. A record outlasts every connection that was
/// open when it was written. All reads are strongly consistent.
pub trait PresenceStore: Send + Sync {
    /// Returns the records of `users`, expired or not, and the listeners.
    fn announced(
        &self,
        channel: &ChannelKey,
        users: &BTreeSet<UserId>,
    ) -> impl Future<Output = Result<Announced, StoreError>> + Send;

    /// Replaces the listeners of a channel and their mark. Condition: the listeners have the mark `before`. Returns
    /// `false` if they have another one.
    fn set_listeners(
        &self,
        channel: &ChannelKey,
        before: Option<Incarnation>,
        listeners: &[Subscription],
        mark: Incarnation,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records a user as online, or extends the record, with a new mark. Returns `false` if the user already was online
    /// at `now`.
    fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        mark: Incarnation,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Records a user as offline. Condition: no record has another mark. Returns `false` if one has: then another process
    /// has extended it.
    fn mark_offline(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        mark: Incarnation,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
