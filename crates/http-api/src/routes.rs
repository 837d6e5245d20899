//! The routes of the REST API: one table, from which every function takes what it serves.
//!
//! The table also answers what every function answers alike: `OPTIONS`, and methods that a resource does not have.

use http::{HeaderValue, Method, Response, header};
use lambda_http::Body;

use crate::{problem::Problem, problem_code::ProblemCode, response};

/// A route, grouped by the function that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `HealthFunction`: the state of the tables.
    Health,
    /// `GetChannelMessagesFunction`.
    History(HistoryRoute),
    /// `SendChannelMessagesFunction`: sends a message.
    Send,
    /// `SendChannelMessagesFunction`: changes a message.
    Message(MessageRoute),
    /// `ChannelsFunction`.
    Channels(ChannelsRoute),
}

/// The routes that read messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRoute {
    /// Lists the messages of a channel.
    List,
    /// Gets one message.
    Get,
    /// Lists the messages in a thread.
    Replies,
    /// Lists the reactions to a message.
    Reactions,
    /// Lists the threads of a channel.
    Threads,
    /// Lists the changes of a channel's messages.
    Changes,
    /// Shows the progress of the agent's reply to a message.
    Reply,
}

/// The routes that change a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRoute {
    /// Edits a message.
    Edit,
    /// Deletes a message.
    Delete,
    /// Adds a reaction to a message.
    AddReaction,
    /// Removes a reaction from a message.
    RemoveReaction,
    /// Cancels the agent's reply to a message.
    CancelReply,
}

/// The routes of the caller, channels, members, presence and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelsRoute {
    /// Shows the caller.
    Me,
    /// Creates a channel.
    Create,
    /// Lists channels.
    List,
    /// Lists the caller's invitations.
    Invitations,
    /// Gets a channel.
    Get,
    /// Changes a channel.
    Change,
    /// Deletes a channel.
    Delete,
    /// Lists the members of a channel.
    Members,
    /// Gets a member.
    Member,
    /// Adds or invites a member.
    AddMember,
    /// Removes a member.
    RemoveMember,
    /// Lists the users that are online in a channel.
    Presence,
    /// Sets a read mark.
    MarkRead,
    /// Sends the ephemeral event `typing`.
    Typing,
    /// Issues a ticket for a handshake.
    IssueTicket,
    /// Renews the token of a connection.
    RenewToken,
}

/// Each resource of the template with its methods. No method of a resource stands twice. A resource with `GET` also has
/// `HEAD` (RFC 9110, section 9.3.2), and each has `OPTIONS`.
pub const ROUTES: [(&str, &[(Method, Route)]); 21] = [
    ("/health", &[(Method::GET, Route::Health)]),
    ("/me", &[(Method::GET, Route::Channels(ChannelsRoute::Me))]),
    ("/invitations", &[(Method::GET, Route::Channels(ChannelsRoute::Invitations))]),
    (
        "/channels",
        &[(Method::GET, Route::Channels(ChannelsRoute::List)), (Method::POST, Route::Channels(ChannelsRoute::Create))],
    ),
    (
        "/channels/{channel_id}",
        &[
            (Method::GET, Route::Channels(ChannelsRoute::Get)),
            (Method::PATCH, Route::Channels(ChannelsRoute::Change)),
            (Method::DELETE, Route::Channels(ChannelsRoute::Delete)),
        ],
    ),
    ("/channels/{channel_id}/members", &[(Method::GET, Route::Channels(ChannelsRoute::Members))]),
    (
        "/channels/{channel_id}/members/{user_id}",
        &[
            (Method::GET, Route::Channels(ChannelsRoute::Member)),
            (Method::PUT, Route::Channels(ChannelsRoute::AddMember)),
            (Method::DELETE, Route::Channels(ChannelsRoute::RemoveMember)),
        ],
    ),
    (
        "/channels/{channel_id}/messages",
        &[(Method::GET, Route::History(HistoryRoute::List)), (Method::POST, Route::Send)],
    ),
    (
        "/channels/{channel_id}/messages/{seq}",
        &[
            (Method::GET, Route::History(HistoryRoute::Get)),
            (Method::PATCH, Route::Message(MessageRoute::Edit)),
            (Method::DELETE, Route::Message(MessageRoute::Delete)),
        ],
    ),
    ("/channels/{channel_id}/messages/{seq}/replies", &[(Method::GET, Route::History(HistoryRoute::Replies))]),
    ("/channels/{channel_id}/messages/{seq}/reactions", &[(Method::GET, Route::History(HistoryRoute::Reactions))]),
    (
        "/channels/{channel_id}/messages/{seq}/reactions/{emoji}",
        &[
            (Method::PUT, Route::Message(MessageRoute::AddReaction)),
            (Method::DELETE, Route::Message(MessageRoute::RemoveReaction)),
        ],
    ),
    ("/channels/{channel_id}/messages/{seq}/reply", &[(Method::GET, Route::History(HistoryRoute::Reply))]),
    (
        "/channels/{channel_id}/messages/{seq}/reply/cancel",
        &[(Method::POST, Route::Message(MessageRoute::CancelReply))],
    ),
    ("/channels/{channel_id}/changes", &[(Method::GET, Route::History(HistoryRoute::Changes))]),
    ("/channels/{channel_id}/threads", &[(Method::GET, Route::History(HistoryRoute::Threads))]),
    ("/channels/{channel_id}/presence", &[(Method::GET, Route::Channels(ChannelsRoute::Presence))]),
    ("/channels/{channel_id}/read", &[(Method::PUT, Route::Channels(ChannelsRoute::MarkRead))]),
    ("/channels/{channel_id}/typing", &[(Method::POST, Route::Channels(ChannelsRoute::Typing))]),
    ("/connections/tickets", &[(Method::POST, Route::Channels(ChannelsRoute::IssueTicket))]),
    ("/connections/{connection_id}/token", &[(Method::POST, Route::Channels(ChannelsRoute::RenewToken))]),
];

const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,idempotency-key,if-match,if-none-match,traceparent,tracestate",
);

/// Time for which a browser caches an answer to `OPTIONS`, in seconds; the maximum of Chromium.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

impl Route {
    /// Finds the route of a method and a resource of the template. `HEAD` has the route of `GET`.
    #[must_use]
    pub fn of(method: &Method, resource: &str) -> Option<Self> {
        let get = Method::GET;
        let method = if *method == Method::HEAD { &get } else { method };
        let (_, methods) = ROUTES.iter().find(|(route, _)| *route == resource)?;
        methods.iter().find(|(allowed, _)| allowed == method).map(|(_, route)| *route)
    }
}

/// Returns the problem for a request that the template routes to the wrong function.
pub(crate) fn misrouted(method: &Method, resource: &str) -> Problem {
    tracing::error!(%method, resource, "request routed to a function that does not serve it");
    Problem::new(ProblemCode::NoSuchRoute, "there is no such route")
}

/// Returns the methods of a resource, with those that follow from them.
fn allowed(methods: &[(Method, Route)]) -> Vec<&str> {
    let mut allowed = Vec::new();
    for (method, _) in methods {
        allowed.push(method.as_str());
        if *method == Method::GET {
            allowed.push("HEAD");
        }
    }
    allowed.push("OPTIONS");
    allowed
}

/// Returns the answer to a request that needs no handler, if it is one.
pub(crate) fn answer(method: &Method, resource: &str) -> Option<Result<Response<Body>, Problem>> {
    let (_, methods) = ROUTES.iter().find(|(route, _)| *route == resource)?;
    let allow = allowed(methods).join(", ");
    if *method == Method::OPTIONS {
        let mut response = response::no_content();
        let headers = response.headers_mut();
        if let Ok(allow) = HeaderValue::try_from(&allow) {
            headers.insert(header::ALLOW, allow.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow);
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        return Some(Ok(response));
    }
    if Route::of(method, resource).is_some() {
        return None;
    }
    let detail = format!("This resource allows {allow}.");
    Some(Err(Problem { allow: Some(allow), ..Problem::new(ProblemCode::MethodNotAllowed, detail) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_has_head() {
        for (resource, methods) in ROUTES {
            let reads = methods.iter().find(|(method, _)| *method == Method::GET).map(|(_, route)| *route);
            assert_eq!(Route::of(&Method::HEAD, resource), reads, "{resource}");
            let names = allowed(methods);
            assert_eq!(names.contains(&"HEAD"), reads.is_some(), "{resource}");
            let refused = answer(&Method::TRACE, resource).unwrap().unwrap_err();
            assert_eq!((refused.status, refused.allow), (405, Some(names.join(", "))), "{resource}");
            let options = answer(&Method::OPTIONS, resource).unwrap().unwrap();
            assert_eq!(options.headers()[header::ALLOW], names.join(", "), "{resource}");
        }
        let (_, of_channel) = ROUTES.iter().find(|(resource, _)| *resource == "/channels/{channel_id}").unwrap();
        assert_eq!(allowed(of_channel), ["GET", "HEAD", "PATCH", "DELETE", "OPTIONS"]);
    }
}
