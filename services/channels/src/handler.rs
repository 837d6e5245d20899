//! One operation per route.

use std::str::FromStr;

use auth::Verifier;
use chat::{
    channel::{AgentMode, AgentSettings, Channel, ChannelStore, Member, MemberRole, Visibility},
    clock::SystemClock,
    connection::ConnectionStore,
    delivery::SocketPusher,
    error::ChatError,
    history::readable_channel,
    id::{ChannelId, UserId},
    membership::Membership,
    settings::{Changes, NewChannel, change, create},
    validation::Violation,
};
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_api::{ApiRequest, Fields, Problem, response, rest::caller};
use lambda_http::Body;
use serde::Serialize;

/// Manages channels.
pub(crate) struct Handler<Channels, Connections, Sockets> {
    pub(crate) channels: Channels,
    pub(crate) connections: Connections,
    pub(crate) sockets: Sockets,
    pub(crate) verifier: Verifier,
}

#[derive(Serialize)]
struct ChannelList {
    channels: Vec<Channel>,
    #[serde(flatten)]
    end: End<ChannelId>,
}

#[derive(Serialize)]
struct MemberList {
    members: Vec<Member>,
    #[serde(flatten)]
    end: End<UserId>,
}

/// Where a page ends.
#[derive(Serialize)]
struct End<Id> {
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next<Id>>,
}

impl<Id> End<Id> {
    fn new(next_after: Option<Id>) -> Self {
        Self { has_more: next_after.is_some(), next: next_after.map(|after| Next { after }) }
    }
}

/// The query parameter with which to go on.
#[derive(Serialize)]
struct Next<Id> {
    after: Id,
}

impl<Channels, Connections, Sockets> Handler<Channels, Connections, Sockets>
where
    Channels: ChannelStore,
    Connections: ConnectionStore,
    Sockets: SocketPusher,
{
    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let user = caller(&request, &self.verifier).await?;
        match (request.method().clone(), request.resource().as_str()) {
            (Method::POST, "/channels") => self.create(&request, &user).await,
            (Method::GET, "/channels") => self.list(&request, &user).await,
            (Method::GET, "/channels/{channel_id}") => self.get(&request, &user).await,
            (Method::PATCH, "/channels/{channel_id}") => self.change(&request, &user).await,
            (Method::GET, "/channels/{channel_id}/members") => self.members(&request, &user).await,
            (Method::PUT, "/channels/{channel_id}/members/{user_id}") => self.join(&request, &user).await,
            (Method::DELETE, "/channels/{channel_id}/members/{user_id}") => self.leave(&request, &user).await,
            (method, resource) => {
                // The template sends only the routes above.
                tracing::error!(%method, resource, "the template routes here what this function does not know");
                Err(Problem::new(StatusCode::NOT_FOUND, "there is no such route"))
            }
        }
    }

    fn membership(&self) -> Membership<'_, Channels, Connections, Sockets, SystemClock> {
        let Self { channels, connections, sockets, .. } = self;
        Membership { channels, connections, sockets, clock: &SystemClock }
    }

    async fn create(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let channel = create(&self.channels, &SystemClock, user, new_channel(request.fields()?)?).await?;
        let mut response = with_tag(StatusCode::CREATED, &channel)?;
        if let Ok(location) = HeaderValue::try_from(format!("/channels/{}", channel.channel_id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    async fn list(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let (after, limit) = page::<ChannelId>(request, "a channel id")?;
        let page = self.channels.channels_of(user, after.as_ref(), limit).await.map_err(ChatError::from)?;
        response::json(StatusCode::OK, &ChannelList { channels: page.channels, end: End::new(page.next_after) })
    }

    async fn get(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let channel = readable_channel(&self.channels, &request.path_id("channel_id")?, user).await?;
        with_tag(StatusCode::OK, &channel)
    }

    async fn change(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let id = request.path_id("channel_id")?;
        let version = expected_version(request)?;
        let changes = changes(request.fields()?)?;
        let changed = change(&self.membership(), &id, user, version, &changes).await?;
        with_tag(StatusCode::OK, &changed)
    }

    async fn members(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let channel = request.path_id("channel_id")?;
        let (after, limit) = page::<UserId>(request, "a user id")?;
        let page = self.membership().list(&channel, user, after.as_ref(), limit).await?;
        response::json(StatusCode::OK, &MemberList { members: page.members, end: End::new(page.next_after) })
    }

    async fn join(&self, request: &ApiRequest, caller: &UserId) -> Result<Response<Body>, Problem> {
        let (channel, user) = (request.path_id("channel_id")?, request.path_id("user_id")?);
        let joined = self.membership().add(&channel, caller, &user, role(request)?).await?;
        let status = if joined.added { StatusCode::CREATED } else { StatusCode::OK };
        response::json(status, &joined.member)
    }

    async fn leave(&self, request: &ApiRequest, caller: &UserId) -> Result<Response<Body>, Problem> {
        let (channel, user) = (request.path_id("channel_id")?, request.path_id("user_id")?);
        self.membership().remove(&channel, caller, &user).await?;
        Ok(response::no_content())
    }
}

/// `limit` and `after`.
fn page<Id: FromStr>(request: &ApiRequest, expected: &str) -> Result<(Option<Id>, u16), Problem> {
    let mut violations = Vec::new();
    request.only_query(&["limit", "after"], &mut violations);
    let limit = request.limit(&mut violations);
    let after = request.query("after", expected, &mut violations);
    if violations.is_empty() { Ok((after, limit)) } else { Err(Problem::invalid(violations)) }
}

/// A channel with its version as the entity tag.
fn with_tag(status: StatusCode, channel: &Channel) -> Result<Response<Body>, Problem> {
    let mut response = response::json(status, channel)?;
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", channel.version)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The version that `If-Match` asks for, if it asks for one: a tag as `GET` gives it, or `*` for any (RFC 9110,
/// section 13.1.1).
fn expected_version(request: &ApiRequest) -> Result<Option<u64>, Problem> {
    let Some(value) = request.headers().get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    match tag {
        Some(version) => Ok(Some(version)),
        None => Err(ChatError::VersionMismatch.into()),
    }
}

/// The role that the body names; there may be no body at all.
fn role(request: &ApiRequest) -> Result<Option<MemberRole>, Problem> {
    if request.has_no_body() {
        return Ok(None);
    }
    let mut fields = request.fields()?;
    let role = fields.optional("role", "\"member\", \"moderator\" or \"owner\"");
    let violations = fields.finish();
    if violations.is_empty() { Ok(role) } else { Err(Problem::invalid(violations)) }
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
            .map_err(|error: chat::id::IdError| fields.violate("channel_id", "malformed", error.to_string()))
            .ok()
    });
    let new = NewChannel {
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
    let changes = Changes {
        name: fields.optional("name", "a string"),
        visibility: fields.optional("visibility", VISIBILITIES),
        agent: agent(&mut fields),
        retention_days: if forever { Some(None) } else { retention_days.map(Some) },
        archived: fields.optional("archived", "true or false"),
    };
    checked(fields, changes.check())?;
    Ok(changes)
}

/// All that is wrong, each field once: what has the wrong type is not also called too short.
fn checked(fields: Fields, broken: Vec<Violation>) -> Result<(), Problem> {
    let mut violations = fields.finish();
    let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    violations.extend(broken.into_iter().filter(|violation| !known.contains(&violation.field)));
    if violations.is_empty() { Ok(()) } else { Err(Problem::invalid(violations)) }
}
