//! From a client's frame to an answer, to no answer, or to a closed socket.

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

/// Answers frames.
pub(crate) struct Handler {
    pub(crate) budgets: FrameBudgets,
    pub(crate) sockets: ManagementApi,
}

impl Handler {
    /// Returns the response of the route. Its body goes back on the socket; without one, nothing does.
    ///
    /// # Errors
    /// When the event names no connection, which API Gateway never leaves out, or the socket cannot be closed.
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
                // `false`: another invocation has closed it, or the client has.
                if self.sockets.close(&connection_id).await? {
                    tracing::warn!(%connection_id, "closed a socket that sent too many frames");
                }
                Ok(json!({ "statusCode": 200 }))
            }
        }
    }
}
