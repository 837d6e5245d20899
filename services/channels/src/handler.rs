//! One operation per route.

use auth::{Identity, Scope, Verifier};
use chat::{
    app::{channels::CreationRules, delivery::Delivery, membership::Membership, rate_limit::check_rate_limit},
    model::{invitation::MemberAdditions, limits::TYPING_BUCKET, time::Timestamp, token_bucket::Bucket},
    ports::{
        clock::{Clock, SystemClock},
        rate_limiter::LimitedAction,
    },
};
use chat_aws::{DynamoChannels, DynamoConnections, LambdaFanOut, LambdaMaintenance, ManagementApi};
use http::{Method, Response, StatusCode};
use http_api::{
    ApiRequest, Problem,
    rest::{authenticate, path_channel},
};
use lambda_http::Body;

use crate::{channels, connections, members, presence};

/// The handler of channels, members, and ephemeral events of members.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) maintenance: LambdaMaintenance,
    pub(crate) verifier: Verifier,
    pub(crate) buckets: Buckets,
    /// The users who may add members without an invitation.
    pub(crate) additions: MemberAdditions,
    pub(crate) creations: CreationRules,
}

/// Rate limits per user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    /// Requests for tickets, which count as opening sockets.
    pub(crate) connect: Bucket,
    /// Creation of channels.
    pub(crate) create: Bucket,
    /// Additions of members.
    pub(crate) members: Bucket,
    /// Other expensive requests: one bucket for each [`LimitedAction`].
    pub(crate) other: Bucket,
}

/// A request, its caller, and the stores of the caller's tenant.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a ApiRequest,
    pub(crate) caller: Identity,
    pub(crate) channels: DynamoChannels,
    pub(crate) connections: DynamoConnections,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) shared: &'a Handler,
}

/// The result of a route.
pub(crate) type Answer = Result<Response<Body>, Problem>;

impl Handler {
    pub(crate) async fn handle(&self, request: ApiRequest) -> Answer {
        let (method, resource) = (request.method().clone(), request.resource());
        let scope = match (&method, resource.as_str()) {
            (&Method::GET, _) | (_, "/connections/tickets" | "/connections/{connection_id}/token") => Scope::Read,
            (_, "/channels/{channel_id}/read" | "/channels/{channel_id}/typing") => Scope::Write,
            _ => Scope::Manage,
        };
        let caller = authenticate(&request, &self.verifier, scope).await?;
        let tenant = caller.tenant.as_ref();
        let call = Call {
            channels: self.channels.for_tenant(tenant),
            connections: self.connections.for_tenant(tenant),
            fan_out: self.fan_out.for_tenant(tenant),
            request: &request,
            caller,
            shared: self,
        };
        match (method, resource.as_str()) {
            (Method::POST, "/channels") => channels::create_one(&call).await,
            (Method::GET, "/channels") => channels::list(&call).await,
            (Method::GET, "/channels/{channel_id}") => channels::get(&call).await,
            (Method::PATCH, "/channels/{channel_id}") => channels::change_one(&call).await,
            (Method::DELETE, "/channels/{channel_id}") => channels::delete_one(&call).await,
            (Method::GET, "/channels/{channel_id}/members") => members::list(&call).await,
            (Method::PUT, "/channels/{channel_id}/members/{user_id}") => members::add(&call).await,
            (Method::DELETE, "/channels/{channel_id}/members/{user_id}") => members::remove(&call).await,
            (Method::GET, "/channels/{channel_id}/presence") => presence::list(&call).await,
            (Method::PUT, "/channels/{channel_id}/read") => presence::mark(&call).await,
            (Method::POST, "/channels/{channel_id}/typing") => presence::typing(&call).await,
            (Method::POST, "/connections/tickets") => connections::issue_ticket(&call).await,
            (Method::POST, "/connections/{connection_id}/token") => connections::renew_token(&call).await,
            (method, resource) => {
                // The template sends only the routes above.
                tracing::error!(%method, resource, "the template sent a route that this function does not have");
                Err(Problem::new(StatusCode::NOT_FOUND, "there is no such route"))
            }
        }
    }
}

impl Call<'_> {
    pub(crate) fn membership(&self) -> Membership<'_, DynamoChannels, DynamoConnections, ManagementApi, SystemClock> {
        let Self { channels, connections, .. } = self;
        Membership { channels, connections, sockets: &self.shared.sockets, clock: &SystemClock }
    }

    /// Returns a delivery whose deadline is earlier than API Gateway's time-out.
    pub(crate) fn delivery(&self) -> Delivery<'_, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock> {
        let deadline: Timestamp = SystemClock.now().plus(chat::model::limits::DEADLINE_MARGIN * 3);
        let Self { connections, fan_out, .. } = self;
        Delivery { connections, sockets: &self.shared.sockets, fan_out, clock: &SystemClock, deadline }
    }

    /// Takes a token from the caller's bucket.
    pub(crate) async fn check_rate_limit(&self, action: LimitedAction<'_>) -> Result<(), Problem> {
        let Buckets { connect, create, members, other } = self.shared.buckets;
        let bucket = match action {
            LimitedAction::Connect => connect,
            LimitedAction::Create => create,
            LimitedAction::AddMember => members,
            LimitedAction::Typing(_) => TYPING_BUCKET,
            _ => other,
        };
        Ok(check_rate_limit(&self.channels, &SystemClock, &self.caller.user_id, &action, bucket).await?)
    }

    pub(crate) fn channel(&self) -> Result<chat::model::id::ChannelId, Problem> {
        path_channel(self.request, &self.caller)
    }
}
