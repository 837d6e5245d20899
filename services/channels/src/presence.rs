//! `…/presence`, `…/read` and `…/typing`.

use chat::{
    app::{
        presence::{PresencePage, PresencePosition, send_typing},
        read_mark::mark_read,
    },
    model::{event::Present, id::ChannelId, seq::Seq},
    ports::rate_limiter::LimitedAction,
};
use http::StatusCode;
use http_api::{PageEnd, Problem, response};
use serde::Serialize;

use crate::{
    call::{Answer, Call},
    pages::page,
};

/// Kind of the cursors.
const KIND: &str = "presence";

#[derive(Serialize)]
struct PresenceList {
    users: Vec<Present>,
    #[serde(flatten)]
    end: PageEnd,
}

#[derive(Serialize)]
struct ReadMark {
    channel_id: ChannelId,
    read_seq: Seq,
}

pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, &call.caller().user_id);
    let (after, limit) = page::<PresencePosition>(call.request, KIND)?;
    call.check_rate_limit(LimitedAction::LookAtPresence).await?;
    let most = call.shared.presence;
    let PresencePage { users, next_after } = call.presence().list(&channel, user, after.as_ref(), limit, most).await?;
    let end = PageEnd::by_id(KIND, next_after.map(|after| after.to_string()).as_deref());
    response::json(StatusCode::OK, &PresenceList { users, end })
}

pub(crate) async fn mark(call: &Call<'_>) -> Answer {
    let channel_id = call.channel()?;
    let mut fields = call.request.fields()?;
    let seq: Seq = fields.required("seq", "the seq of a message, or 0");
    Problem::require_valid(fields.finish())?;
    call.check_rate_limit(LimitedAction::MarkRead).await?;
    let (user, most) = (&call.caller().user_id, call.shared.presence);
    let read_seq = mark_read(&call.channels, &call.delivery(), &channel_id, user, seq, most).await?;
    response::json(StatusCode::OK, &ReadMark { channel_id, read_seq })
}

/// Responds with `202`. The event is sent to connected subscribers, unless these are too many, and is not stored.
pub(crate) async fn typing(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, &call.caller().user_id);
    call.request.require_no_fields()?;
    let (bucket, most) = (call.shared.limits.other, call.shared.presence);
    let quota = send_typing(&call.channels, &call.delivery(), &channel, user, bucket, most).await?;
    call.request.took_token(quota);
    Ok(response::accepted())
}
