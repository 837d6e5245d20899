//! Channels and members: `chat_channels`.

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{delete_item::DeleteItemError, transact_write_items::TransactWriteItemsError},
    types::{
        AttributeValue, ConditionCheck, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    },
};
use chat::{
    channel::{Channel, ChannelPage, ChannelStore, Member, MemberAdded, Visibility},
    clock::{Backoff, Clock, SystemClock},
    error::StoreError,
    id::{ChannelId, UserId},
};

use crate::{
    item::{Item, key, read, s, write},
    sdk::{failed, unreadable},
};

const META: &str = "meta";
const BY_USER: &str = "by_user";
const BATCH_GET_BACKOFF: Backoff =
    Backoff { first: std::time::Duration::from_millis(20), most: std::time::Duration::from_millis(500) };
const BATCH_GET_ATTEMPTS: u32 = 8;

/// The key of a channel's own item.
pub(crate) fn meta_key(channel: &ChannelId) -> Item {
    key(("channel_id", s(channel.as_str())), ("sk", s(META)))
}

/// The key of a member.
pub(crate) fn member_key(channel: &ChannelId, user: &UserId) -> Item {
    key(("channel_id", s(channel.as_str())), ("sk", s(member_sk(user))))
}

fn member_sk(user: &UserId) -> String {
    format!("member#{user}")
}

/// Channels in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoChannels {
    client: Client,
    table: String,
}

impl DynamoChannels {
    /// Channels in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", error))?;
        Ok(found.item)
    }

    fn put_new(&self, operation: &'static str, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(sk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| unreadable(operation, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The items of channels, in the order of `ids`; those that have gone are left out.
    async fn channels(&self, ids: &[ChannelId]) -> Result<Vec<Channel>, StoreError> {
        const OPERATION: &str = "BatchGetItem";
        let mut wanted: Vec<Item> = ids.iter().map(meta_key).collect();
        let mut channels: Vec<Channel> = Vec::with_capacity(ids.len());
        for attempt in 0..BATCH_GET_ATTEMPTS {
            if wanted.is_empty() {
                break;
            }
            if attempt > 0 {
                SystemClock.sleep(BATCH_GET_BACKOFF.delay(&SystemClock, attempt - 1)).await;
            }
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(std::mem::take(&mut wanted)))
                .consistent_read(true)
                .build()
                .map_err(|error| unreadable(OPERATION, error))?;
            let found = self
                .client
                .batch_get_item()
                .request_items(&self.table, keys)
                .send()
                .await
                .map_err(|error| failed(OPERATION, error))?;
            for item in found.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                channels.push(read(OPERATION, item)?);
            }
            wanted = found
                .unprocessed_keys
                .unwrap_or_default()
                .remove(&self.table)
                .map(|rest| rest.keys)
                .unwrap_or_default();
        }
        if !wanted.is_empty() {
            let source = "the table is too busy to read all channels".into();
            return Err(StoreError { operation: OPERATION, retryable: true, source });
        }
        channels.sort_unstable_by(|a, b| a.channel_id.cmp(&b.channel_id));
        Ok(channels)
    }
}

impl ChannelStore for DynamoChannels {
    async fn create(&self, channel: &Channel, owner: &Member) -> Result<bool, StoreError> {
        const OPERATION: &str = "TransactWriteItems";
        let mut meta = write(OPERATION, channel)?;
        meta.insert("sk".to_owned(), s(META));
        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(OPERATION, meta)?)
            .transact_items(self.put_new(OPERATION, member_item(OPERATION, owner)?)?)
            .send()
            .await;
        match created {
            Ok(_) => Ok(true),
            Err(error) => match cancellation_codes(&error) {
                Some(codes) if codes.iter().any(|code| code == "ConditionalCheckFailed") => Ok(false),
                _ => Err(failed(OPERATION, error)),
            },
        }
    }

    async fn channel(&self, id: &ChannelId) -> Result<Option<Channel>, StoreError> {
        self.get(meta_key(id)).await?.map(|item| read("GetItem", item)).transpose()
    }

    async fn member(&self, channel: &ChannelId, user: &UserId) -> Result<Option<Member>, StoreError> {
        self.get(member_key(channel, user)).await?.map(|item| read("GetItem", item)).transpose()
    }

    async fn channels_of(
        &self,
        user: &UserId,
        after: Option<&ChannelId>,
        limit: u16,
    ) -> Result<ChannelPage, StoreError> {
        #[derive(serde::Deserialize)]
        struct Membership {
            channel_id: ChannelId,
        }
        let mut values = Item::from([(":user".to_owned(), s(user.as_str()))]);
        let mut condition = "user_id = :user".to_owned();
        if let Some(after) = after {
            values.insert(":after".to_owned(), s(after.as_str()));
            condition.push_str(" AND channel_id > :after");
        }
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(BY_USER)
            .key_condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .limit(i32::from(limit))
            .send()
            .await
            .map_err(|error| failed("Query", error))?;
        let ids = page
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| Ok(read::<Membership>("Query", item)?.channel_id))
            .collect::<Result<Vec<_>, StoreError>>()?;
        let next_after = page.last_evaluated_key.and_then(|_| ids.last().cloned());
        Ok(ChannelPage { channels: self.channels(&ids).await?, next_after })
    }

    async fn add_member(&self, member: &Member, visibility: Visibility) -> Result<MemberAdded, StoreError> {
        const OPERATION: &str = "TransactWriteItems";
        let visibility: AttributeValue =
            serde_dynamo::to_attribute_value(visibility).map_err(|error| unreadable(OPERATION, error))?;
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(meta_key(&member.channel_id)))
            .condition_expression("visibility = :visibility AND attribute_not_exists(archived_at)")
            .expression_attribute_values(":visibility", visibility)
            .build()
            .map_err(|error| unreadable(OPERATION, error))?;
        let added = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().condition_check(check).build())
            .transact_items(self.put_new(OPERATION, member_item(OPERATION, member)?)?)
            .send()
            .await;
        let Err(error) = added else { return Ok(MemberAdded::Added) };
        if let SdkError::ServiceError(context) = &error
            && let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err()
        {
            let reasons = cancelled.cancellation_reasons();
            let refused =
                |index: usize| reasons.get(index).filter(|reason| reason.code() == Some("ConditionalCheckFailed"));
            if let Some(item) = refused(1).and_then(|reason| reason.item.clone()) {
                return Ok(MemberAdded::Already(read(OPERATION, item)?));
            }
            if refused(0).is_some() {
                return Ok(MemberAdded::ChannelChanged);
            }
            let source = "another change of the channel was under way".into();
            return Err(StoreError { operation: OPERATION, retryable: true, source });
        }
        Err(failed(OPERATION, error))
    }

    async fn has_other_owner(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("channel_id = :channel AND begins_with(sk, :member)")
                .filter_expression("#role = :owner AND user_id <> :user")
                .expression_attribute_names("#role", "role")
                .expression_attribute_values(":channel", s(channel.as_str()))
                .expression_attribute_values(":member", s("member#"))
                .expression_attribute_values(":owner", s("owner"))
                .expression_attribute_values(":user", s(user.as_str()))
                .consistent_read(true)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| failed("Query", error))?;
            if page.count > 0 {
                return Ok(true);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(false);
            }
        }
    }

    async fn remove_member(&self, channel: &ChannelId, user: &UserId) -> Result<bool, StoreError> {
        let removed = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(member_key(channel, user)))
            .condition_expression("attribute_exists(sk)")
            .send()
            .await;
        match removed {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), DeleteItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed("DeleteItem", error)),
        }
    }
}

fn member_item(operation: &'static str, member: &Member) -> Result<Item, StoreError> {
    let mut item = write(operation, member)?;
    item.insert("sk".to_owned(), s(member_sk(&member.user_id)));
    Ok(item)
}

/// The reasons of a cancelled transaction; `None` when it failed otherwise.
fn cancellation_codes<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Vec<String>> {
    let SdkError::ServiceError(context) = error else { return None };
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err() else { return None };
    Some(cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code.clone()).collect())
}
