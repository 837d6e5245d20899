//! From the end of a socket to the end of its connection.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{connect::disconnect, connection::ConnectionStore};
use lambda_runtime::Error;
use serde_json::{Value, json};

pub(crate) async fn handle(
    connections: &impl ConnectionStore,
    event: &ApiGatewayWebsocketProxyRequest,
) -> Result<Value, Error> {
    let context = &event.request_context;
    let connection_id = context.connection_id.as_deref().unwrap_or_default().parse()?;
    let removed = disconnect(connections, &connection_id).await?;
    let request_id = context.request_id.as_deref().unwrap_or_default();
    tracing::info!(request_id, %connection_id, removed, "answered $disconnect");
    Ok(json!({ "statusCode": 200 }))
}
