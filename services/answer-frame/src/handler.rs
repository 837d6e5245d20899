//! Converts a client's frame to a response frame, to no response, or to the end of its socket.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use chat::{
    app::frame_budget::{FrameBudgets, Verdict},
    model::{frame::Answer, id::ConnectionId, time::Timestamp},
    ports::{
        clock::{Clock, SystemClock},
        socket_gateway::SocketGateway,
    },
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
        let connection_id: ConnectionId = event.request_context.connection_id.as_deref().unwrap_or_default().parse()?;
        let connected_at = Timestamp::from_millis(event.request_context.connected_at);
        match self.budgets.take(&connection_id, connected_at, SystemClock.now()) {
            Verdict::Answer => {
                let answer = Answer::to(event.body.as_deref().unwrap_or_default(), &connection_id);
                Ok(json!({ "statusCode": 200, "body": serde_json::to_string(&answer)? }))
            }
            Verdict::Ignore => Ok(json!({ "statusCode": 200 })),
            Verdict::Close => {
                // `false` means that another invocation or the client closed it.
                if self.sockets.close(&connection_id).await? {
                    tracing::warn!(%connection_id, "closed a socket that sent too many frames");
                }
                Ok(json!({ "statusCode": 200 }))
            }
        }
    }
}
