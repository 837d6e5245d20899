//! Progress of the agent's reply to a message.

use chat::{
    app::agent::progress::ReplyProgress,
    model::{draft::DraftStatus, id::MessageId, seq::Seq},
};
use http::StatusCode;
use http_api::response;
use serde::Serialize;

use super::call::{Answer, Call};

#[derive(Serialize)]
struct Reply {
    status: DraftStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_id: Option<MessageId>,
    position: usize,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
}

/// Shows the reply to a message, as far as it is stored.
pub(crate) async fn get(call: &Call<'_>) -> Answer {
    let seq = call.request.path_seq()?;
    let progress = call.messages.reply_progress(call.channel, call.user, seq).await?;
    let ReplyProgress { status, draft_id, position, text, seq } = progress;
    response::json(StatusCode::OK, &Reply { status, draft_id, position, text, seq })
}
