//! `/me`: the caller, as the token names it, and the settings of the deployment that a client shows.

use auth::Scope;
use chat::{
    model::{
        id::{ChannelId, TenantId, UserId},
        invitation::Addition,
        time::Timestamp,
    },
    ports::clock::{Clock, SystemClock},
};
use http::StatusCode;
use http_api::{Problem, response};
use serde::Serialize;

use crate::call::{Answer, Call};

#[derive(Serialize)]
struct Me<'a> {
    user_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantId>,
    /// Scopes of the token. Absent: the issuer's tokens have none, and everything is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<&'a str>>,
    /// Channels that the token is restricted to. Absent: all that the user may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_channels: Option<Vec<&'a ChannelId>>,
    expires_at: Timestamp,
    server_time: Timestamp,
    /// Name by which users mention the agent, after an `@`.
    agent_name: &'a str,
    /// `true` if a user whom the caller adds to a channel gets an invitation.
    invites: bool,
}

/// Shows what the token says. Reads no store.
pub(crate) fn get(call: &Call<'_>) -> Answer {
    let mut violations = Vec::new();
    call.request.reject_unknown_query_parameters(&[], &mut violations);
    Problem::require_valid(violations)?;
    let (caller, scopes) = (call.caller(), call.identity.scopes.as_ref());
    let me = Me {
        user_id: &caller.user_id,
        tenant: caller.tenant.as_ref(),
        scopes: scopes.map(|scopes| scopes.iter().map(String::as_str).collect()),
        allowed_channels: caller.allowed_channels.as_ref().map(|allowed| allowed.iter().collect()),
        expires_at: call.identity.expires_at(),
        server_time: SystemClock.now(),
        agent_name: &call.shared.agent_name,
        invites: call.shared.additions.of_caller(call.identity.has(Scope::Add)) == Addition::Invite,
    };
    response::json(StatusCode::OK, &me)
}
