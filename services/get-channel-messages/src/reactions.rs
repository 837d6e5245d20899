//! Pages of the reactions to a message.

use chat::{
    app::react::ReactionPage,
    model::{reaction::Reaction, seq::Seq, text::emoji::Emoji},
};
use http::StatusCode;
use http_api::{ApiRequest, PageEnd, Problem, response};
use serde::Serialize;

use super::call::{Answer, Call};

/// Kind of the list's cursors.
const LIST: &str = "reactions";

/// Page that a request asks for.
struct AskedReactions {
    seq: Seq,
    only: Option<Emoji>,
    after: Option<Reaction>,
    limit: u16,
}

impl AskedReactions {
    fn of(request: &ApiRequest) -> Result<Self, Problem> {
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

/// Lists the reactions to a message.
pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let AskedReactions { seq, only, after, limit } = AskedReactions::of(call.request)?;
    answer(call.messages.reactions(call.channel, call.user, seq, only.as_ref(), after.as_ref(), limit).await?)
}

fn answer(page: ReactionPage) -> Answer {
    let ReactionPage { reactions, next_after } = page;
    let next = next_after.as_ref().map(|last| [last.emoji.as_str(), last.user_id.as_str()]);
    let end = PageEnd::new(LIST, next.as_ref().map(<[_; 2]>::as_slice));
    response::json(StatusCode::OK, &Page { reactions, end })
}
