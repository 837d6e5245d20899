//! Requests that change messages.

use serde_json::{Value, json};

use super::{
    Gateway,
    answer::Answer,
    channel::{Append, Channel, Event},
    message::Message,
};
use crate::protocol::Request;

/// A response, and the events that sockets of the channel receive.
pub(super) type Change = (Answer, Vec<Event>);

impl Gateway {
    /// Answers a request that changes a message, or `None` if it is none.
    pub(super) fn change(&mut self, request: &Request, parts: &[&str], now: u64) -> Option<Change> {
        let user_id = self.user_id.clone();
        let ["channels", id, "messages", rest @ ..] = parts else { return None };
        let channel = self.channels.get_mut(*id).filter(|channel| !channel.is_hidden)?;
        let seq = rest.first().and_then(|seq| seq.parse().ok()).unwrap_or(0);
        Some(match (request.method.as_str(), rest) {
            ("POST", []) => send(channel, request, &user_id, now),
            ("PATCH", [_]) => edit(channel, request, seq, now),
            ("DELETE", [_]) => match channel.delete(seq, now) {
                _ if !channel.messages.contains_key(&seq) => not_found(),
                event => (Answer::empty(204), event.into_iter().collect()),
            },
            ("PUT" | "DELETE", [_, "reactions", emoji]) => {
                if channel.messages.get(&seq).is_none_or(Message::is_deleted) {
                    return Some(not_found());
                }
                let event = channel.react(seq, emoji, &user_id, request.method == "PUT");
                (Answer::empty(204), event.into_iter().collect())
            }
            ("POST", [_, "reply", "cancel"]) => {
                let is_open = channel.drafts.get(&seq).is_some_and(|draft| draft.seq.is_none());
                if is_open { (Answer::empty(202), vec![]) } else { (Answer::problem(404, "reply_not_found"), vec![]) }
            }
            _ => return None,
        })
    }
}

fn not_found() -> Change {
    (Answer::problem(404, "message_not_found"), vec![])
}

/// Stores a message, once for each idempotency key.
fn send(channel: &mut Channel, request: &Request, user_id: &str, now: u64) -> Change {
    let body = request.json();
    let Some(content) = body["content"].as_str().filter(|content| !content.is_empty()) else {
        return (Answer::problem(400, "invalid_request"), vec![]);
    };
    let key = request.header("idempotency-key").map(str::to_owned);
    let rev = channel.rev;
    let held = channel.messages.values().find(|message| key.is_some() && message.key == key);
    if let Some(message) = held {
        if message.at(1).is_some_and(|state| state.content != content) {
            return (Answer::problem(422, "idempotency_key_reused"), vec![]);
        }
        let answer = sent(channel, message.seq, user_id, rev, 200);
        return (answer.with("idempotency-replayed", "true".to_owned()), vec![]);
    }
    let new = Append {
        sender_id: user_id.to_owned(),
        content: content.to_owned(),
        reply_to: body["reply_to"].as_u64(),
        thread_seq: body["thread_seq"].as_u64(),
        metadata: body["metadata"].clone(),
        key,
        draft_id: None,
    };
    let is_unknown = |seq: Option<u64>| seq.is_some_and(|seq| !channel.messages.contains_key(&seq));
    if is_unknown(new.reply_to) || is_unknown(new.thread_seq) {
        return (Answer::problem(400, "invalid_request"), vec![]);
    }
    let seq = channel.append(new, now);
    (sent(channel, seq, user_id, rev, 201), channel.created(seq).into_iter().collect())
}

fn sent(channel: &Channel, seq: u64, user_id: &str, rev: u64, status: u16) -> Answer {
    let Some(message) = channel.messages.get(&seq) else { return Answer::problem(500, "internal_error") };
    let mut shape = message.shape(&channel.id, Some(user_id));
    shape["rev"] = json!(rev);
    Answer::new(status, shape)
        .with("etag", format!("\"{}\"", message.version()))
        .with("location", format!("/channels/{}/messages/{seq}", channel.id))
}

fn edit(channel: &mut Channel, request: &Request, seq: u64, now: u64) -> Change {
    let Some(message) = channel.messages.get(&seq).filter(|message| !message.is_deleted()) else {
        return not_found();
    };
    let tag = format!("\"{}\"", message.version());
    if request.header("if-match").is_some_and(|wanted| wanted != "*" && !wanted.contains(&tag)) {
        return (Answer::problem(412, "version_mismatch"), vec![]);
    }
    let body = request.json();
    let content = match &body["content"] {
        Value::String(content) if !content.is_empty() => content.clone(),
        Value::Null => message.state().content,
        _ => return (Answer::problem(400, "invalid_request"), vec![]),
    };
    let event = if content == message.state().content { None } else { channel.edit(seq, &content, now) };
    let Some(message) = channel.messages.get(&seq) else { return not_found() };
    let answer = Answer::ok(message.shape(&channel.id, None)).with("etag", format!("\"{}\"", message.version()));
    (answer, event.into_iter().collect())
}
