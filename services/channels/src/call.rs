//! A request to this function, with all that it needs.

use auth::{Identity, Verifier};
use chat::{
    app::{
        channel_messages::ChannelMessages,
        channels::CreationRules,
        connect::Connector,
        delivery::Delivery,
        membership::Membership,
        presence::Presence,
        rate_limit::{RateLimits, check_rate_limit},
    },
    model::{access::Caller, invitation::MemberAdditions, limits::CHANGE_DURATION, time::Timestamp},
    ports::{
        clock::{Clock, SystemClock},
        rate_limiter::LimitedAction,
    },
};
use chat_aws::{DynamoChannels, DynamoConnections, DynamoMessages, LambdaFanOut, LambdaMaintenance, ManagementApi};
use http::Response;
use http_api::{ApiRequest, Problem, rest::path_channel};
use lambda_http::Body;

/// The stores, sockets and functions behind all routes, and the settings of the deployment.
pub(crate) struct Dependencies {
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) connections: DynamoConnections,
    pub(crate) sockets: ManagementApi,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) maintenance: LambdaMaintenance,
    pub(crate) verifier: Verifier,
    pub(crate) limits: RateLimits,
    /// The users who may add members without an invitation.
    pub(crate) additions: MemberAdditions,
    pub(crate) creations: CreationRules,
    /// Maximum number of subscriptions of a channel with read receipts and typing events.
    pub(crate) presence: usize,
    /// Name by which users mention the agent, after an `@`.
    pub(crate) agent_name: String,
}

/// A request, its caller, and the stores of the caller's tenant.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a ApiRequest,
    pub(crate) identity: Identity,
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) connections: DynamoConnections,
    pub(crate) fan_out: LambdaFanOut,
    pub(crate) shared: &'a Dependencies,
}

/// The result of a route.
pub(crate) type Answer = Result<Response<Body>, Problem>;

impl Call<'_> {
    pub(crate) fn caller(&self) -> &Caller {
        &self.identity.caller
    }

    pub(crate) fn membership(
        &self,
    ) -> Membership<'_, DynamoChannels, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock> {
        let Delivery { connections, sockets, fan_out, clock, deadline } = self.delivery();
        Membership { channels: &self.channels, connections, sockets, fan_out, clock, deadline }
    }

    pub(crate) fn channel_messages(&self) -> ChannelMessages<'_, DynamoChannels, DynamoMessages, SystemClock> {
        let (channels, messages) = (&self.channels, &self.messages);
        ChannelMessages { channels, messages, clock: &SystemClock, change_duration: CHANGE_DURATION }
    }

    pub(crate) fn connector(&self) -> Connector<'_, DynamoChannels, DynamoConnections, ManagementApi, SystemClock> {
        let Self { channels, connections, .. } = self;
        Connector { channels, connections, sockets: &self.shared.sockets, clock: &SystemClock }
    }

    pub(crate) fn presence(&self) -> Presence<'_, DynamoChannels, DynamoConnections, ManagementApi, SystemClock> {
        let Self { channels, connections, .. } = self;
        Presence { channels, connections, sockets: &self.shared.sockets, clock: &SystemClock }
    }

    /// Returns a delivery whose deadline is earlier than API Gateway's time-out.
    pub(crate) fn delivery(&self) -> Delivery<'_, DynamoConnections, ManagementApi, LambdaFanOut, SystemClock> {
        let deadline: Timestamp = SystemClock.now().plus(chat::model::limits::DEADLINE_MARGIN * 3);
        let Self { connections, fan_out, .. } = self;
        Delivery { connections, sockets: &self.shared.sockets, fan_out, clock: &SystemClock, deadline }
    }

    /// Takes a token from the caller's bucket. The response shows the remaining ones.
    pub(crate) async fn check_rate_limit(&self, action: LimitedAction<'_>) -> Result<(), Problem> {
        let (user, bucket) = (&self.caller().user_id, self.shared.limits.of(&action));
        self.request.took_token(check_rate_limit(&self.channels, &SystemClock, user, &action, bucket).await?);
        Ok(())
    }

    pub(crate) fn channel(&self) -> Result<chat::model::id::ChannelId, Problem> {
        path_channel(self.request, self.caller())
    }
}
