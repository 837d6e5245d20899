//! `/channels` and `/channels/{channel_id}`.

use auth::Scope;
use chat::{
    app::{
        access::authorize_read,
        channels::{AgentChanges, Changes, Created, NewChannel},
    },
    model::{
        channel::{AgentMode, AgentSettings, Channel, ChannelView, Visibility},
        error::ChatError,
        validation::Violation,
    },
    ports::rate_limiter::LimitedAction,
};
use http::{HeaderValue, Response, StatusCode};
use http_api::{
    Fields, Problem,
    conditions::{entity_tag, tagged},
    response,
};
use lambda_http::Body;

use crate::call::{Answer, Call};

pub(crate) async fn create_one(call: &Call<'_>) -> Answer {
    let mut violations = Vec::new();
    let key = call.request.idempotency_key(&mut violations);
    Problem::require_valid(violations)?;
    let new = new_channel(call.request.fields()?)?;
    call.caller().require_creation(new.channel_id.as_ref())?;
    // First, so that requests for ids that are taken also cost a token.
    call.check_rate_limit(LimitedAction::Create).await?;
    let created = call.membership().create_channel(&call.caller().user_id, new, key, call.shared.creations).await?;
    let (status, view) = match created {
        Created::New { channel, owner } => (StatusCode::CREATED, ChannelView::created(channel, &owner)),
        Created::Replayed(channel) => (StatusCode::OK, view(call, channel).await?),
    };
    let mut response = with_tag(status, &view)?;
    if status == StatusCode::OK {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    call.request.locate(&mut response, view.channel.channel_id.as_str());
    Ok(response)
}

pub(crate) async fn get(call: &Call<'_>) -> Answer {
    let channel = authorize_read(&call.channels, &call.channel()?, &call.caller().user_id).await?.channel;
    if call.request.conditions().is_unchanged(channel.version)? {
        return Ok(response::not_modified(entity_tag(channel.version)));
    }
    let seen = call.channel_messages().view(channel, &call.caller().user_id).await?;
    with_tag(StatusCode::OK, &seen.ok_or(ChatError::ChannelNotFound)?)
}

/// Returns a channel as the caller sees it after a change. The caller may have been removed since then, and the token
/// may not allow to read messages.
async fn view(call: &Call<'_>, channel: Channel) -> Result<ChannelView, Problem> {
    let seen = call.channel_messages().view(channel.clone(), &call.caller().user_id).await?;
    let mut view = seen.unwrap_or_else(|| ChannelView::bare(channel));
    view.last_message = view.last_message.filter(|_| call.identity.has(Scope::Read));
    Ok(view)
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
    with_tag(StatusCode::OK, &view(call, changed).await?)
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
fn with_tag(status: StatusCode, view: &ChannelView) -> Result<Response<Body>, Problem> {
    Ok(tagged(response::json(status, view)?, view.channel.version))
}

const MODES: &str = "\"always\", \"mention\" or \"off\"";
const VISIBILITIES: &str = "\"public\" or \"private\"";
const DAYS: &str = "a number of days";
const TEXT: &str = "a string";
const SWITCH: &str = "true or false";

fn new_channel(mut fields: Fields) -> Result<NewChannel, Problem> {
    let channel_id = fields.optional::<String>("channel_id", TEXT).and_then(|text| {
        text.parse()
            .map_err(|error: chat::model::id::IdError| fields.violate("channel_id", "malformed", error.to_string()))
            .ok()
    });
    let mut new = NewChannel {
        channel_id,
        name: fields.required("name", TEXT),
        visibility: fields.required::<Option<Visibility>>("visibility", VISIBILITIES).unwrap_or(Visibility::Private),
        agent: agent(&mut fields).unwrap_or_default(),
        read_receipts: fields.optional("read_receipts", SWITCH).unwrap_or_default(),
        retention_days: fields.optional("retention_days", DAYS),
    };
    checked(fields, new.check())?;
    Ok(new)
}

fn agent(fields: &mut Fields) -> Option<AgentSettings> {
    let mut inner = fields.object("agent")?;
    let agent = AgentSettings {
        mode: inner.optional::<AgentMode>("mode", MODES).unwrap_or_default(),
        instructions: inner.optional::<String>("instructions", TEXT).into(),
        model: inner.optional("model", TEXT),
    };
    fields.absorb(inner);
    Some(agent)
}

/// Reads a merge patch (RFC 7396): fields that are left out stay, and null removes or is refused.
fn changes(mut fields: Fields) -> Result<Changes, Problem> {
    let mut changes = Changes {
        name: fields.patch_required("name", TEXT),
        visibility: fields.patch_required("visibility", VISIBILITIES),
        agent: agent_changes(&mut fields),
        read_receipts: fields.patch_required("read_receipts", SWITCH),
        retention_days: fields.patch("retention_days", DAYS),
        archived: fields.patch_required("archived", SWITCH),
    };
    checked(fields, changes.check())?;
    Ok(changes)
}

fn agent_changes(fields: &mut Fields) -> AgentChanges {
    let Some(mut inner) = fields.patch_object("agent") else { return AgentChanges::default() };
    let changes = AgentChanges {
        mode: inner.patch_required("mode", MODES),
        instructions: inner.patch("instructions", TEXT),
        model: inner.patch("model", TEXT),
    };
    fields.absorb(inner);
    changes
}

/// Fails with all violations, at most one per field. A field of the wrong type is not also reported as too short.
fn checked(fields: Fields, broken: Vec<Violation>) -> Result<(), Problem> {
    let mut violations = fields.finish();
    let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    violations.extend(broken.into_iter().filter(|violation| !known.contains(&violation.field)));
    Problem::require_valid(violations)
}
