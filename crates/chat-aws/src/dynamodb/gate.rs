//! Gates: `chan#<key>` / `a-gate` and `blocked#<user>` in `chat_connections`, beside the subscriptions that they
//! refuse. A gate is written in the transaction that ends subscriptions. It is read with the subscriptions.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{channel::Visibility, id::UserId, incarnation::ChannelKey, limits::GATE_DURATION, time::Timestamp};

use crate::dynamodb::{expiry, item::n, keys::Keys, transaction::Write};

const CLOSED: &str = "closed";
const PRIVATE: &str = "private";

/// Writes to the gates of one tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gates<'a> {
    pub(crate) table: &'a str,
    pub(crate) keys: &'a Keys,
}

impl Gates<'_> {
    /// Refuses all subscriptions of a channel.
    pub(crate) fn close(self, channel: &ChannelKey, now: Timestamp) -> Write {
        self.set(channel, CLOSED, true, now)
    }

    /// Refuses subscriptions without a membership if the channel becomes private; otherwise admits them again.
    pub(crate) fn show(self, channel: &ChannelKey, to: Visibility, now: Timestamp) -> Write {
        self.set(channel, PRIVATE, to == Visibility::Private, now)
    }

    fn set(self, channel: &ChannelKey, attribute: &str, value: bool, now: Timestamp) -> Write {
        Write::update(self.table, self.keys.gate(channel), "SET #attribute = :value, expires_at = :expires_at")
            .name("attribute", attribute)
            .value("value", AttributeValue::Bool(value))
            .value("expires_at", n(expiry::kept_until(now.plus(GATE_DURATION))))
    }

    /// Refuses the subscriptions of a user that depend on a membership.
    pub(crate) fn block(self, channel: &ChannelKey, user: &UserId, now: Timestamp) -> Write {
        let mut item = self.keys.blocked(channel, user);
        item.insert("expires_at".to_owned(), n(expiry::kept_until(now.plus(GATE_DURATION))));
        Write::put(self.table, item)
    }

    /// Admits the subscriptions of a blocked user again.
    pub(crate) fn unblock(self, channel: &ChannelKey, user: &UserId) -> Write {
        Write::delete(self.table, self.keys.blocked(channel, user))
    }
}
