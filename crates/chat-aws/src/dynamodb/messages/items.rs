//! Items of messages in `chat_events`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::model::{
    error::StoreError, incarnation::ChannelKey, message::StoredMessage, reaction::Reactions, rev::Rev,
    trace::TraceContext,
};

use super::DynamoMessages;
use crate::dynamodb::{
    item::{Item, n, s, write},
    transaction::OPERATION,
};

impl DynamoMessages {
    /// Returns the item of a message.
    pub(super) fn message_item(&self, channel: &ChannelKey, stored: &StoredMessage) -> Result<Item, StoreError> {
        let message = &stored.message;
        let mut item: Item = write(OPERATION, message)?;
        item.extend(self.keys.message(channel, message.seq));
        // An update can add a reaction only below an existing map.
        item.insert("reactions".to_owned(), users_by_emoji(&message.reactions));
        // Nor can it count a reply elsewhere. Only messages outside of threads have replies.
        if message.thread_seq.is_none() && message.thread.is_none() {
            item.insert("thread".to_owned(), AttributeValue::M(HashMap::new()));
        }
        if stored.rev > Rev::ZERO {
            item.insert("rev".to_owned(), n(stored.rev));
        }
        if let Some(TraceContext { traceparent, tracestate }) = &stored.trace {
            item.insert("traceparent".to_owned(), s(traceparent));
            item.extend(tracestate.as_ref().map(|tracestate| ("tracestate".to_owned(), s(tracestate))));
        }
        if let Some(expires_at) = stored.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        Ok(item)
    }
}

/// Returns the users in sets, as an update adds and removes them.
fn users_by_emoji(reactions: &Reactions) -> AttributeValue {
    let sets = reactions
        .iter()
        .map(|(emoji, users)| (emoji.to_string(), AttributeValue::Ss(users.iter().map(ToString::to_string).collect())));
    AttributeValue::M(sets.collect())
}
