//! Removes the connection of a closed socket.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    model::id::ConnectionId,
    ports::{connection_store::ConnectionStore, expiry_store::ExpiryStore},
};
use chat_aws::DynamoConnections;
use lambda_runtime::Error;
use serde_json::{Value, json};
use telemetry::{OpenTelemetrySpanExt, invocation};
use tracing::{Instrument, Span};

pub(crate) async fn handle(
    connections: &DynamoConnections,
    event: &ApiGatewayWebsocketProxyRequest,
) -> Result<Value, Error> {
    let span = invocation::span("server", "http");
    invocation::begin_trace(&span);
    disconnect(connections, event).instrument(span).await.inspect_err(|error| {
        tracing::error!(%error, "could not answer $disconnect");
    })
}

async fn disconnect(connections: &DynamoConnections, event: &ApiGatewayWebsocketProxyRequest) -> Result<Value, Error> {
    Span::current().set_attribute("http.route", "$disconnect");
    let context = &event.request_context;
    let connection_id: ConnectionId = context.connection_id.as_deref().unwrap_or_default().parse()?;
    let removed = match connections.find(&connection_id).await? {
        Some((tenant, connection)) => connections.for_tenant(tenant.as_ref()).close_found(&connection).await?,
        None => false,
    };
    let request_id = context.request_id.as_deref().unwrap_or_default();
    tracing::info!(request_id, %connection_id, removed, "answered $disconnect");
    Ok(json!({ "statusCode": 200 }))
}
