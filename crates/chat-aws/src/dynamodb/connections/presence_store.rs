//! [`PresenceStore`] in `chat_connections`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValue},
};
use chat::{
    model::{
        connection::{ConnectionKey, Subscription},
        error::StoreError,
        id::{ConnectionId, UserId},
        incarnation::{ChannelKey, Incarnation},
        time::Timestamp,
    },
    ports::presence_store::{Announced, PresenceStore},
};
use serde::{Deserialize, Serialize};

use super::{DynamoConnections, deleted};
use crate::{
    dynamodb::{
        batch,
        expiry::{end_of, kept_until},
        item::{Item, attribute, n, number, read, s, text},
        keys::PresenceSort,
    },
    sdk::{decode_error, sdk_error},
};

/// Time for which the announced presence of a user is stored: longer than a connection can last.
const PRESENCE_KEPT: Duration = Duration::from_hours(24);

/// Items of one `BatchGetItem` ("`BatchGetItem`" in the DynamoDB API reference).
const READ_AT_ONCE: usize = 100;

/// Attribute that changes with each write of an item.
pub(crate) const MARK: &str = "mark";

/// Attribute with the subscriptions that listen to presence.
pub(crate) const LISTENERS: &str = "listeners";

/// Listener, with short names: a channel has hundreds in one item.
#[derive(Serialize, Deserialize)]
struct Listener {
    #[serde(rename = "c")]
    id: ConnectionId,
    #[serde(rename = "t")]
    connected_at: Timestamp,
    #[serde(rename = "u")]
    user_id: UserId,
    #[serde(rename = "e")]
    expires_at: i64,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    member: bool,
}

#[derive(Deserialize)]
struct ListenersItem {
    listeners: Vec<Listener>,
}

impl PresenceStore for DynamoConnections {
    async fn announced(&self, channel: &ChannelKey, users: &BTreeSet<UserId>) -> Result<Announced, StoreError> {
        let records = users.iter().map(|user| self.keys.presence(channel, user));
        let keys: Vec<Item> = std::iter::once(self.keys.listeners(channel)).chain(records).collect();
        let mut announced = Announced { marks: BTreeMap::new(), listeners: Vec::new(), listeners_mark: None };
        for keys in keys.chunks(READ_AT_ONCE) {
            for item in batch::get(&self.client, &self.table, keys.to_vec()).await? {
                let Some(mark) = text(&item, MARK) else { continue };
                let mark: Incarnation = mark.parse().map_err(|error| decode_error(batch::BATCH_GET, error))?;
                let sk = text(&item, "sk").unwrap_or_default();
                match PresenceSort::read(sk).map_err(|error| decode_error(batch::BATCH_GET, error))? {
                    PresenceSort::User(user) => _ = announced.marks.insert(user, mark),
                    PresenceSort::Listeners => {
                        let stored: ListenersItem = read(batch::BATCH_GET, item)?;
                        announced.listeners = stored.listeners.into_iter().map(Subscription::from).collect();
                        announced.listeners_mark = Some(mark);
                    }
                }
            }
        }
        Ok(announced)
    }

    async fn set_listeners(
        &self,
        channel: &ChannelKey,
        before: Option<Incarnation>,
        listeners: &[Subscription],
        mark: Incarnation,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let listeners: Vec<Listener> = listeners.iter().map(Listener::from).collect();
        let mut item = self.keys.listeners(channel);
        item.extend(written(mark, now));
        item.insert(LISTENERS.to_owned(), attribute("PutItem", listeners)?);
        // A repeated call finds its own mark.
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", s(mark.to_string()));
        let put = match before {
            None => put.condition_expression("attribute_not_exists(sk) OR #mark = :mark"),
            Some(before) => put
                .condition_expression("#mark = :before OR #mark = :mark")
                .expression_attribute_values(":before", s(before.to_string())),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(sdk_error("PutItem", error)),
        }
    }

    async fn mark_online(
        &self,
        channel: &ChannelKey,
        user: &UserId,
        mark: Incarnation,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut item = self.keys.presence(channel, user);
        item.extend(written(mark, now));
        let put = self.client.put_item().table_name(&self.table).return_values(ReturnValue::AllOld);
        let put = put.set_item(Some(item)).send().await.map_err(|error| sdk_error("PutItem", error))?;
        let Some(before) = put.attributes else { return Ok(true) };
        let is_over = number(&before, "expires_at").is_none_or(|secs| secs <= now.as_secs());
        // A repeated call finds its own record.
        Ok(is_over || text(&before, MARK) == Some(mark.to_string().as_str()))
    }

    async fn mark_offline(&self, channel: &ChannelKey, user: &UserId, mark: Incarnation) -> Result<bool, StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.presence(channel, user)))
            .condition_expression("attribute_not_exists(sk) OR #mark = :mark")
            .expression_attribute_names("#mark", MARK)
            .expression_attribute_values(":mark", s(mark.to_string()));
        Ok(deleted(delete).await?.is_some())
    }
}

/// Returns whether a user is among the listeners in an item.
pub(crate) fn listens(operation: &'static str, item: &Item, user: &UserId) -> Result<bool, StoreError> {
    let stored: ListenersItem = read(operation, item.clone())?;
    Ok(stored.listeners.iter().any(|one| one.user_id == *user))
}

/// Returns the listeners in an item, with `alias` in the place of a user.
pub(crate) fn renamed(
    operation: &'static str,
    item: Item,
    user: &UserId,
    alias: &UserId,
) -> Result<AttributeValue, StoreError> {
    let mut stored: ListenersItem = read(operation, item)?;
    for one in stored.listeners.iter_mut().filter(|one| one.user_id == *user) {
        one.user_id = alias.clone();
    }
    attribute(operation, stored.listeners)
}

/// Returns the attributes of each write.
fn written(mark: Incarnation, now: Timestamp) -> [(String, AttributeValue); 2] {
    [(MARK.to_owned(), s(mark.to_string())), ("expires_at".to_owned(), n(now.plus(PRESENCE_KEPT).as_secs()))]
}

impl From<&Subscription> for Listener {
    fn from(one: &Subscription) -> Self {
        let Subscription { connection: ConnectionKey { id, connected_at }, user_id, expires_at, member } = one.clone();
        Self { id, connected_at, user_id, expires_at: kept_until(expires_at), member }
    }
}

impl From<Listener> for Subscription {
    fn from(one: Listener) -> Self {
        let Listener { id, connected_at, user_id, expires_at, member } = one;
        Self { connection: ConnectionKey { id, connected_at }, user_id, expires_at: end_of(expires_at), member }
    }
}
