//! Converts a client's frame to a response frame, to no response, or to the end of its socket.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    app::frame_budget::FrameBudgets,
    model::{connection::ConnectionKey, time::Timestamp},
    ports::clock::SystemClock,
};
use chat_aws::ManagementApi;
use lambda_runtime::Error;
use serde_json::{Value, json};

/// The handler of client frames.
pub(crate) struct Handler {
    pub(crate) budgets: FrameBudgets,
    pub(crate) sockets: ManagementApi,
}

impl Handler {
    /// Returns the response of the route. API Gateway sends its body on the socket, if it has one.
    ///
    /// # Errors
    /// Fails if the event has no connection id, which API Gateway always sets, or if the socket cannot be closed.
    pub(crate) async fn handle(&self, event: &ApiGatewayWebsocketProxyRequest) -> Result<Value, Error> {
        let context = &event.request_context;
        let id = context.connection_id.as_deref().unwrap_or_default().parse()?;
        let connection = ConnectionKey { id, connected_at: Timestamp::from_millis(context.connected_at) };
        let frame = event.body.as_deref().unwrap_or_default();
        let answer = self.budgets.answer(&self.sockets, &SystemClock, &connection, frame).await?;
        match answer {
            Some(answer) => Ok(json!({ "statusCode": 200, "body": serde_json::to_string(&answer)? })),
            None => Ok(json!({ "statusCode": 200 })),
        }
    }
}
