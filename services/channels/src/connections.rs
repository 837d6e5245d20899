//! `/connections`: tickets for handshakes, and new tokens for open sockets.

use chat::{
    app::{connect::Renewal, tickets::issue},
    model::{
        id::{ChannelId, ConnectionId},
        time::Timestamp,
        validation::Violation,
    },
    ports::{
        clock::{Clock, SystemClock},
        rate_limiter::LimitedAction,
        ticket_store::Ticket,
    },
};
use http::StatusCode;
use http_api::{ApiRequest, Problem, response};
use serde::Serialize;

use crate::call::{Answer, Call};

#[derive(Serialize)]
struct IssuedTicket {
    ticket: String,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct RenewedConnection {
    connection_id: ConnectionId,
    expires_at: Timestamp,
}

pub(crate) async fn issue_ticket(call: &Call<'_>) -> Answer {
    let channels = asked_channels(call.request)?;
    let caller = call.caller();
    let token_expires_at = call.identity.open_until(SystemClock.now())?;
    channels.iter().flatten().try_for_each(|channel| caller.require_reach(channel))?;
    call.check_rate_limit(LimitedAction::Connect).await?;
    let mut ticket = Ticket {
        user_id: caller.user_id.clone(),
        tenant: caller.tenant.clone(),
        channels: None,
        allowed_channels: caller.allowed_channels.clone(),
        token_expires_at,
        expires_at: token_expires_at,
    };
    let text = issue(&call.channels, &call.connections, &SystemClock, channels, &mut ticket).await?;
    response::json(StatusCode::CREATED, &IssuedTicket { ticket: text, expires_at: ticket.expires_at })
}

/// Renews a socket's token with the token of the request itself.
pub(crate) async fn renew_token(call: &Call<'_>) -> Answer {
    let caller = call.caller();
    call.request.require_no_fields()?;
    let renewal = Renewal {
        connection_id: call.request.path_id("connection_id")?,
        user_id: caller.user_id.clone(),
        token_expires_at: call.identity.open_until(SystemClock.now())?,
        limited_to: caller.allowed_channels.clone(),
    };
    call.check_rate_limit(LimitedAction::Renew).await?;
    let connection = call.connector().renew(renewal).await?;
    let renewed = RenewedConnection { connection_id: connection.key.id, expires_at: connection.expires_at };
    response::json(StatusCode::OK, &renewed)
}

/// Returns the channels in the body, which may be absent.
fn asked_channels(request: &ApiRequest) -> Result<Option<Vec<ChannelId>>, Problem> {
    if request.has_no_body() {
        return Ok(None);
    }
    let mut fields = request.fields()?;
    let names: Option<Vec<String>> = fields.optional("channels", "an array of channel ids");
    let channels = names.map(|names| {
        let ids = names.into_iter().map(|name| name.parse());
        ids.collect::<Result<Vec<_>, chat::model::id::IdError>>()
    });
    let mut violations = Vec::new();
    let channels = channels.transpose().unwrap_or_else(|error| {
        violations.push(Violation::new("channels", "malformed", format!("each {error}")));
        None
    });
    violations.extend(fields.finish());
    Problem::require_valid(violations)?;
    Ok(channels)
}
