//! Two kinds of events: a broadcast from a worker, a frame from a client.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    clock::{SystemClock, Timestamp},
    delivery::Delivery,
    frame::Answer,
};
use chat_aws::{DynamoConnections, LambdaFanOut, ManagementApi, fan_out::TenantBroadcast, sockets, trace};
use lambda_runtime::{Context, Error};
use serde::Deserialize;
use serde_json::{Value, json};
use telemetry::invocation;
use tracing::Instrument;

/// Sends to sockets.
pub(crate) struct Handler {
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
}

/// What the function is invoked with.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Event {
    /// By a worker, or by itself.
    Broadcast(TenantBroadcast),
    /// By the WebSocket API.
    Frame(Box<ApiGatewayWebsocketProxyRequest>),
}

impl Handler {
    pub(crate) async fn handle(&self, event: Event, context: &Context) -> Result<Value, Error> {
        match event {
            Event::Broadcast(broadcast) => self.broadcast(broadcast, context).await,
            Event::Frame(event) => answer(&event),
        }
    }

    async fn broadcast(&self, broadcast: TenantBroadcast, context: &Context) -> Result<Value, Error> {
        let TenantBroadcast { tenant, trace, broadcast } = broadcast;
        let span = invocation::span("consumer", "other");
        match trace::remote(trace.as_ref()) {
            Some(remote) => remote.adopt(&span),
            None => invocation::begin_trace(&span),
        }
        let delivery = Delivery {
            connections: &self.connections.of(tenant.as_ref()),
            sockets: &self.sockets,
            fan_out: &self.fan_out.of(tenant.as_ref()),
            clock: &SystemClock,
            deadline: Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)),
        };
        let (channel_id, frames) = (broadcast.channel.channel_id.clone(), broadcast.frames.len());
        let broadcast = async {
            let outcome = delivery.broadcast(broadcast).await.inspect_err(invocation::failed)?;
            sockets::count(&outcome);
            tracing::info!(%channel_id, frames, ?outcome, "broadcast");
            Ok(Value::Null)
        };
        broadcast.instrument(span).await
    }
}

/// The route's response goes back on the socket.
fn answer(event: &ApiGatewayWebsocketProxyRequest) -> Result<Value, Error> {
    let connection_id = event.request_context.connection_id.as_deref().unwrap_or_default().parse()?;
    let answer = Answer::to(event.body.as_deref().unwrap_or_default(), &connection_id);
    Ok(json!({ "statusCode": 200, "body": serde_json::to_string(&answer)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kinds_of_events_are_told_apart() {
        let broadcast = json!({ "channel": "c@01arz3ndektsv4rrffq69g5fav", "frames": ["{}"], "targets": [
            { "connection_id": "a=", "user_id": "u", "connected_at": "2026-11-24T00:00:00.000Z", "expires_at": "2026-11-24T02:00:00.000Z" }
        ] });
        assert!(matches!(serde_json::from_value(broadcast).unwrap(), Event::Broadcast(_)));
        let frame = json!({ "requestContext": {
            "routeKey": "$default", "eventType": "MESSAGE", "connectionId": "a=", "connectedAt": 1_795_506_024_000_i64,
            "requestTimeEpoch": 1_795_506_024_000_i64, "identity": { "sourceIp": "127.0.0.1" }
        }, "body": "x", "isBase64Encoded": false });
        assert!(matches!(serde_json::from_value(frame).unwrap(), Event::Frame(_)));
    }
}
