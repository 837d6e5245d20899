//! The operation of each route.

use std::time::Duration;

use auth::{Scope, Verifier};
use chat::{app::channel_messages::ChannelMessages, model::limits::CHANGE_DURATION, ports::clock::SystemClock};
use chat_aws::{DynamoChannels, DynamoMessages};
use http_api::{
    ApiRequest,
    rest::{authenticate, path_channel},
    routes::{HistoryRoute, Route},
};

use super::{
    call::{Answer, Call},
    changes, messages, reactions, reply,
};

/// The handler of reads of messages.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) verifier: Verifier,
    /// Maximum time that a request may wait for messages or changes.
    pub(crate) longest_wait: Duration,
}

impl Handler {
    /// Authenticates the caller and runs the operation of the request's route.
    pub(crate) async fn handle(&self, request: ApiRequest) -> Answer {
        let Some(Route::History(route)) = request.route() else { return Err(request.misrouted()) };
        let caller = authenticate(&request, &self.verifier, Scope::Read).await?.caller;
        let channel = path_channel(&request, &caller)?;
        let tenant = caller.tenant.as_ref();
        let (channels, messages) = (&self.channels.for_tenant(tenant), &self.messages.for_tenant(tenant));
        let call = Call {
            request: &request,
            messages: ChannelMessages { channels, messages, clock: &SystemClock, change_duration: CHANGE_DURATION },
            channel: &channel,
            user: &caller.user_id,
            longest_wait: self.longest_wait,
        };
        match route {
            HistoryRoute::List => messages::list(&call).await,
            HistoryRoute::Get => messages::get(&call).await,
            HistoryRoute::Replies => messages::replies(&call).await,
            HistoryRoute::Threads => messages::threads(&call).await,
            HistoryRoute::Reactions => reactions::list(&call).await,
            HistoryRoute::Changes => changes::list(&call).await,
            HistoryRoute::Reply => reply::get(&call).await,
        }
    }
}
