//! [`TicketStore`] in `chat_connections`.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::ReturnValue;
use chat::{
    model::{
        error::StoreError,
        id::{ChannelId, TenantId, UserId},
        incarnation::ChannelKey,
        ticket_digest::TicketDigest,
        time::Timestamp,
    },
    ports::ticket_store::{Ticket, TicketStore},
};
use serde::{Deserialize, Serialize};

use super::DynamoConnections;
use crate::{
    dynamodb::{
        item::{read, write},
        keys,
    },
    sdk::sdk_error,
};

#[derive(Serialize, Deserialize)]
struct TicketItem {
    user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<ChannelKey>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited_to: Option<BTreeSet<ChannelId>>,
    token_expires_at: Timestamp,
    /// TTL, in seconds since the Unix epoch.
    expires_at: i64,
}

impl TicketStore for DynamoConnections {
    async fn keep(&self, digest: &TicketDigest, ticket: &Ticket) -> Result<(), StoreError> {
        let ticket = ticket.clone();
        let fields = TicketItem {
            user_id: ticket.user_id,
            tenant: ticket.tenant,
            channels: ticket.channels,
            limited_to: ticket.allowed_channels,
            token_expires_at: ticket.token_expires_at,
            expires_at: ticket.expires_at.as_secs(),
        };
        let mut item = write("PutItem", fields)?;
        item.extend(keys::ticket(digest));
        self.put(item).await
    }

    async fn redeem(&self, digest: &TicketDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(keys::ticket(digest)))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| sdk_error("DeleteItem", error))?;
        let Some(item) = deleted.attributes.filter(|item| !item.is_empty()) else { return Ok(None) };
        let item: TicketItem = read("DeleteItem", item)?;
        let ticket = Ticket {
            user_id: item.user_id,
            tenant: item.tenant,
            channels: item.channels,
            allowed_channels: item.limited_to,
            token_expires_at: item.token_expires_at,
            expires_at: Timestamp::from_secs(item.expires_at),
        };
        Ok(Some(ticket).filter(|ticket| ticket.expires_at > now))
    }
}
