//! Converts a query to a page of messages.

use auth::{Scope, Verifier};
use chat::{
    app::{
        channel_messages::ChannelMessages,
        history::{HistoryPage, PageRequest, Place, Shown},
    },
    model::{id::UserId, message::Message, message_view::MessageView, seq::Seq, validation::Violation},
    ports::{
        clock::SystemClock,
        message_store::{Range, Selection},
    },
};
use chat_aws::{DynamoChannels, DynamoMessages};
use http::{Response, StatusCode};
use http_api::{
    ApiRequest, NextPage, PageEnd, Problem,
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

/// Kind of the cursors of a channel's threads.
const THREADS: &str = "threads";

#[derive(Serialize)]
struct MessagePage {
    messages: Vec<MessageView>,
    #[serde(flatten)]
    end: PageEnd,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<NextPage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replying_to: Vec<Seq>,
}

#[derive(Serialize)]
struct ThreadPage {
    threads: Vec<MessageView>,
    #[serde(flatten)]
    end: PageEnd,
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
                let place = place(&request, &["limit", "before", "after", "around"], &mut violations);
                let limit = request.limit(&mut violations);
                Problem::require_valid(violations)?;
                let shown = Shown::Part(Selection::Thread(seq));
                answer(messages.page(&channel, user, PageRequest { shown, place, limit }).await?, user)
            }
            HistoryRoute::List => {
                let place = place(&request, &["limit", "before", "after", "around", "replies"], &mut violations);
                let limit = request.limit(&mut violations);
                let with_replies = request.query("replies", "true or false", &mut violations).unwrap_or(true);
                Problem::require_valid(violations)?;
                let shown = if with_replies { Shown::All } else { Shown::Part(Selection::OutsideThreads) };
                answer(messages.page(&channel, user, PageRequest { shown, place, limit }).await?, user)
            }
            HistoryRoute::Threads => {
                request.reject_unknown_query_parameters(&["limit", "cursor"], &mut violations);
                let limit = request.limit(&mut violations);
                let before = request.position(THREADS, &mut violations, position);
                Problem::require_valid(violations)?;
                let place = Place::From(before.map_or(Range::Newest, Range::Before));
                let shown = Shown::Part(Selection::Roots);
                answer_threads(messages.page(&channel, user, PageRequest { shown, place, limit }).await?, user)
            }
        }
    }
}

/// Reads the root before which a page of threads begins.
fn position(parts: &[String]) -> Option<Seq> {
    let [root] = parts else { return None };
    root.parse().ok().filter(|root| (Seq::FIRST..=Seq::LARGEST).contains(root))
}

/// Returns the messages as the caller sees them.
fn views(messages: Vec<Message>, caller: &UserId) -> Vec<MessageView> {
    messages.into_iter().map(|message| MessageView::of(message, caller)).collect()
}

fn answer_threads(page: HistoryPage, caller: &UserId) -> Result<Response<Body>, Problem> {
    let next = page.next.and_then(|next| match next {
        Range::Before(root) => Some(root.to_string()),
        Range::Newest | Range::After(_) => None,
    });
    let end = PageEnd::by_id(THREADS, next.as_deref());
    response::json(StatusCode::OK, &ThreadPage { threads: views(page.messages, caller), end })
}

fn answer(page: HistoryPage, caller: &UserId) -> Result<Response<Body>, Problem> {
    let HistoryPage { messages, next, previous, replying_to } = page;
    let (end, previous) = (PageEnd::of(next.and_then(link)), previous.and_then(link));
    response::json(StatusCode::OK, &MessagePage { messages: views(messages, caller), end, previous, replying_to })
}

fn link(range: Range) -> Option<NextPage> {
    match range {
        Range::Before(seq) => Some(NextPage::before(seq)),
        Range::After(seq) => Some(NextPage::after(seq)),
        Range::Newest => None,
    }
}

/// Returns the place of a page. Adds a violation for each parameter that is not in `known`, and for each further place.
fn place(request: &ApiRequest, known: &[&str], violations: &mut Vec<Violation>) -> Place {
    request.reject_unknown_query_parameters(known, violations);
    let given = ["before", "after", "around"].map(|name| (name, request.query_seq(name, violations)));
    let mut given = given.into_iter().filter_map(|(name, seq)| Some((name, seq?)));
    let Some((name, seq)) = given.next() else { return Place::From(Range::Newest) };
    violations
        .extend(given.map(|(other, _)| Violation::new(other, "conflict", format!("must not stand beside {name}"))));
    match name {
        "before" => Place::From(Range::Before(seq)),
        "after" => Place::From(Range::After(seq)),
        _ => Place::Around(seq),
    }
}
