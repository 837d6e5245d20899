//! The operation of each route.

use auth::Scope;
use http_api::{
    ApiRequest,
    rest::authenticate,
    routes::{ChannelsRoute, Route},
};

use crate::{
    call::{Answer, Call, Dependencies},
    channels, connections, members, presence,
};

/// Authenticates the caller and runs the operation of the request's route.
pub(crate) async fn handle(shared: &Dependencies, request: ApiRequest) -> Answer {
    let Some(Route::Channels(route)) = request.route() else { return Err(request.misrouted()) };
    let identity = authenticate(&request, &shared.verifier, scope(route)).await?;
    let tenant = identity.caller.tenant.as_ref();
    let call = Call {
        channels: shared.channels.for_tenant(tenant),
        connections: shared.connections.for_tenant(tenant),
        fan_out: shared.fan_out.for_tenant(tenant),
        request: &request,
        identity,
        shared,
    };
    match route {
        ChannelsRoute::Create => channels::create_one(&call).await,
        ChannelsRoute::List => channels::list(&call).await,
        ChannelsRoute::Get => channels::get(&call).await,
        ChannelsRoute::Change => channels::change_one(&call).await,
        ChannelsRoute::Delete => channels::delete_one(&call).await,
        ChannelsRoute::Members => members::list(&call).await,
        ChannelsRoute::AddMember => members::add(&call).await,
        ChannelsRoute::RemoveMember => members::remove(&call).await,
        ChannelsRoute::Presence => presence::list(&call).await,
        ChannelsRoute::MarkRead => presence::mark(&call).await,
        ChannelsRoute::Typing => presence::typing(&call).await,
        ChannelsRoute::IssueTicket => connections::issue_ticket(&call).await,
        ChannelsRoute::RenewToken => connections::renew_token(&call).await,
    }
}

/// The scope that a token needs for a route.
fn scope(route: ChannelsRoute) -> Scope {
    match route {
        ChannelsRoute::List
        | ChannelsRoute::Get
        | ChannelsRoute::Members
        | ChannelsRoute::Presence
        | ChannelsRoute::IssueTicket
        | ChannelsRoute::RenewToken => Scope::Read,
        ChannelsRoute::MarkRead | ChannelsRoute::Typing => Scope::Write,
        ChannelsRoute::Create
        | ChannelsRoute::Change
        | ChannelsRoute::Delete
        | ChannelsRoute::AddMember
        | ChannelsRoute::RemoveMember => Scope::Manage,
    }
}
