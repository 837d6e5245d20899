//! From stream records to replies: channels side by side, the messages of each in their order.

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use chat::{
    agent::{LanguageModel, answer},
    clock::SystemClock,
    limits::CHANNELS_AT_ONCE,
    message::{Change, MessageEvent},
};
use chat_aws::{
    DynamoChannels, DynamoMessages,
    stream::{ChannelBatch, StreamedMessage, failures, sort},
};
use futures::StreamExt;

/// Answers messages.
pub(crate) struct Handler<Model> {
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) model: Model,
}

impl<Model: LanguageModel> Handler<Model> {
    pub(crate) async fn handle(&self, event: Event, request_id: &str) -> DynamoDbEventResponse {
        let batch = sort(event);
        let mut failed: Vec<String> = futures::stream::iter(batch.channels)
            .map(|batch| self.answer_channel(batch, request_id))
            .buffer_unordered(CHANNELS_AT_ONCE)
            .filter_map(async |failed| failed)
            .collect()
            .await;
        failed.extend(batch.unreadable);
        failures(failed)
    }

    /// Answers one channel's messages; the sequence number of the first that has to come again, if any.
    async fn answer_channel(&self, batch: ChannelBatch, request_id: &str) -> Option<String> {
        let channel_id = batch.channel_id;
        let (channels, messages) = (self.channels.of(batch.tenant.as_ref()), self.messages.of(batch.tenant.as_ref()));
        for StreamedMessage { sequence_number, event: MessageEvent { change, stored } } in batch.messages {
            if change != Change::Created {
                continue;
            }
            let seq = stored.message.seq;
            match answer(&channels, &messages, &self.model, &SystemClock, &stored).await {
                Ok(reply) => {
                    let reply_seq = reply.map(|sent| sent.message().seq);
                    tracing::info!(request_id, %channel_id, seq, reply_seq, "looked at a message");
                }
                Err(error) => {
                    tracing::error!(request_id, %channel_id, seq, %error, "could not answer a message");
                    return Some(sequence_number);
                }
            }
        }
        None
    }
}
