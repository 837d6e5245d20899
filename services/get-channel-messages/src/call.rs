//! A request to this function, with all that it needs.

use std::time::Duration;

use chat::{
    app::channel_messages::ChannelMessages,
    model::id::{ChannelId, UserId},
    ports::clock::SystemClock,
};
use chat_aws::{DynamoChannels, DynamoMessages};
use http::Response;
use http_api::{ApiRequest, Problem};
use lambda_http::Body;

/// A request, its caller, and the messages of the caller's tenant.
pub(crate) struct Call<'a> {
    pub(crate) request: &'a ApiRequest,
    pub(crate) messages: ChannelMessages<'a, DynamoChannels, DynamoMessages, SystemClock>,
    pub(crate) channel: &'a ChannelId,
    pub(crate) user: &'a UserId,
    /// Maximum time that a request of this deployment may wait.
    pub(crate) longest_wait: Duration,
}

/// The result of a route.
pub(crate) type Answer = Result<Response<Body>, Problem>;
