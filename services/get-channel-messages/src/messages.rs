//! Messages: the history of a channel, one message, a thread, the threads of a channel.

use chat::{
    app::history::{HistoryPage, PageRequest, Place, Shown},
    model::{id::UserId, message::Message, message_view::MessageView, rev::Rev, seq::Seq, validation::Violation},
    ports::message_store::{Range, Selection},
};
use http::StatusCode;
use http_api::{ApiRequest, NextPage, PageEnd, Problem, conditions::tagged, response};
use serde::Serialize;

use super::call::{Answer, Call};

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
    rev: Rev,
}

#[derive(Serialize)]
struct ThreadPage {
    threads: Vec<MessageView>,
    #[serde(flatten)]
    end: PageEnd,
}

/// Lists the messages of a channel.
pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let (request, mut violations) = (call.request, Vec::new());
    let known = ["limit", "before", "after", "around", "replies", "wait"];
    let place = place(request, &known, &mut violations);
    let limit = request.limit(&mut violations);
    let with_replies = request.query("replies", "true or false", &mut violations).unwrap_or(true);
    let wait = request.wait(call.longest_wait, &mut violations);
    Problem::require_valid(violations)?;
    let shown = if with_replies { Shown::All } else { Shown::Part(Selection::OutsideThreads) };
    let wanted = PageRequest { shown, place, limit };
    answer(call.messages.page_or_wait(call.channel, call.user, wanted, wait).await?, call.user)
}

/// Shows one message.
pub(crate) async fn get(call: &Call<'_>) -> Answer {
    let seq = call.request.path_seq()?;
    let message = call.messages.one_message(call.channel, call.user, seq).await?;
    let version = message.version;
    // A thread changes without the version, so a reader gets the message whatever it has.
    call.request.conditions().require_match(version)?;
    Ok(tagged(response::json(StatusCode::OK, &MessageView::of(message, call.user))?, version))
}

/// Lists the messages of a thread.
pub(crate) async fn replies(call: &Call<'_>) -> Answer {
    let (request, mut violations) = (call.request, Vec::new());
    let seq = request.path_seq()?;
    let place = place(request, &["limit", "before", "after", "around"], &mut violations);
    let limit = request.limit(&mut violations);
    Problem::require_valid(violations)?;
    let shown = Shown::Part(Selection::Thread(seq));
    answer(call.messages.page(call.channel, call.user, PageRequest { shown, place, limit }).await?, call.user)
}

/// Lists the roots of a channel's threads.
pub(crate) async fn threads(call: &Call<'_>) -> Answer {
    let (request, mut violations) = (call.request, Vec::new());
    request.reject_unknown_query_parameters(&["limit", "cursor"], &mut violations);
    let limit = request.limit(&mut violations);
    let before = request.position(THREADS, &mut violations, position);
    Problem::require_valid(violations)?;
    let place = Place::From(before.map_or(Range::Newest, Range::Before));
    let shown = Shown::Part(Selection::Roots);
    answer_threads(call.messages.page(call.channel, call.user, PageRequest { shown, place, limit }).await?, call.user)
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

fn answer_threads(page: HistoryPage, caller: &UserId) -> Answer {
    let next = page.next.and_then(|next| match next {
        Range::Before(root) => Some(root.to_string()),
        Range::Newest | Range::After(_) => None,
    });
    let end = PageEnd::by_id(THREADS, next.as_deref());
    response::json(StatusCode::OK, &ThreadPage { threads: views(page.messages, caller), end })
}

fn answer(page: HistoryPage, caller: &UserId) -> Answer {
    let HistoryPage { messages, next, previous, replying_to, rev } = page;
    let (end, previous) = (PageEnd::of(next.and_then(link)), previous.and_then(link));
    response::json(StatusCode::OK, &MessagePage { messages: views(messages, caller), end, previous, replying_to, rev })
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
