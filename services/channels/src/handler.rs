//! One operation per route.

use auth::Verifier;
use chat::{
    channel::{AgentMode, AgentSettings, Channel, ChannelStore, Visibility},
    clock::SystemClock,
    connection::ConnectionStore,
    delivery::SocketPusher,
    history::readable_channel,
    id::{ChannelId, UserId},
    membership::{NewChannel, add_member, create, remove_member},
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
struct Page {
    channels: Vec<Channel>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// The query parameter with which to go on.
#[derive(Serialize)]
struct Next {
    after: ChannelId,
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
            (Method::PUT, "/channels/{channel_id}/members/{user_id}") => self.join(&request, &user).await,
            (Method::DELETE, "/channels/{channel_id}/members/{user_id}") => self.leave(&request, &user).await,
            (method, resource) => {
                // The template sends only the routes above.
                tracing::error!(%method, resource, "the template routes here what this function does not know");
                Err(Problem::new(StatusCode::NOT_FOUND, "there is no such route"))
            }
        }
    }

    async fn create(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let channel = create(&self.channels, &SystemClock, user, new_channel(request.fields()?)?).await?;
        let mut response = response::json(StatusCode::CREATED, &channel)?;
        if let Ok(location) = HeaderValue::try_from(format!("/channels/{}", channel.channel_id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    async fn list(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let mut violations = Vec::new();
        request.only_query(&["limit", "after"], &mut violations);
        let limit = request.limit(&mut violations);
        let after: Option<ChannelId> = request.query("after", "a channel id", &mut violations);
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        let page =
            self.channels.channels_of(user, after.as_ref(), limit).await.map_err(chat::error::ChatError::from)?;
        let next = page.next_after.map(|after| Next { after });
        response::json(StatusCode::OK, &Page { channels: page.channels, has_more: next.is_some(), next })
    }

    async fn get(&self, request: &ApiRequest, user: &UserId) -> Result<Response<Body>, Problem> {
        let channel = readable_channel(&self.channels, &request.path_id("channel_id")?, user).await?;
        response::json(StatusCode::OK, &channel)
    }

    async fn join(&self, request: &ApiRequest, caller: &UserId) -> Result<Response<Body>, Problem> {
        let (channel, user) = (request.path_id("channel_id")?, request.path_id("user_id")?);
        let joined = add_member(&self.channels, &SystemClock, &channel, caller, &user).await?;
        let status = if joined.added { StatusCode::CREATED } else { StatusCode::OK };
        response::json(status, &joined.member)
    }

    async fn leave(&self, request: &ApiRequest, caller: &UserId) -> Result<Response<Body>, Problem> {
        let (channel, user) = (request.path_id("channel_id")?, request.path_id("user_id")?);
        let (channels, connections, sockets) = (&self.channels, &self.connections, &self.sockets);
        remove_member(channels, connections, sockets, &SystemClock, &channel, caller, &user).await?;
        Ok(response::no_content())
    }
}

fn new_channel(mut fields: Fields) -> Result<NewChannel, Problem> {
    let channel_id = fields.optional::<String>("channel_id", "a string").and_then(|text| {
        text.parse()
            .map_err(|error: chat::id::IdError| fields.violate("channel_id", "malformed", error.to_string()))
            .ok()
    });
    let name = fields.required("name", "a string");
    let visibility: Option<Visibility> = fields.required("visibility", "\"public\" or \"private\"");
    let agent = match fields.object("agent") {
        Some(mut inner) => {
            let agent = AgentSettings {
                mode: inner.optional::<AgentMode>("mode", "\"always\", \"mention\" or \"off\"").unwrap_or_default(),
                instructions: inner.optional("instructions", "a string"),
                model: inner.optional("model", "a string"),
            };
            fields.absorb(inner);
            agent
        }
        None => AgentSettings::default(),
    };
    let visibility = visibility.unwrap_or(Visibility::Private);
    let new = NewChannel { channel_id, name, visibility, agent };
    let mut violations = fields.finish();
    let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    violations.extend(new.check().into_iter().filter(|violation| !known.contains(&violation.field)));
    if violations.is_empty() { Ok(new) } else { Err(Problem::invalid(violations)) }
}
