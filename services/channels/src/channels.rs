//! `/channels` and `/channels/{channel_id}`.

use chat::{
    app::{
        access::authorize_read,
        channel_lists::{invitations, own_channels, public_channels},
        channels::{Changes, Created, NewChannel},
    },
    model::{
        channel::{AgentMode, AgentSettings, Channel, Visibility},
        id::ChannelId,
        invitation::InvitedChannel,
        limits::CHANNEL_NAME_CHARS,
        validation::Violation,
    },
    ports::{
        channel_store::{ChannelPage, PublicPage},
        clock::SystemClock,
        invitation_store::InvitationPage,
        rate_limiter::LimitedAction,
    },
};
use http::{HeaderValue, Response, StatusCode, header};
use http_api::{ApiRequest, Fields, Problem, conditions::entity_tag, response};
use lambda_http::Body;
use serde::Serialize;

use crate::{
    call::{Answer, Call},
    pages::PageInfo,
};

#[derive(Serialize)]
struct ChannelList<One> {
    channels: Vec<One>,
    #[serde(flatten)]
    end: PageInfo<String>,
}

/// Channels to which the caller is invited. Every page has `channels`; it is empty here, because the caller is no
/// member.
#[derive(Serialize)]
struct InvitationList {
    channels: [(); 0],
    invitations: Vec<InvitedChannel>,
    #[serde(flatten)]
    end: PageInfo<String>,
}

pub(crate) async fn create_one(call: &Call<'_>) -> Answer {
    let mut violations = Vec::new();
    let key = call.request.idempotency_key(&mut violations);
    Problem::require_valid(violations)?;
    let new = new_channel(call.request.fields()?)?;
    call.caller().require_creation(new.channel_id.as_ref())?;
    // First, so that requests for ids that are taken also cost a token.
    call.check_rate_limit(LimitedAction::Create).await?;
    let created = call.membership().create_channel(&call.caller().user_id, new, key, call.shared.creations).await?;
    let (channel, mut response) = match created {
        Created::New(channel) => (channel.channel_id.clone(), with_tag(StatusCode::CREATED, &channel)?),
        Created::Replayed(channel) => {
            let mut response = with_tag(StatusCode::OK, &channel)?;
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            (channel.channel_id, response)
        }
    };
    call.request.locate(&mut response, channel.as_str());
    Ok(response)
}

/// The list that a request asks for, with the position after which its page begins.
enum Listed {
    /// The caller's own channels.
    Own(Option<ChannelId>),
    /// Channels to which the caller is invited.
    Invited(Option<ChannelId>),
    /// All public channels.
    Public(Option<String>),
}

/// Lists the caller's own channels. `membership=invited` lists invitations instead, and `visibility=public` all public
/// channels. `name_prefix` selects names whose search key begins with that of the prefix.
pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let (listed, prefix, limit) = asked_list(call.request)?;
    let (channels, caller) = (&call.channels, call.caller());
    match listed {
        Listed::Public(after) => {
            let page = public_channels(channels, caller, &prefix, after.as_deref(), limit).await?;
            let PublicPage { channels, next_after } = page;
            response::json(StatusCode::OK, &ChannelList { channels, end: PageInfo::new(next_after) })
        }
        Listed::Invited(after) => {
            let page = invitations(channels, &SystemClock, caller, &prefix, after.as_ref(), limit).await?;
            let InvitationPage { channels: invitations, next_after } = page;
            let end = PageInfo::new(next_after.map(String::from));
            response::json(StatusCode::OK, &InvitationList { channels: [], invitations, end })
        }
        Listed::Own(after) => {
            let ChannelPage { channels, next_after } =
                own_channels(channels, caller, &prefix, after.as_ref(), limit).await?;
            let end = PageInfo::new(next_after.map(String::from));
            response::json(StatusCode::OK, &ChannelList { channels, end })
        }
    }
}

/// Reads the list that a request asks for, the beginning of the names, and the limit.
fn asked_list(request: &ApiRequest) -> Result<(Listed, String, u16), Problem> {
    let mut violations = Vec::new();
    request.reject_unknown_query_parameters(
        &["limit", "after", "visibility", "membership", "name_prefix"],
        &mut violations,
    );
    let limit = request.limit(&mut violations);
    let visibility: Option<String> = request.query("visibility", "\"public\"", &mut violations);
    if visibility.as_ref().is_some_and(|visibility| visibility != "public") {
        let message = "must be \"public\", or left out for your own channels";
        violations.push(Violation::new("visibility", "unknown_value", message));
    }
    let membership: Option<String> = request.query("membership", "\"invited\"", &mut violations);
    if membership.as_ref().is_some_and(|membership| membership != "invited") {
        let message = "must be \"invited\", or left out for your own channels";
        violations.push(Violation::new("membership", "unknown_value", message));
    }
    if membership.is_some() && visibility.is_some() {
        let message = "must be left out where visibility is given";
        violations.push(Violation::new("membership", "not_allowed", message));
    }
    let prefix: Option<String> = request.query("name_prefix", "the beginning of a name", &mut violations);
    let prefix = prefix.unwrap_or_default();
    if prefix.chars().count() > CHANNEL_NAME_CHARS {
        let message = format!("must be at most {CHANNEL_NAME_CHARS} characters, as names are");
        violations.push(Violation::new("name_prefix", "too_long", message));
    }
    let after: Option<String> = request.query("after", "what next.after said", &mut violations);
    if visibility.is_some() {
        Problem::require_valid(violations)?;
        return Ok((Listed::Public(after), prefix, limit));
    }
    let after: Option<Option<ChannelId>> = after.map(|text| text.parse().ok());
    if after == Some(None) {
        violations.push(Violation::new("after", "malformed", "must be a channel id, once"));
    }
    Problem::require_valid(violations)?;
    let after = after.flatten();
    Ok((if membership.is_some() { Listed::Invited(after) } else { Listed::Own(after) }, prefix, limit))
}

pub(crate) async fn get(call: &Call<'_>) -> Answer {
    let channel = authorize_read(&call.channels, &call.channel()?, &call.caller().user_id).await?.channel;
    if call.request.conditions().is_unchanged(channel.version)? {
        return Ok(response::not_modified(entity_tag(channel.version)));
    }
    with_tag(StatusCode::OK, &channel)
}

pub(crate) async fn change_one(call: &Call<'_>) -> Answer {
    let id = call.channel()?;
    let condition = call.request.conditions().for_change();
    let changes = changes(call.request.fields()?)?;
    call.check_rate_limit(LimitedAction::Change).await?;
    let (changed, is_unfinished) =
        call.membership().change_channel(&id, &call.caller().user_id, condition.as_ref(), &changes).await?;
    if is_unfinished {
        call.shared.maintenance.wake().await;
    }
    with_tag(StatusCode::OK, &changed)
}

pub(crate) async fn delete_one(call: &Call<'_>) -> Answer {
    let id = call.channel()?;
    let condition = call.request.conditions().for_change();
    call.check_rate_limit(LimitedAction::Change).await?;
    call.membership().delete_channel(&id, &call.caller().user_id, condition.as_ref()).await?;
    call.shared.maintenance.wake().await;
    Ok(response::no_content())
}

/// Returns a channel with its version as the entity tag.
fn with_tag(status: StatusCode, channel: &Channel) -> Result<Response<Body>, Problem> {
    let mut response = response::json(status, channel)?;
    response.headers_mut().insert(header::ETAG, entity_tag(channel.version));
    Ok(response)
}

fn agent(fields: &mut Fields) -> Option<AgentSettings> {
    let mut inner = fields.object("agent")?;
    let agent = AgentSettings {
        mode: inner.optional::<AgentMode>("mode", "\"always\", \"mention\" or \"off\"").unwrap_or_default(),
        instructions: inner.optional("instructions", "a string"),
        model: inner.optional("model", "a string"),
    };
    fields.absorb(inner);
    Some(agent)
}

const VISIBILITIES: &str = "\"public\" or \"private\"";
const DAYS: &str = "a number of days";

fn new_channel(mut fields: Fields) -> Result<NewChannel, Problem> {
    let channel_id = fields.optional::<String>("channel_id", "a string").and_then(|text| {
        text.parse()
            .map_err(|error: chat::model::id::IdError| fields.violate("channel_id", "malformed", error.to_string()))
            .ok()
    });
    let mut new = NewChannel {
        channel_id,
        name: fields.required("name", "a string"),
        visibility: fields.required::<Option<Visibility>>("visibility", VISIBILITIES).unwrap_or(Visibility::Private),
        agent: agent(&mut fields).unwrap_or_default(),
        retention_days: fields.optional("retention_days", DAYS),
    };
    checked(fields, new.check())?;
    Ok(new)
}

fn changes(mut fields: Fields) -> Result<Changes, Problem> {
    let forever = fields.is_null("retention_days");
    let retention_days = fields.optional("retention_days", DAYS);
    let mut changes = Changes {
        name: fields.optional("name", "a string"),
        visibility: fields.optional("visibility", VISIBILITIES),
        agent: agent(&mut fields),
        retention_days: if forever { Some(None) } else { retention_days.map(Some) },
        archived: fields.optional("archived", "true or false"),
    };
    checked(fields, changes.check())?;
    Ok(changes)
}

/// Fails with all violations, at most one per field. A field of the wrong type is not also reported as too short.
fn checked(fields: Fields, broken: Vec<Violation>) -> Result<(), Problem> {
    let mut violations = fields.finish();
    let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    violations.extend(broken.into_iter().filter(|violation| !known.contains(&violation.field)));
    Problem::require_valid(violations)
}
