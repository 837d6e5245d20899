//! The operation of each route.

use auth::Scope;
use http_api::{
    ApiRequest,
    rest::{authenticate, identify},
    routes::{ChannelsRoute, Route},
};

use crate::{
    call::{Answer, Call, Dependencies},
    channels, connections, lists, me, members, presence,
};

/// Authenticates the caller and runs the operation of the request's route.
pub(crate) async fn handle(shared: &Dependencies, request: ApiRequest) -> Answer {
    let Some(Route::Channels(route)) = request.route() else { return Err(request.misrouted()) };
    let identity = match scope(route) {
        Some(scope) => authenticate(&request, &shared.verifier, scope).await?,
        None => identify(&request, &shared.verifier).await?,
    };
    let tenant = identity.caller.tenant.as_ref();
    let call = Call {
        channels: shared.channels.for_tenant(tenant),
        messages: shared.messages.for_tenant(tenant),
        connections: shared.connections.for_tenant(tenant),
        fan_out: shared.fan_out.for_tenant(tenant),
        request: &request,
        identity,
        shared,
    };
    match route {
        ChannelsRoute::Me => me::get(&call),
        ChannelsRoute::Create => channels::create_one(&call).await,
        ChannelsRoute::List => lists::channels(&call).await,
        ChannelsRoute::Invitations => lists::invited(&call).await,
        ChannelsRoute::Get => channels::get(&call).await,
        ChannelsRoute::Change => channels::change_one(&call).await,
        ChannelsRoute::Delete => channels::delete_one(&call).await,
        ChannelsRoute::Members => members::list(&call).await,
        ChannelsRoute::Member => members::get(&call).await,
        ChannelsRoute::AddMember => members::add(&call).await,
        ChannelsRoute::RemoveMember => members::remove(&call).await,
        ChannelsRoute::Presence => presence::list(&call).await,
        ChannelsRoute::MarkRead => presence::mark(&call).await,
        ChannelsRoute::Typing => presence::typing(&call).await,
        ChannelsRoute::IssueTicket => connections::issue_ticket(&call).await,
        ChannelsRoute::RenewToken => connections::renew_token(&call).await,
    }
}

/// Returns the scope that a token needs for a route. `None`: each valid token is accepted.
fn scope(route: ChannelsRoute) -> Option<Scope> {
    match route {
        ChannelsRoute::Me => None,
        ChannelsRoute::List
        | ChannelsRoute::Invitations
        | ChannelsRoute::Get
        | ChannelsRoute::Members
        | ChannelsRoute::Member
        | ChannelsRoute::Presence
        | ChannelsRoute::IssueTicket
        | ChannelsRoute::RenewToken => Some(Scope::Read),
        ChannelsRoute::MarkRead | ChannelsRoute::Typing => Some(Scope::Write),
        ChannelsRoute::Create
        | ChannelsRoute::Change
        | ChannelsRoute::Delete
        | ChannelsRoute::AddMember
        | ChannelsRoute::RemoveMember => Some(Scope::Manage),
    }
}
