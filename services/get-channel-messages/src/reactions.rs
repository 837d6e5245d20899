//! Pages of the reactions to a message.

use chat::{
    app::react::ReactionPage,
    model::{reaction::Reaction, seq::Seq, text::emoji::Emoji},
};
use http::{Response, StatusCode};
use http_api::{ApiRequest, PageEnd, Problem, response};
use lambda_http::Body;
use serde::Serialize;

/// Kind of the list's cursors.
const LIST: &str = "reactions";

/// Page that a request asks for.
pub(crate) struct AskedReactions {
    pub(crate) seq: Seq,
    pub(crate) only: Option<Emoji>,
    pub(crate) after: Option<Reaction>,
    pub(crate) limit: u16,
}

impl AskedReactions {
    pub(crate) fn of(request: &ApiRequest) -> Result<Self, Problem> {
        let mut violations = Vec::new();
        let seq = request.path_seq()?;
        request.reject_unknown_query_parameters(&["emoji", "limit", "cursor"], &mut violations);
        let limit = request.limit(&mut violations);
        let only = request.query("emoji", "one emoji of Unicode 18.0", &mut violations);
        let after = request.position(LIST, &mut violations, |parts| match parts {
            [emoji, user_id] => Some(Reaction { emoji: emoji.parse().ok()?, user_id: user_id.parse().ok()? }),
            _ => None,
        });
        Problem::require_valid(violations)?;
        Ok(Self { seq, only, after, limit })
    }
}

#[derive(Serialize)]
struct Page {
    reactions: Vec<Reaction>,
    #[serde(flatten)]
    end: PageEnd,
}

/// Returns the response with a page.
pub(crate) fn answer(page: ReactionPage) -> Result<Response<Body>, Problem> {
    let ReactionPage { reactions, next_after } = page;
    let next = next_after.as_ref().map(|last| [last.emoji.as_str(), last.user_id.as_str()]);
    let end = PageEnd::new(LIST, next.as_ref().map(<[_; 2]>::as_slice));
    response::json(StatusCode::OK, &Page { reactions, end })
}
