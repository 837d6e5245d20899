//! `/channels/{channel_id}/members` and below.

use auth::Scope;
use chat::{
    app::{
        members::{MemberList, get_member, list_members},
        membership::Added,
    },
    model::{
        channel::{MemberRole, MemberView},
        id::UserId,
    },
    ports::rate_limiter::LimitedAction,
};
use http::StatusCode;
use http_api::{ApiRequest, PageEnd, Problem, response};
use serde::Serialize;

use crate::{
    call::{Answer, Call},
    pages::page,
};

/// Kind of the cursors.
const KIND: &str = "members";

#[derive(Serialize)]
struct MembersBody {
    members: Vec<MemberView>,
    #[serde(flatten)]
    end: PageEnd,
}

pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let channel = call.channel()?;
    let (after, limit) = page::<UserId>(call.request, KIND)?;
    let found = list_members(&call.channels, &channel, &call.caller().user_id, after.as_ref(), limit).await?;
    let MemberList { members, next_after } = found;
    let end = PageEnd::by_id(KIND, next_after.as_ref().map(UserId::as_str));
    response::json(StatusCode::OK, &MembersBody { members, end })
}

pub(crate) async fn get(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, call.request.path_id("user_id")?);
    response::json(StatusCode::OK, &get_member(&call.channels, &channel, &call.caller().user_id, &user).await?)
}

pub(crate) async fn add(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, call.request.path_new_member(&call.shared.verifier)?);
    let role = role(call.request)?;
    call.check_rate_limit(LimitedAction::AddMember).await?;
    let addition = call.shared.additions.of_caller(call.identity.has(Scope::Add));
    match call.membership().add(&channel, &call.caller().user_id, &user, role, addition).await? {
        Added::Joined { member, added: true } => response::json(StatusCode::CREATED, &member),
        Added::Joined { member, added: false } => response::json(StatusCode::OK, &member),
        Added::Invited(invited) => response::json(StatusCode::ACCEPTED, &invited),
    }
}

pub(crate) async fn remove(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, call.request.path_id("user_id")?);
    call.check_rate_limit(LimitedAction::Change).await?;
    call.membership().remove(&channel, &call.caller().user_id, &user).await?;
    Ok(response::no_content())
}

/// Returns the role in the body, which may be absent.
fn role(request: &ApiRequest) -> Result<Option<MemberRole>, Problem> {
    if request.has_no_body() {
        return Ok(None);
    }
    let mut fields = request.fields()?;
    let role = fields.optional("role", "\"member\", \"moderator\" or \"owner\"");
    Problem::require_valid(fields.finish())?;
    Ok(role)
}
