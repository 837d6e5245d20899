//! Checks that a system compared as "the same chat" keeps the same promises. Runs before the measurement.

use std::time::Duration;

use chat::model::message::Message;
use serde_json::{Value, json};
use switchboard_client::{Response, Socket, StatusCode};
use tokio::time::timeout;

use crate::{
    Result,
    system::{System, sender},
};

/// The channel of the checks.
const CHANNEL: &str = "bench-promises";

/// A private channel of its owner.
const PRIVATE: &str = "bench-private";

/// Media type of every refusal (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// Maximum time of a push.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks the promises of a system. A caller without a token or membership is refused. Messages are numbered without a
/// gap, and stored once per key. Invalid requests are refused, and accepted messages are pushed as they are stored.
pub(crate) async fn kept(system: &System) -> Result<()> {
    attempt(system).await.map_err(|error| format!("{} is not the same chat: {error}", system.name).into())
}

async fn attempt(system: &System) -> Result<()> {
    system.open_channel(CHANNEL).await?;
    system.open(PRIVATE, "private").await?;
    let mut socket = system.listen(CHANNEL, 0).await?;
    let text = |content: &str| json!({ "content": content });
    let by =
        async |number, channel: &str, message: Value| system.ask(channel, system.token(number), &message, None).await;

    answers(StatusCode::UNAUTHORIZED, system.ask(CHANNEL, "", &text("hi"), None).await?)?;
    let keyed = async |content: &str| system.ask(CHANNEL, system.token(0), &text(content), Some("one")).await;
    let first = message(StatusCode::CREATED, keyed("first").await?)?;
    same(&message(StatusCode::OK, keyed("first").await?)?, &first)?;
    answers(StatusCode::UNPROCESSABLE_ENTITY, keyed("another").await?)?;
    for wrong in [json!({ "content": "" }), json!({ "content": 1 }), json!({ "content": "x", "colour": "red" })] {
        answers(StatusCode::BAD_REQUEST, by(0, CHANNEL, wrong).await?)?;
    }
    answers(StatusCode::NOT_FOUND, by(0, "bench-nowhere", text("hi")).await?)?;
    let second = message(StatusCode::CREATED, by(1, CHANNEL, text("second")).await?)?;
    answers(StatusCode::NOT_FOUND, by(1, PRIVATE, text("hi")).await?)?;
    let own = message(StatusCode::CREATED, by(0, PRIVATE, text("mine")).await?)?;
    for (message, seq, number) in [(&first, 1, 0), (&second, 2, 1), (&own, 1, 0)] {
        if (message.seq.get(), message.sender_id.to_string()) != (seq, sender(number)) {
            return Err(format!("{} was to send number {seq}: {message:?}", sender(number)).into());
        }
    }

    let mut heard: Vec<Message> = Vec::new();
    while heard.len() < 2 {
        for message in created(&mut socket).await? {
            // A push may be repeated.
            if heard.iter().all(|one| one.seq != message.seq) {
                heard.push(message);
            }
        }
    }
    same(&heard[0], &first)?;
    same(&heard[1], &second)
}

/// Returns the response if it has this status, and is a problem if it is a refusal.
fn answers(status: StatusCode, response: Response) -> Result<Response> {
    let is_problem = response.header("content-type") == Some(PROBLEM);
    if response.status == status && is_problem != status.is_success() {
        return Ok(response);
    }
    Err(format!("expected {status}, got {}: {}", response.status, response.text()).into())
}

fn message(status: StatusCode, response: Response) -> Result<Message> {
    Ok(answers(status, response)?.parse()?)
}

fn same(one: &Message, other: &Message) -> Result<()> {
    if one == other { Ok(()) } else { Err(format!("{one:?} is not {other:?}").into()) }
}

/// Returns the messages of the next frame with `message.created` events.
async fn created(socket: &mut Socket) -> Result<Vec<Message>> {
    loop {
        let text = timeout(PATIENCE, socket.hear()).await??;
        let frame: Value = serde_json::from_str(&text)?;
        let events = frame["events"].as_array().into_iter().flatten();
        let created = events.filter(|event| event["type"] == "message.created");
        let messages: Vec<Message> =
            created.map(|event| Ok(serde_json::from_value(event["message"].clone())?)).collect::<Result<_>>()?;
        if !messages.is_empty() && frame["channel_id"] == CHANNEL {
            return Ok(messages);
        }
    }
}
