//! What is left of deleted channels, and its removal: messages, members, idempotency records, and the ids in the end.
//!
//! `deletions#` / `<channel_id>` in `chat_channels` is written with the deletion and goes with the last item, so that a
//! removal that was interrupted anywhere is taken up again.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Delete, TransactWriteItem},
};
use chat::{
    clock::{Clock, SystemClock, Timestamp},
    error::StoreError,
};

use crate::{
    batch,
    channels::{MEMBER, META, user_list},
    item::{Item, key, s},
    sdk::{failed, unreadable},
    tenant,
};

/// Partition of the deletions that are not done.
pub(crate) const DELETIONS: &str = "deletions#";

/// Items that are looked up, and deleted, at a time.
const PAGE: i32 = 100;

/// Removes what is left of deleted channels.
#[derive(Debug, Clone)]
pub struct DynamoRemains {
    client: Client,
    events: String,
    channels: String,
}

/// A deleted channel, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains(String);

impl std::fmt::Display for Remains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl DynamoRemains {
    /// Of channels in the table `channels`, whose messages are in the table `events`.
    #[must_use]
    pub fn new(client: Client, events: impl Into<String>, channels: impl Into<String>) -> Self {
        Self { client, events: events.into(), channels: channels.into() }
    }

    /// Up to `limit` deleted channels of which something is left.
    pub async fn all(&self, limit: usize) -> Result<Vec<Remains>, StoreError> {
        let items = self.page(&self.channels, DELETIONS, "sk", None).await?;
        Ok(items.iter().filter_map(|item| text(item, "sk")).take(limit).map(|id| Remains(id.to_owned())).collect())
    }

    /// Removes what is left of one, until all is gone (`true`) or it is `until`.
    pub async fn remove(&self, remains: &Remains, until: Timestamp) -> Result<bool, StoreError> {
        let Remains(id) = remains;
        let (tenant, channel) = tenant::split(id).map_err(|error| unreadable("Query", error))?;
        loop {
            let messages = self.page(&self.events, id, "seq", None).await?;
            let requests = messages.iter().map(|message| batch::delete(message.clone()));
            batch::write(&self.client, &self.events, requests.collect::<Result<_, _>>()?).await?;
            if messages.is_empty() {
                break;
            }
            if SystemClock.now() >= until {
                return Ok(false);
            }
        }
        loop {
            let items = self.page(&self.channels, id, "sk", Some(META)).await?;
            let mut requests = Vec::new();
            for item in &items {
                if let Some(user) = text(item, "sk").and_then(|sk| sk.strip_prefix(MEMBER)) {
                    let listed = user_list(&tenant::Names::of(tenant.as_ref()), user);
                    requests
                        .push(batch::delete(key(("channel_id", s(listed)), ("sk", s(format!("{MEMBER}{channel}")))))?);
                }
                requests.push(batch::delete(item.clone())?);
            }
            batch::write(&self.client, &self.channels, requests).await?;
            if items.is_empty() {
                break;
            }
            if SystemClock.now() >= until {
                return Ok(false);
            }
        }
        self.free(id).await?;
        Ok(true)
    }

    /// Frees the id, now that nothing is left under it.
    async fn free(&self, id: &str) -> Result<(), StoreError> {
        const OPERATION: &str = "TransactWriteItems";
        let delete = |partition: &str, sk: &str| {
            let key = key(("channel_id", s(partition)), ("sk", s(sk)));
            let delete = Delete::builder().table_name(&self.channels).set_key(Some(key)).build();
            delete.map(|delete| TransactWriteItem::builder().delete(delete).build())
        };
        let items = [delete(id, META), delete(DELETIONS, id)];
        let items = items.into_iter().collect::<Result<_, _>>().map_err(|error| unreadable(OPERATION, error))?;
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        call.send().await.map_err(|error| failed(OPERATION, error))?;
        Ok(())
    }

    /// Keys of some items of a partition, but for one sort key.
    async fn page(
        &self,
        table: &str,
        partition: &str,
        sort: &str,
        except: Option<&str>,
    ) -> Result<Vec<Item>, StoreError> {
        let page = self
            .client
            .query()
            .table_name(table)
            .key_condition_expression("channel_id = :partition")
            .expression_attribute_values(":partition", s(partition))
            .projection_expression("channel_id, #sort")
            .expression_attribute_names("#sort", sort)
            .consistent_read(true)
            .limit(PAGE)
            .send()
            .await
            .map_err(|error| failed("Query", error))?;
        let mut items = page.items.unwrap_or_default();
        items.retain(|item| except.is_none() || text(item, sort) != except);
        Ok(items)
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name)? {
        AttributeValue::S(text) => Some(text),
        _ => None,
    }
}
