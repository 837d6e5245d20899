//! `/channels/{channel_id}/members` and below.

use auth::Scope;
use chat::{
    app::membership::Added,
    model::{
        channel::{Member, MemberRole},
        id::UserId,
    },
    ports::rate_limiter::LimitedAction,
};
use http::StatusCode;
use http_api::{ApiRequest, Problem, response};
use serde::Serialize;

use crate::{
    call::{Answer, Call},
    pages::{PageInfo, page},
};

#[derive(Serialize)]
struct MemberList {
    members: Vec<Member>,
    #[serde(flatten)]
    end: PageInfo<UserId>,
}

pub(crate) async fn list(call: &Call<'_>) -> Answer {
    let channel = call.channel()?;
    let (after, limit) = page::<UserId>(call.request, "a user id")?;
    let page = call.membership().list(&channel, &call.caller().user_id, after.as_ref(), limit).await?;
    response::json(StatusCode::OK, &MemberList { members: page.members, end: PageInfo::new(page.next_after) })
}

pub(crate) async fn add(call: &Call<'_>) -> Answer {
    let (channel, user) = (call.channel()?, call.request.path_new_member(&call.shared.verifier)?);
    let role = role(call.request)?;
    call.check_rate_limit(LimitedAction::AddMember).await?;
    let addition = call.shared.additions.of_caller(call.identity.has(Scope::Add));
    match call.membership().add(&channel, &call.caller().user_id, &user, role, addition).await? {
        Added::Joined { member, added: true } => response::json(StatusCode::CREATED, &member),
        Added::Joined { member, added: false } => response::json(StatusCode::OK, &member),
        Added::Invited(invitation) => response::json(StatusCode::ACCEPTED, &invitation),
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
