//! `GET /channels` and `GET /invitations`.

use std::cmp::Reverse;

use chat::{
    app::channel_lists::{Activity, ChannelPage, Filter, invitations},
    model::{
        channel::ChannelView, id::ChannelId, invitation::InvitedChannel, limits::CHANNEL_NAME_CHARS, time::Timestamp,
        validation::Violation,
    },
    ports::{clock::SystemClock, invitation_store::InvitationPage, rate_limiter::LimitedAction},
};
use http::StatusCode;
use http_api::{ApiRequest, PageEnd, Problem, response};
use serde::Serialize;

use crate::{
    call::{Answer, Call},
    pages::page,
};

/// Kinds of the cursors.
const OWN: &str = "own-channels";
const PUBLIC: &str = "public-channels";
const INVITATIONS: &str = "invitations";

#[derive(Serialize)]
struct ChannelsBody {
    channels: Vec<ChannelView>,
    #[serde(flatten)]
    end: PageEnd,
}

#[derive(Serialize)]
struct InvitationsBody {
    invitations: Vec<InvitedChannel>,
    #[serde(flatten)]
    end: PageEnd,
}

/// The list that a request asks for, with the position after which its page begins.
enum Listed {
    /// The caller's own channels.
    Own(Option<Activity>),
    /// All public channels.
    Public(Option<String>),
}

/// Lists the caller's own channels, or all public ones with `visibility=public`. `name_prefix` selects names whose
/// search key begins with that of the prefix. `archived=true` adds archived channels.
pub(crate) async fn channels(call: &Call<'_>) -> Answer {
    let (listed, filter, limit) = asked(call.request)?;
    let (lists, caller) = (call.channel_messages(), call.caller());
    call.check_rate_limit(LimitedAction::ListChannels).await?;
    let body = match listed {
        Listed::Public(after) => {
            let page = lists.public_channels(caller, &filter, after.as_deref(), limit).await?;
            let ChannelPage { channels, next_after } = page;
            ChannelsBody { channels, end: PageEnd::by_id(PUBLIC, next_after.as_deref()) }
        }
        Listed::Own(after) => {
            let page = lists.own_channels(caller, &filter, after.as_ref(), limit).await?;
            let ChannelPage { channels, next_after } = page;
            let next = next_after.map(|next| (next.at.0.as_millis().to_string(), next.channel_id));
            let parts = next.as_ref().map(|(at, channel)| [at.as_str(), channel.as_str()]);
            ChannelsBody { channels, end: PageEnd::new(OWN, parts.as_ref().map(<[_; 2]>::as_slice)) }
        }
    };
    response::json(StatusCode::OK, &body)
}

/// Reads the list that a request asks for, what the list shows, and the limit.
fn asked(request: &ApiRequest) -> Result<(Listed, Filter, u16), Problem> {
    let mut violations = Vec::new();
    let known = ["limit", "cursor", "visibility", "archived", "name_prefix"];
    request.reject_unknown_query_parameters(&known, &mut violations);
    let limit = request.limit(&mut violations);
    let visibility: Option<String> = request.query("visibility", "\"public\"", &mut violations);
    if visibility.as_ref().is_some_and(|visibility| visibility != "public") {
        let message = "must be \"public\", or left out for your own channels";
        violations.push(Violation::new("visibility", "unknown_value", message));
    }
    let archived: Option<bool> = request.query("archived", "true or false", &mut violations);
    let prefix: Option<String> = request.query("name_prefix", "the beginning of a name", &mut violations);
    let filter = Filter { name_prefix: prefix.unwrap_or_default(), archived: archived.unwrap_or_default() };
    if filter.name_prefix.chars().count() > CHANNEL_NAME_CHARS {
        let message = format!("must be at most {CHANNEL_NAME_CHARS} characters, as names are");
        violations.push(Violation::new("name_prefix", "too_long", message));
    }
    let listed = match visibility {
        Some(_) => Listed::Public(request.position(PUBLIC, &mut violations, |parts| match parts {
            [after] => Some(after.clone()),
            _ => None,
        })),
        None => Listed::Own(request.position(OWN, &mut violations, activity)),
    };
    Problem::require_valid(violations)?;
    Ok((listed, filter, limit))
}

/// Reads the position in the list of own channels.
fn activity(parts: &[String]) -> Option<Activity> {
    let [at, channel] = parts else { return None };
    let at = Reverse(Timestamp::from_millis(at.parse().ok()?));
    Some(Activity { at, channel_id: channel.parse().ok()? })
}

pub(crate) async fn invited(call: &Call<'_>) -> Answer {
    let (after, limit) = page::<ChannelId>(call.request, INVITATIONS)?;
    let found = invitations(&call.channels, &SystemClock, call.caller(), after.as_ref(), limit).await?;
    let InvitationPage { channels: invitations, next_after } = found;
    let end = PageEnd::by_id(INVITATIONS, next_after.as_ref().map(ChannelId::as_str));
    response::json(StatusCode::OK, &InvitationsBody { invitations, end })
}
