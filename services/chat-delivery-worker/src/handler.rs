//! From stream records to frames: channels side by side, the events of each in their order.

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use chat::{
    clock::{SystemClock, Timestamp},
    connection::ConnectionStore,
    delivery::{Delivery, FanOut, SocketPusher},
    limits::CHANNELS_AT_ONCE,
    message::MessageEvent,
};
use chat_aws::stream::{ChannelBatch, failures, sort};
use futures::StreamExt;
use lambda_runtime::Context;

/// Delivers messages.
pub(crate) struct Handler<Connections, Sockets, Fan> {
    pub(crate) connections: Connections,
    pub(crate) sockets: Sockets,
    pub(crate) fan_out: Fan,
    /// Subscribers that are pushed to from here.
    pub(crate) threshold: usize,
}

impl<Connections, Sockets, Fan> Handler<Connections, Sockets, Fan>
where
    Connections: ConnectionStore,
    Sockets: SocketPusher,
    Fan: FanOut,
{
    pub(crate) async fn handle(&self, event: Event, context: &Context) -> DynamoDbEventResponse {
        let batch = sort(event);
        let mut failed: Vec<String> = futures::stream::iter(batch.channels)
            .map(|batch| self.deliver_channel(batch, context))
            .buffer_unordered(CHANNELS_AT_ONCE)
            .filter_map(async |failed| failed)
            .collect()
            .await;
        failed.extend(batch.unreadable);
        failures(failed)
    }

    /// Delivers one channel's messages; the sequence number of the first that has to come again, if any.
    async fn deliver_channel(&self, batch: ChannelBatch, context: &Context) -> Option<String> {
        let delivery = Delivery {
            connections: &self.connections,
            sockets: &self.sockets,
            fan_out: &self.fan_out,
            clock: &SystemClock,
            deadline: Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)),
        };
        let ChannelBatch { channel_id, messages } = batch;
        let first = messages.first()?.sequence_number.clone();
        let events: Vec<MessageEvent> = messages.into_iter().map(|message| message.event).collect();
        let (request_id, events_count) = (&context.request_id, events.len());
        match delivery.deliver(&channel_id, &events, self.threshold).await {
            Ok(outcome) => {
                tracing::info!(request_id, %channel_id, events = events_count, ?outcome, "delivered");
                None
            }
            Err(error) => {
                tracing::error!(request_id, %channel_id, events = events_count, %error, "could not deliver");
                Some(first)
            }
        }
    }
}
