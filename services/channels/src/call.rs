//! A request to this function, with all that it needs.

use auth::{Identity, Verifier};
use chat::{
    app::{channels::CreationRules, delivery::Delivery, membership::Membership, rate_limit::check_rate_limit},
    model::{invitation::MemberAdditions, time::Timestamp, token_bucket::Bucket},
    ports::{
        clock::{Clock, SystemClock},
        rate_limiter::LimitedAction,
    },
};
use chat_aws::{DynamoChannels, DynamoConnections, LambdaFanOut, LambdaMaintenance, ManagementApi};
use http::Response;
use http_api::{ApiRequest, Problem, rest::path_channel};
use lambda_http::Body;

/// The stores, sockets and functions behind all routes, and the settings of the deployment.
pub(crate) struct Dependencies {
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
    pub(crate) shared: &'a Dependencies,
}

/// The result of a route.
pub(crate) type Answer = Result<Response<Body>, Problem>;

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
            _ => other,
        };
        Ok(check_rate_limit(&self.channels, &SystemClock, &self.caller.user_id, &action, bucket).await?)
    }

    pub(crate) fn channel(&self) -> Result<chat::model::id::ChannelId, Problem> {
        path_channel(self.request, &self.caller)
    }
}
