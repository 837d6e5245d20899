//! From a query to a page of history.

use auth::Verifier;
use chat::{
    channel::ChannelStore,
    clock::SystemClock,
    history::{history, one_message},
    id::ChannelId,
    message::{Message, MessageStore, Range},
    validation::Violation,
};
use http::{Response, StatusCode};
use http_api::{ApiRequest, Problem, response, rest::caller};
use lambda_http::Body;
use serde::Serialize;

/// Reads history.
pub(crate) struct Handler<Channels, Messages> {
    pub(crate) channels: Channels,
    pub(crate) messages: Messages,
    pub(crate) verifier: Verifier,
}

#[derive(Serialize)]
struct Page {
    messages: Vec<Message>,
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

/// The query parameter with which to go on.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Next {
    Before(u64),
    After(u64),
}

impl<Channels: ChannelStore, Messages: MessageStore> Handler<Channels, Messages> {
    pub(crate) async fn handle(&self, request: ApiRequest) -> Result<Response<Body>, Problem> {
        let user = caller(&request, &self.verifier).await?;
        let channel: ChannelId = request.path_id("channel_id")?;
        if let Some(seq) = request.path_seq()? {
            let message = one_message(&self.channels, &self.messages, &SystemClock, &channel, &user, seq).await?;
            return response::json(StatusCode::OK, &message);
        }
        let mut violations = Vec::new();
        request.only_query(&["limit", "before", "after"], &mut violations);
        let limit = request.limit(&mut violations);
        let range = range(&request, &mut violations);
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        let page = history(&self.channels, &self.messages, &SystemClock, &channel, &user, range, limit).await?;
        let next = page.next.and_then(|next| match next {
            Range::Before(seq) => Some(Next::Before(seq)),
            Range::After(seq) => Some(Next::After(seq)),
            Range::Newest => None,
        });
        response::json(StatusCode::OK, &Page { messages: page.messages, has_more: next.is_some(), next })
    }
}

fn range(request: &ApiRequest, violations: &mut Vec<Violation>) -> Range {
    let before: Option<u64> = request.query("before", "a seq", violations);
    let after: Option<u64> = request.query("after", "a seq", violations);
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
