//! Keys under which items are stored.

use super::{Rule, State};
use crate::model::{
    id::UserId,
    incarnation::{ChannelKey, Incarnation},
};

impl State {
    /// Returns the key under which records are stored.
    pub(super) fn record_place(&self, key: &ChannelKey) -> ChannelKey {
        if self.lacks(Rule::RecordIncarnation) { of_no_incarnation(key) } else { key.clone() }
    }

    /// Returns the key under which subscriptions are stored.
    pub(super) fn subscription_place(&self, key: &ChannelKey) -> ChannelKey {
        if self.lacks(Rule::SubscriptionIncarnation) { of_no_incarnation(key) } else { key.clone() }
    }
}

/// Returns a key that all incarnations of an id share.
fn of_no_incarnation(key: &ChannelKey) -> ChannelKey {
    ChannelKey { channel_id: key.channel_id.clone(), incarnation: Incarnation::NONE }
}

pub(crate) fn send_bucket(user: &UserId) -> (Option<UserId>, String) {
    (Some(user.clone()), "send".to_owned())
}

pub(crate) fn reply_bucket(channel: &ChannelKey) -> (Option<UserId>, String) {
    (None, format!("reply#{channel}"))
}
