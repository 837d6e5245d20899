//! The steps of the test.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_client::Method;
use tokio::time::{sleep, timeout};

use crate::{Failure, Steps, Target, rest::Rest, socket::Socket};

/// Time after which the second user leaves and joins again if no event of the join has come.
const JOIN_INTERVAL: Duration = Duration::from_secs(20);

/// Absence of the second user between two joins. A shorter one counts as the reload of a page, which causes no event.
const AWAY: Duration = Duration::from_secs(5);

pub(crate) async fn walk<D>(target: &Target, steps: &mut Steps<D>) -> Result<(), Failure>
where
    D: FnMut(&'static str, Duration),
{
    let [one, two] = &target.tokens.0;
    let (one, two) =
        (User { rest: Rest::new(target, one)?, token: one }, User { rest: Rest::new(target, two)?, token: two });
    steps.step("health", one.rest.ask(Method::GET, "/health", Value::Null, 200)).await?;
    let channel = format!("smoke-{}", ulid::Ulid::generate().to_string().to_lowercase());
    let settings =
        json!({ "channel_id": channel, "name": "Smoke test", "visibility": "public", "agent": { "mode": "always" } });
    steps.step("create channel", one.rest.ask(Method::POST, "/channels", settings.clone(), 201)).await?;
    let talked = talk(target, steps, &one, &two, &channel).await;
    let deleted = delete(steps, &one, &channel, settings).await;
    talked.and(deleted)
}

struct User<'a> {
    rest: Rest,
    token: &'a str,
}

async fn talk<D>(
    target: &Target,
    steps: &mut Steps<D>,
    one: &User<'_>,
    two: &User<'_>,
    channel: &str,
) -> Result<(), Failure>
where
    D: FnMut(&'static str, Duration),
{
    let messages = format!("/channels/{channel}/messages");
    let ticket = json!({ "channels": [channel] });
    let ticket = steps.step("ticket", one.rest.ask(Method::POST, "/connections/tickets", ticket, 201)).await?;
    let url = format!("{}?ticket={}", target.websocket, ticket["ticket"].as_str().unwrap_or_default());
    let mut socket = steps.step("connect", Socket::open(&url, None)).await?;
    let ping = async {
        socket.say(r#"{"action":"ping"}"#).await?;
        socket.frame(|frame| frame["type"] == "pong").await
    };
    let connection_id = steps.step("ping", ping).await?["connection_id"].take();
    steps.step("renew", renew(one, connection_id.as_str().unwrap_or_default())).await?;

    let (body, key) = (json!({ "content": "/help" }), [("idempotency-key", channel)]);
    let sent = steps.step("send", one.rest.ask_with(Method::POST, &messages, body.clone(), &key, 201)).await?;
    let again = async {
        let again = one.rest.ask_with(Method::POST, &messages, body, &key, 200).await?;
        equal("the message", &again["message_id"], &sent["message_id"])
    };
    steps.step("send again", again).await?;
    let seq = sent["seq"].clone();
    steps.stream_step("push", socket.event("message.created", |message| message["seq"] == seq)).await?;
    let is_reply = |message: &Value| message["reply_to"] == seq && message["role"] != "user";
    let reply = steps.stream_step("reply", socket.event("message.created", is_reply)).await?;
    let history = async {
        let page = one.rest.ask(Method::GET, &format!("{messages}?after=0"), Value::Null, 200).await?;
        let ids = page["messages"].as_array().into_iter().flatten().map(|message| message["message_id"].clone());
        equal("the history", &ids.collect(), &json!([sent["message_id"], reply["message_id"]]))
    };
    steps.step("history", history).await?;
    let react = async {
        // Percent-encoded in the path, as a URL must be: the functions have to decode it.
        let path = format!("{messages}/{seq}/reactions/%F0%9F%91%8D");
        one.rest.ask(Method::PUT, &path, Value::Null, 204).await?;
        let is_reaction = |event: &Value| event["type"] == "reaction.added" && event["emoji"] == "\u{1f44d}";
        socket.frame(|event| is_reaction(event) && event["seq"] == seq && event["count"] == 1).await
    };
    steps.stream_step("react", react).await?;
    let edit = async {
        one.rest.ask(Method::PATCH, &format!("{messages}/{seq}"), json!({ "content": "edited" }), 200).await?;
        socket.event("message.updated", |message| message["seq"] == seq && message["content"] == "edited").await
    };
    steps.stream_step("edit", edit).await?;
    let changes = async {
        let path = format!("/channels/{channel}/changes?after=0");
        let page = one.rest.ask(Method::GET, &path, Value::Null, 200).await?;
        let change = &page["changes"][0];
        let found = json!([page["rev"], change["rev"], change["message"]["seq"], change["message"]["content"]]);
        equal("the changes", &found, &json!([2, 2, seq, "edited"]))
    };
    steps.step("changes", changes).await?;
    join_and_leave(target, steps, two, channel, &mut socket, &sent["sender_id"]).await
}

/// Renews the token of a socket. An id of API Gateway ends with `=`, which is encoded in a path.
async fn renew(user: &User<'_>, connection_id: &str) -> Result<(), String> {
    let path = format!("/connections/{}/token", connection_id.replace('=', "%3D"));
    let renewed = user.rest.ask(Method::POST, &path, Value::Null, 200).await?;
    equal("the connection", &renewed["connection_id"], &json!(connection_id))
}

/// Lets the second user come and go. The first user sees it on `socket`.
async fn join_and_leave<D>(
    target: &Target,
    steps: &mut Steps<D>,
    two: &User<'_>,
    channel: &str,
    socket: &mut Socket,
    first_user: &Value,
) -> Result<(), Failure>
where
    D: FnMut(&'static str, Duration),
{
    let url = format!("{}?channels={channel}", target.websocket);
    // A new mapping of the stream of subscriptions does not see what happened before its start.
    let other = async {
        loop {
            let other = Socket::open(&url, Some(two.token)).await?;
            let joined = socket.frame(|frame| frame["type"] == "presence.joined" && frame["user_id"] != *first_user);
            if let Ok(joined) = timeout(JOIN_INTERVAL, joined).await {
                return Ok((other, joined?["user_id"].take()));
            }
            other.close().await?;
            sleep(AWAY).await;
        }
    };
    let (other, user) = steps.stream_step("join", other).await?;
    // No push finds the socket gone: only OnDisconnect reports it.
    let left = async {
        other.close().await?;
        socket.frame(|frame| frame["type"] == "presence.left" && frame["user_id"] == user).await
    };
    steps.stream_step("disconnect", left).await?;
    let path = format!("/channels/{channel}");
    let refused = two.rest.ask(Method::DELETE, &path, Value::Null, 403);
    steps.step("refuse", refused).await?;
    Ok(())
}

/// Deletes the channel and creates another one under its id, which has no messages.
async fn delete<D>(steps: &mut Steps<D>, one: &User<'_>, channel: &str, settings: Value) -> Result<(), Failure>
where
    D: FnMut(&'static str, Duration),
{
    let path = format!("/channels/{channel}");
    steps.step("delete channel", one.rest.ask(Method::DELETE, &path, Value::Null, 204)).await?;
    let again = async {
        let created = one.rest.ask(Method::POST, "/channels", settings, 201).await?;
        equal("the number of the last message", &created["last_seq"], &json!(0))
    };
    steps.step("create again", again).await?;
    steps.step("delete again", one.rest.ask(Method::DELETE, &path, Value::Null, 204)).await?;
    Ok(())
}

fn equal(what: &str, found: &Value, expected: &Value) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found}, not {expected}")) }
}
