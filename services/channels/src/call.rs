//! A request to this function, with all that it needs.

use auth::{Identity, Verifier};
use chat::{
    app::{channels::CreationRules, delivery::Delivery, membership::Membership, rate_limit::check_rate_limit},
    model::{invitation::MemberAdditions, limits::TYPING_BUCKET, time::Timestamp, token_bucket::Bucket},
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
    /// Who adds members without asking them.
    pub(crate) additions: MemberAdditions,
    pub(crate) creations: CreationRules,
}

/// How often each user may do what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    /// Asking for tickets, which counts as opening sockets.
    pub(crate) connect: Bucket,
    /// Creating channels.
    pub(crate) create: Bucket,
    /// Adding members.
    pub(crate) members: Bucket,
    /// Everything else that costs more than it looks: one bucket for each [`Action`].
    pub(crate) other: Bucket,
}

/// A request, its caller, and the tenant's part of everything.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a ApiRequest,
    pub(crate) caller: Identity,
    pub(crate) channels: DynamoChannels,
    pub(crate) connections: DynamoConnections,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) shared: &'a Dependencies,
}

/// What a route answers.
pub(crate) type Answer = Result<Response<Body>, Problem>;

impl Call<'_> {
    pub(crate) fn membership(&self) -> Membership<'_, DynamoChannels, DynamoConnections, ManagementApi, SystemClock> {
        let Self { channels, connections, .. } = self;
        Membership { channels, connections, sockets: &self.shared.sockets, clock: &SystemClock }
    }

    /// Delivery until API Gateway would have given the request up.
    pub(crate) fn delivery(&self) -> Delivery<'_, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock> {
        let deadline: Timestamp = SystemClock.now().plus(chat::model::limits::DEADLINE_MARGIN * 3);
        let Self { connections, fan_out, .. } = self;
        Delivery { connections, sockets: &self.shared.sockets, fan_out, clock: &SystemClock, deadline }
    }

    /// Takes a token of the caller's.
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
