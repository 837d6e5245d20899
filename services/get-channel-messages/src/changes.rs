//! Pages of the changes of a channel's messages.

use chat::{
    app::changes::{ChangesPage, MessageChange},
    model::{id::UserId, message_view::MessageView, rev::Rev},
};
use http::StatusCode;
use http_api::{NextPage, PageEnd, Problem, response};
use serde::Serialize;

use super::call::{Answer, Call};

#[derive(Serialize)]
struct Page {
    changes: Vec<Change>,
    #[serde(flatten)]
    end: PageEnd,
    rev: Rev,
}

#[derive(Serialize)]
struct Change {
    rev: Rev,
    message: MessageView,
}

/// Lists the changes after a number.
pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let (request, mut violations) = (call.request, Vec::new());
    request.reject_unknown_query_parameters(&["after", "limit", "wait"], &mut violations);
    let after = request.after_rev(&mut violations);
    let limit = request.limit(&mut violations);
    let wait = request.wait(call.longest_wait, &mut violations);
    Problem::require_valid(violations)?;
    answer(call.messages.changes_or_wait(call.channel, call.user, after, limit, wait).await?, call.user)
}

fn answer(page: ChangesPage, caller: &UserId) -> Answer {
    let ChangesPage { changes, next, rev } = page;
    let shown = |MessageChange { rev, message }| Change { rev, message: MessageView::of(message, caller) };
    let (changes, end) = (changes.into_iter().map(shown).collect(), PageEnd::of(next.map(NextPage::after_rev)));
    response::json(StatusCode::OK, &Page { changes, end, rev })
}
