//! Converts stream records to replies: channels concurrently, the messages of each channel in their order.

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use chat::{
    app::{
        agent::{Agent, Budgets, ReplyOutcome, draft::DraftAudience, filter::is_new_message},
        delivery::Delivery,
        stream::first_failed,
    },
    model::{
        channel::Channel,
        draft::Delta,
        error::ChatError,
        id::MessageId,
        incarnation::ChannelKey,
        limits::CHANNEL_CONCURRENCY,
        message::{Message, MessageEvent},
        time::Timestamp,
    },
    ports::{clock::SystemClock, draft_sink::DraftSink},
};
use chat_aws::{
    DynamoChannels, DynamoConnections, DynamoMessages, LambdaFanOut, ManagementApi,
    lambda::{
        deadline,
        stream::{ChannelBatch, StreamedMessage, group_by_channel, invocation_span, partial_batch_response},
    },
    trace,
};
use futures::StreamExt;
use lambda_runtime::Context;
use models::Model;
use telemetry::{invocation, metrics};
use tracing::Instrument;

/// The handler of messages for the agent.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) model: Model,
    /// The name by which users mention the agent.
    pub(crate) name: String,
    pub(crate) budgets: Budgets,
    /// Number of subscribers up to which this function pushes itself.
    pub(crate) threshold: usize,
}

impl Handler {
    pub(crate) async fn handle(&self, event: Event, context: &Context) -> DynamoDbEventResponse {
        let batch = group_by_channel(event);
        let span = invocation_span(&batch);
        let mut failed: Vec<String> = futures::stream::iter(batch.channels)
            .map(|batch| self.answer_channel(batch, context))
            .buffer_unordered(CHANNEL_CONCURRENCY)
            .filter_map(async |failed| failed)
            .collect()
            .instrument(span)
            .await;
        failed.extend(batch.unreadable);
        partial_batch_response(failed)
    }

    /// Replies to messages of one channel. Returns the sequence number of the first one that must be delivered again.
    async fn answer_channel(&self, batch: ChannelBatch, context: &Context) -> Option<String> {
        let tenant = batch.tenant.as_ref();
        let deadline = deadline(context.deadline);
        let (connections, fan_out) = (self.connections.for_tenant(tenant), self.fan_out.for_tenant(tenant));
        let delivery = Delivery {
            connections: &connections,
            sockets: &self.sockets,
            fan_out: &fan_out,
            clock: &SystemClock,
            deadline,
        };
        let agent = Agent {
            channels: &self.channels.for_tenant(tenant),
            messages: &self.messages.for_tenant(tenant),
            model: &self.model,
            drafts: &Drafts { delivery, threshold: self.threshold, audience: DraftAudience::default() },
            clock: &SystemClock,
            name: &self.name,
            budgets: self.budgets,
            deadline,
        };
        let count = batch.messages.len();
        let records = batch.messages.into_iter().filter(|message| is_new_message(&message.event));
        let records = records.map(|message| (message.sequence_number.clone(), message));
        let answer = async |mut channel: Option<Channel>, message: StreamedMessage| {
            let span = message.span(count);
            let MessageEvent { mut stored, .. } = message.event;
            let answer = async {
                // The reply continues this trace.
                stored.trace = trace::current().or(stored.trace.take());
                let answered = Box::pin(agent.answer(&stored, &mut channel)).await;
                report(&stored.message, &answered);
                answered.is_ok()
            };
            let is_answered = answer.instrument(span).await;
            is_answered.then_some(channel)
        };
        first_failed(records, None, answer).await
    }
}

/// Logs and counts the outcome for a message.
fn report(message: &Message, answered: &Result<ReplyOutcome, ChatError>) {
    let (channel_id, seq) = (&message.channel_id, message.seq.get());
    let outcome = match answered {
        Ok(outcome) => outcome,
        Err(error) => {
            invocation::failed(error);
            tracing::error!(%channel_id, seq, %error, "message was not answered");
            return;
        }
    };
    let Some(name) = outcome.name() else { return };
    metrics::count_by(&metrics::AGENT_REPLIES, name);
    match outcome {
        ReplyOutcome::Replied(reply) => {
            tracing::info!(%channel_id, seq, reply_seq = reply.seq.get(), outcome = name, "agent replied to a message");
        }
        ReplyOutcome::Failed(notice) => {
            tracing::warn!(%channel_id, seq, notice_seq = notice.seq.get(), outcome = name, "agent reply failed");
        }
        ReplyOutcome::NotWanted | ReplyOutcome::Answered => {}
    }
}

type Sockets<'a> = Delivery<'a, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock>;

/// Sends drafts to the subscribers of a channel.
struct Drafts<'a> {
    delivery: Sockets<'a>,
    threshold: usize,
    audience: DraftAudience,
}

impl DraftSink for Drafts<'_> {
    async fn show(&self, channel: &ChannelKey, delta: &Delta) {
        self.audience.push(&self.delivery, channel, delta, self.threshold).await;
    }

    async fn resume(&self, _: &ChannelKey, draft_id: MessageId, text: &str, renewed_at: Timestamp) {
        self.audience.resume(draft_id, text, renewed_at);
    }
}
