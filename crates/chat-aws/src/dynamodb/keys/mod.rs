//! Keys of the three tables. No file outside of this folder builds or reads their text. `chat_channels.rs` and
//! `chat_connections.rs` have the keys of the table of that name.
//!
//! Everything that belongs to a channel is stored under its [`ChannelKey`], `<channel id>@<incarnation>`, below written
//! as `<key>`. An id alone leads to two items: the channel that currently has the id, and the number of its last change.
//!
//! `chat_channels` (`channel_id`, `sk`):
//!
//! | key | item |
//! | --- | --- |
//! | `<channel id>` / `meta` | the channel |
//! | `<key>` / `access` | the state that permits changes: `visibility`, `archived` and the number of `owners` |
//! | `<key>` / `instructions` | the instructions of the channel's agent, if it has some |
//! | `<key>` / `member#<user>` | a member |
//! | `<key>` / `created#<user>#<idempotency key>` | the request that created the channel |
//! | `<key>` / `idem#<user>#<idempotency key>` | the idempotency record of a sender's request |
//! | `<key>` / `answered#<seq>` | the idempotency record of the agent's reply to a message |
//! | `<key>` / `thread#<seq of the root>#<seq>` | a message in a thread |
//! | `<key>` / `root#<seq>` | the root of a thread that has a reply |
//! | `<key>` / `claim#<seq>` | the reply lease of a message |
//! | `<key>` / `draft#<seq>#<draft id>#<position>` | a piece of a draft of the reply to a message |
//! | `<key>` / `rate#reply` | the token bucket of the agent's replies in the channel |
//! | `user#<user>` / `member#<key, with # for @>` | the membership in its user's list, with the user's `read_seq` |
//! | `<key>` / `invited#<user>` | an invitation |
//! | `user#<user>` / `invited#<key, with # for @>` | the invitation in its user's list |
//! | `user#<user>` / `chosen#<joined at>#<key, with # for @>` | a membership that its user chose; deleted with it |
//! | `user#<user>` / `created` | the number of existing channels that the user created |
//! | `user#<user>` / `rate#<action>` | a token bucket of the user |
//! | `user#<user>` / `tokens#<date>` | tokens used by the agent for the user |
//! | `public#` / `<search key>#<channel id>` | a public channel in the list of all, by the search key of its name |
//! | `pending#` / `<id>` | a pending end, of any tenant |
//! | `changes#<channel id>` / `last` | the number of the channel's last change, with its `incarnation` |
//! | `changes#<key>` / `<number>` | the record of a change: the `seq` of the changed message |
//!
//! `chat_events` (`channel_id`, `seq`): a message, under `<key>`.
//!
//! `chat_connections` (`pk`, `sk`):
//!
//! | key | item |
//! | --- | --- |
//! | `conn#<connection>` / `meta` | a connection; `opening` if it is pending |
//! | `user#<user>` / `conn#<connection>` | the same connection among those of its user |
//! | `chan#<key>` / `a-gate` | the channel's gate; it sorts before the other items |
//! | `chan#<key>` / `a-parts` | the number of parts of the subscriptions, if there are several; it sorts after the gate |
//! | `chan#<key>` / `blocked#<user>` | a user whom the gate refuses; it sorts before the subscriptions |
//! | `chan#<key>` / `conn#<connection>` | a subscription |
//! | `chan#<key>#<part>` / `conn#<connection>` | a subscription in another part than the first |
//! | `divided#` / `<key>` | a channel whose subscriptions have several parts, of any tenant, with their number |
//! | `present#<key>` / `user#<user>` | a user whose presence was announced |
//! | `present#<key>` / `listeners` | the subscriptions that listen to presence |
//! | `ends#<minute>` / `conn#<connection>` | a connection whose token ends in that minute since the Unix epoch |
//! | `ends#` / `cursor` | the last minute that was processed |
//! | `ticket#<digest>` / `meta` | a ticket |
//!
//! Changes have partitions of their own, so that they do not contend with sends.
//!
//! Tenants are isolated by a prefix: `<tenant>~` precedes a channel's or user's id, and follows `public#`. No id
//! contains a `~`, an `@` or a `#`.

mod chat_channels;
mod chat_connections;
mod of_user;
mod sort_range;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use chat::model::{
    id::{ChannelId, TenantId, UserId},
    incarnation::{ChannelKey, KeyError},
    seq::Seq,
};

use crate::dynamodb::item::{Item, n, s};

pub(crate) use chat_channels::{
    chosen_channel, invited_of, listed_channel, listed_invitation_channel, member_of, pending, pendings, position_of,
    public_channel, rev_of, seq_of,
};
pub(crate) use chat_connections::{
    AudienceSort, Place, PresenceSort, connection, connection_of, divided_channels, end, ends, ends_cursor,
    first_subscription, of_connection, subscribed, ticket,
};
pub(crate) use of_user::OfUser;
pub(crate) use sort_range::SortRange;

const TENANT_SEPARATOR: char = '~';
const INCARNATION_SEPARATOR: char = '@';

/// Sort key of the only or main item of a partition.
pub(crate) const META: &str = "meta";
const USER: &str = "user#";

/// Builds the keys of one tenant's items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn for_tenant(tenant: Option<&TenantId>) -> Self {
        Self { prefix: tenant.map(|tenant| format!("{tenant}{TENANT_SEPARATOR}")).unwrap_or_default() }
    }

    /// Returns an id or a [`ChannelKey`] as it is written in a key.
    fn name(&self, id: impl Display) -> String {
        format!("{}{id}", self.prefix)
    }

    fn user(&self, user: &UserId) -> String {
        format!("{USER}{}", self.name(user))
    }

    /// Returns the text of a channel's key with its tenant, which [`channel_key`] reads.
    pub(crate) fn channel(&self, channel: &ChannelKey) -> String {
        self.name(channel)
    }

    /// Returns an item whose `channel_id` is the channel's id alone.
    pub(crate) fn plain(&self, mut item: Item) -> Item {
        let id = item.get("channel_id").and_then(|id| id.as_s().ok()).map(|id| self.plain_id(id).to_owned());
        item.extend(id.map(|id| ("channel_id".to_owned(), s(id))));
        item
    }

    /// Returns the channel's id in a `channel_id`.
    pub(crate) fn plain_id<'a>(&self, stored: &'a str) -> &'a str {
        let key = stored.strip_prefix(&self.prefix).unwrap_or(stored);
        key.split(INCARNATION_SEPARATOR).next().unwrap_or_default()
    }

    pub(crate) fn message(&self, channel: &ChannelKey, seq: Seq) -> Item {
        Item::from([("channel_id".to_owned(), s(self.name(channel))), ("seq".to_owned(), n(seq))])
    }
}

/// Reads the tenant and the channel key in a text that [`Keys::channel`] wrote.
pub(crate) fn channel_key(text: &str) -> Result<(Option<TenantId>, ChannelKey), KeyError> {
    let (tenant, key) = split_tenant(text)?;
    Ok((tenant, key.parse()?))
}

/// Reads the tenant and the id in the partition key of a channel's `meta` item.
pub(crate) fn channel_id(text: &str) -> Result<(Option<TenantId>, ChannelId), KeyError> {
    let (tenant, id) = split_tenant(text)?;
    Ok((tenant, id.parse().map_err(|_| KeyError)?))
}

fn split_tenant(text: &str) -> Result<(Option<TenantId>, &str), KeyError> {
    Ok(match text.split_once(TENANT_SEPARATOR) {
        Some((tenant, rest)) => (Some(tenant.parse().map_err(|_| KeyError)?), rest),
        None => (None, text),
    })
}
