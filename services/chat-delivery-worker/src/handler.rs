//! Converts stream records to frames: channels concurrently, the events of each channel in their order.

use std::time::Instant;

use aws_lambda_events::{dynamodb::Event, streams::DynamoDbEventResponse};
use chat::{
    app::{
        delivery::{Delivery, Reach},
        stream::{first_failed, joined},
    },
    model::{
        frame::left_out_frame,
        id::TenantId,
        incarnation::ChannelKey,
        limits::CHANNEL_CONCURRENCY,
        message::{Change, MessageEvent},
    },
    ports::clock::{Clock, SystemClock},
};
use chat_aws::{
    DynamoConnections, LambdaFanOut, ManagementApi, api_gateway,
    lambda::{
        deadline,
        stream::{
            ChannelBatch, ConnectionChange, PresenceChange, connection_changes, group_by_channel, invocation_span,
            is_connections_stream, partial_batch_response, presence_changes, presence_span,
        },
    },
};
use futures::StreamExt;
use lambda_runtime::Context;
use telemetry::{OpenTelemetrySpanExt, Status, metrics};
use tracing::{Instrument, Span};

/// The handler of messages and presence changes.
pub(crate) struct Handler {
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
    /// Number of subscribers up to which this function pushes itself, and the rate beyond it.
    pub(crate) reach: Reach,
    /// Maximum number of subscriptions of a channel with presence events.
    pub(crate) presence: usize,
}

/// The stores of one tenant.
struct Tenant<'a> {
    connections: DynamoConnections,
    fan_out: LambdaFanOut,
    shared: &'a Handler,
    context: &'a Context,
}

impl Handler {
    pub(crate) async fn handle(&self, event: Event, context: &Context) -> DynamoDbEventResponse {
        if is_connections_stream(&event) {
            let told = connection_changes(&event);
            let changes = presence_changes(event);
            let span = presence_span(changes.len());
            let presence = futures::stream::iter(changes)
                .map(async |change| self.for_tenant(change.tenant.as_ref(), context).tell_presence(change).await)
                .buffer_unordered(CHANNEL_CONCURRENCY)
                .filter_map(async |failed| failed)
                .collect::<Vec<String>>();
            let told = futures::stream::iter(told)
                .map(async |changes| self.tell_client(changes, context).await)
                .buffer_unordered(CHANNEL_CONCURRENCY)
                .filter_map(async |failed| failed)
                .collect::<Vec<String>>();
            let (mut failed, others) = futures::future::join(presence, told).instrument(span).await;
            failed.extend(others);
            return partial_batch_response(failed);
        }
        let batch = group_by_channel(event);
        let span = invocation_span(&batch);
        let mut failed: Vec<String> = futures::stream::iter(batch.channels)
            .map(async |batch| self.for_tenant(batch.tenant.as_ref(), context).deliver_channel(batch).await)
            .buffer_unordered(CHANNEL_CONCURRENCY)
            .filter_map(async |failed| failed)
            .collect()
            .instrument(span)
            .await;
        failed.extend(batch.unreadable);
        partial_batch_response(failed)
    }

    /// Tells a client of the changes of its connection, in order. Returns the sequence number of the first one that
    /// must be told again.
    async fn tell_client(&self, changes: Vec<ConnectionChange>, context: &Context) -> Option<String> {
        let records = changes.into_iter().map(|change| (change.sequence_number.clone(), change));
        let told = first_failed(records, (), async |(), change: ConnectionChange| {
            self.for_tenant(change.tenant.as_ref(), context).tell(&change).await
        });
        told.await
    }

    fn for_tenant<'a>(&'a self, tenant: Option<&TenantId>, context: &'a Context) -> Tenant<'a> {
        Tenant {
            connections: self.connections.for_tenant(tenant),
            fan_out: self.fan_out.for_tenant(tenant),
            shared: self,
            context,
        }
    }
}

impl Tenant<'_> {
    fn delivery(&self) -> Delivery<'_, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock> {
        Delivery {
            connections: &self.connections,
            sockets: &self.shared.sockets,
            fan_out: &self.fan_out,
            clock: &SystemClock,
            deadline: deadline(self.context.deadline),
        }
    }

    /// Delivers the messages of one channel. Returns the sequence number of the first one that must be delivered again.
    async fn deliver_channel(&self, batch: ChannelBatch) -> Option<String> {
        let spans = batch.spans();
        let of_first = spans.first()?.clone();
        let ChannelBatch { channel, messages, .. } = batch;
        let records = messages.into_iter().map(|message| (message.sequence_number, message.event)).collect();
        let deliver = first_failed(joined(records), (), async |(), events: Vec<MessageEvent>| {
            self.deliver_events(&channel, &events, &spans).await
        });
        deliver.instrument(of_first).await
    }

    /// Delivers events of one channel. Returns `None` if that failed. `spans` are those of the events.
    async fn deliver_events(&self, channel: &ChannelKey, events: &[MessageEvent], spans: &[Span]) -> Option<()> {
        let (channel_id, count) = (&channel.channel_id, events.len());
        let began = Instant::now();
        let delivered = self.delivery().deliver(channel, events, self.shared.reach).await;
        metrics::observe(&metrics::FAN_OUT_DURATION, began.elapsed().as_secs_f64() * 1000.0);
        match delivered {
            Ok(outcome) => {
                let sockets = f64::from(u32::try_from(outcome.sockets()).unwrap_or(u32::MAX));
                metrics::observe(&metrics::FAN_OUT_SIZE, sockets);
                if outcome.sockets() > outcome.gone {
                    observe_latency(events);
                }
                api_gateway::count(&outcome);
                let (sockets, outcome) = (outcome.sockets(), outcome.unusual().map(tracing::field::debug));
                tracing::info!(%channel_id, events = count, sockets, outcome, "delivered");
                Some(())
            }
            Err(error) => {
                for span in spans {
                    span.set_status(Status::error("events were not delivered"));
                }
                tracing::error!(%channel_id, events = count, %error, "events were not delivered");
                None
            }
        }
    }

    /// Greets the client of an opened connection, or notifies it of the number of channels that its socket leaves out.
    /// Returns `None` if that failed.
    async fn tell(&self, change: &ConnectionChange) -> Option<()> {
        let ConnectionChange { connection, is_new, .. } = change;
        let (connection_id, left_out) = (&connection.key.id, connection.left_out);
        let pushed = if *is_new {
            self.delivery().greet(connection).await
        } else {
            self.delivery().tell(&connection.key, &left_out_frame(left_out)).await
        };
        match pushed {
            Ok(pushed) => {
                tracing::info!(%connection_id, is_new, left_out, ?pushed, "notified a client of its connection");
                Some(())
            }
            Err(error) => {
                tracing::error!(%connection_id, %error, "client was not notified of its connection");
                None
            }
        }
    }

    /// Sends presence events to a channel. Returns the sequence number to deliver again if the presence could not be
    /// read. Failed pushes are not retried, since the events are ephemeral and `GET …/presence` returns the current
    /// state.
    async fn tell_presence(&self, change: PresenceChange) -> Option<String> {
        let PresenceChange { channel, users, sequence_number, .. } = change;
        let channel_id = &channel.channel_id;
        let Handler { presence, reach: Reach { threshold, .. }, .. } = *self.shared;
        match self.delivery().announce_presence(&channel, users, presence, threshold).await {
            Ok((events, outcome)) => {
                api_gateway::count(&outcome);
                tracing::info!(%channel_id, events, ?outcome, "presence delivered");
                None
            }
            Err(error) => {
                tracing::error!(%channel_id, %error, "presence was not delivered");
                Some(sequence_number)
            }
        }
    }
}

/// Observes the time since the write of each new message. Other changes have no time in milliseconds.
fn observe_latency(events: &[MessageEvent]) {
    let now = SystemClock.now();
    for MessageEvent { stored, .. } in events.iter().filter(|event| event.change == Change::Created) {
        let latency = stored.message.created_at.until(now);
        metrics::observe(&metrics::PUSH_LATENCY, latency.as_secs_f64() * 1000.0);
    }
}
