//! Converts a query to a page of history.

use auth::{Scope, Verifier};
use chat::{
    app::{channel_messages::ChannelMessages, history::HistoryPage},
    model::{id::UserId, message_view::MessageView, seq::Seq, validation::Violation},
    ports::{clock::SystemClock, message_store::Range},
};
use chat_aws::{DynamoChannels, DynamoMessages};
use http::{Response, StatusCode};
use http_api::{
    ApiRequest, Problem,
    conditions::tagged,
    response,
    rest::{authenticate, path_channel},
    routes::{HistoryRoute, Route},
};
use lambda_http::Body;
use serde::Serialize;

use crate::reactions::{self, AskedReactions};

/// The handler of reads of messages.
pub(crate) struct Handler {
    pub(crate) channels: DynamoChannels,
    pub(crate) messages: DynamoMessages,
    pub(crate) verifier: Verifier,
}

#[derive(Serialize)]
struct Page {
    messages: Vec<MessageView>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// The query parameter that requests the next page.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Next {
    Before(Seq),
    After(Seq),
}

impl Handler {
    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let Some(Route::History(route)) = request.route() else { return Err(request.misrouted()) };
        let caller = authenticate(&request, &self.verifier, Scope::Read).await?.caller;
        let channel = path_channel(&request, &caller)?;
        let (user, tenant) = (&caller.user_id, caller.tenant.as_ref());
        let (channels, messages) = (&self.channels.for_tenant(tenant), &self.messages.for_tenant(tenant));
        let messages = ChannelMessages { channels, messages, clock: &SystemClock };
        let mut violations = Vec::new();
        match route {
            HistoryRoute::Get => {
                let seq = request.path_seq()?;
                let message = messages.one_message(&channel, user, seq).await?;
                let version = message.version;
                // A thread changes without the version, so a reader gets the message whatever it has.
                request.conditions().require_match(version)?;
                Ok(tagged(response::json(StatusCode::OK, &MessageView::of(message, user))?, version))
            }
            HistoryRoute::Reactions => {
                let asked = AskedReactions::of(&request)?;
                let AskedReactions { seq, only, after, limit } = &asked;
                let page = messages.reactions(&channel, user, *seq, only.as_ref(), after.as_ref(), *limit).await?;
                reactions::answer(page)
            }
            HistoryRoute::Replies => {
                let seq = request.path_seq()?;
                request.reject_unknown_query_parameters(&["limit", "after"], &mut violations);
                let limit = request.limit(&mut violations);
                let after = request.query_seq("after", &mut violations).unwrap_or(Seq::ZERO);
                Problem::require_valid(violations)?;
                answer(messages.replies(&channel, user, seq, after, limit).await?, user)
            }
            HistoryRoute::List => {
                request.reject_unknown_query_parameters(&["limit", "before", "after"], &mut violations);
                let limit = request.limit(&mut violations);
                let range = range(&request, &mut violations);
                Problem::require_valid(violations)?;
                answer(messages.history(&channel, user, range, limit).await?, user)
            }
        }
    }
}

fn answer(page: HistoryPage, caller: &UserId) -> Result<Response<Body>, Problem> {
    let next = page.next.and_then(|next| match next {
        Range::Before(seq) => Some(Next::Before(seq)),
        Range::After(seq) => Some(Next::After(seq)),
        Range::Newest => None,
    });
    let messages = page.messages.into_iter().map(|message| MessageView::of(message, caller)).collect();
    response::json(StatusCode::OK, &Page { messages, has_more: next.is_some(), next })
}

fn range(request: &ApiRequest, violations: &mut Vec<Violation>) -> Range {
    let before = request.query_seq("before", violations);
    let after = request.query_seq("after", violations);
    match (before, after) {
        (Some(_), Some(_)) => {
            violations.push(Violation::new("after", "conflict", "must not stand beside before"));
            Range::Newest
        }
        (Some(seq), None) => Range::Before(seq),
        (None, Some(seq)) => Range::After(seq),
        (None, None) => Range::Newest,
    }
}
