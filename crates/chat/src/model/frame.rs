//! Frames from the server to the client: one JSON object per text frame.
//!
//! Clients ignore frame types, event types and fields that they do not know.

use serde::Serialize;

use crate::model::{
    event::EphemeralEvent,
    id::{ChannelId, ConnectionId, UserId},
    message::{Change, Message, MessageEvent},
    reaction::{ReactionChange, Toggle},
    seq::Seq,
};

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: Seq,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a Message>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    reaction: Option<&'a ReactionChange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl Event<'_> {
    /// Returns the JSON of each event of a change: one of the message, or one of each changed reaction.
    fn of(event: &MessageEvent) -> serde_json::Result<Vec<String>> {
        let MessageEvent { change, stored } = event;
        let Message { seq, version, .. } = stored.message;
        let traceparent = stored.trace.as_ref().map(|trace| trace.traceparent.as_str());
        let of_message = |kind| {
            let event = Event { kind, seq, version, message: Some(&stored.message), reaction: None, traceparent };
            serde_json::to_string(&event).map(|text| vec![text])
        };
        match change {
            Change::Created => of_message("message.created"),
            Change::Updated => of_message("message.updated"),
            Change::Deleted => of_message("message.deleted"),
            Change::Reacted(changes) => changes
                .iter()
                .map(|change| {
                    let kind = match change.toggle {
                        Toggle::Add => "reaction.added",
                        Toggle::Remove => "reaction.removed",
                    };
                    let event = Event { kind, seq, version, message: None, reaction: Some(change), traceparent };
                    serde_json::to_string(&event)
                })
                .collect(),
        }
    }
}

/// Returns the frames that carry `events` of one channel, in order: as few as possible with at most `max_bytes` each. A
/// frame with only one event may be larger. `seq` is the number of the message that an event is about, and `version` that
/// of the message after the change. A client orders the events of one message by `version`.
///
/// `{"type":"events","channel_id":"general","events":[{"type":"message.created","seq":7,"version":1,"message":{…},
/// "traceparent":"00-…"},{"type":"reaction.added","seq":7,"version":2,"emoji":"👍","user_id":"bob","count":1}]}`
///
/// # Errors
/// When a message cannot be serialized. Accepted messages always can.
pub fn event_frames(channel: &ChannelId, events: &[MessageEvent], max_bytes: usize) -> serde_json::Result<Vec<String>> {
    let head = format!(r#"{{"type":"events","channel_id":"{channel}","events":["#);
    let tail = "]}";
    let mut frames: Vec<String> = Vec::new();
    for event in events {
        for event in Event::of(event)? {
            match frames.last_mut() {
                Some(frame) if frame.len() + 1 + event.len() + tail.len() <= max_bytes => {
                    frame.push(',');
                    frame.push_str(&event);
                }
                _ => frames.push(format!("{head}{event}")),
            }
        }
    }
    for frame in &mut frames {
        frame.push_str(tail);
    }
    Ok(frames)
}

#[derive(Serialize)]
struct EphemeralFrame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    channel_id: &'a ChannelId,
    user_id: &'a UserId,
}

/// Returns the frame of an ephemeral event. It has no `seq` and cannot be read again later.
///
/// `{"type":"presence.joined","channel_id":"general","user_id":"bob"}`; also `presence.left` and `typing`.
///
/// # Errors
/// When an id cannot be serialized. Valid ids always can.
pub fn ephemeral_frame(channel_id: &ChannelId, event: &EphemeralEvent) -> serde_json::Result<String> {
    let (kind, user_id) = match event {
        EphemeralEvent::Joined(user_id) => ("presence.joined", user_id),
        EphemeralEvent::Left(user_id) => ("presence.left", user_id),
        EphemeralEvent::Typing(user_id) => ("typing", user_id),
    };
    serde_json::to_string(&EphemeralFrame { kind, channel_id, user_id })
}

/// Returns the frame that notifies a client of the number of its user's channels that its socket leaves out.
///
/// `{"type":"channels.left_out","count":51}`
#[must_use]
pub fn left_out_frame(count: usize) -> String {
    format!(r#"{{"type":"channels.left_out","count":{count}}}"#)
}

/// Answer to a client's own frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// Answer to a ping: the socket is open.
    Pong {
        /// Id of the client's connection.
        connection_id: ConnectionId,
    },
    /// Answer to any other frame.
    Error {
        /// Error code: `receive_only`.
        code: &'static str,
        /// Explanation for people.
        message: &'static str,
    },
}

impl Answer {
    /// Returns the answer to a client's frame. A ping is `{"action":"ping"}`, `{"type":"ping"}` or `ping`.
    #[must_use]
    pub fn to(frame: &str, connection: &ConnectionId) -> Self {
        let is_ping = frame.trim() == "ping"
            || serde_json::from_str::<serde_json::Value>(frame)
                .is_ok_and(|value| ["action", "type"].iter().any(|name| value.get(name).is_some_and(|v| v == "ping")));
        if is_ping {
            Self::Pong { connection_id: connection.clone() }
        } else {
            Self::Error {
                code: "receive_only",
                message: "this socket only receives; send messages with POST /channels/{channel_id}/messages",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{model::limits::CONTENT_BYTES, ports::socket_gateway::FRAME_BYTES, testing::created};

    fn seqs(frame: &str) -> Vec<u64> {
        let frame: Value = serde_json::from_str(frame).unwrap();
        assert_eq!(frame["type"], "events");
        frame["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn a_frame_has_the_shape_that_clients_know() {
        let event = created("general", 7, "hi");
        let frames = event_frames(&event.stored.message.channel_id, std::slice::from_ref(&event), FRAME_BYTES).unwrap();
        let frame: Value = serde_json::from_str(&frames[0]).unwrap();
        assert_eq!(frame["channel_id"], "general");
        assert_eq!(frame["events"][0]["type"], "message.created");
        assert_eq!(frame["events"][0]["seq"], 7);
        assert_eq!(frame["events"][0]["message"]["content"], "hi");
        assert_eq!(frame["events"][0]["version"], 1);
        assert_eq!(frame["events"][0]["traceparent"], Value::from(event.stored.trace.unwrap().traceparent));
    }

    #[test]
    fn each_changed_reaction_is_an_event_without_the_message() {
        let change = |toggle, user: &str, count| ReactionChange {
            toggle,
            emoji: "👍".parse().unwrap(),
            user_id: user.parse().unwrap(),
            count,
        };
        let changes = vec![change(Toggle::Remove, "bob", 1), change(Toggle::Add, "carol", 1)];
        let mut event = MessageEvent { change: Change::Reacted(changes), ..created("general", 7, "hi") };
        event.stored.message.version = 3;
        event.stored.trace = None;
        let frames = event_frames(&event.stored.message.channel_id, std::slice::from_ref(&event), FRAME_BYTES).unwrap();
        let frame: Value = serde_json::from_str(&frames[0]).unwrap();
        let expected = json!([
            { "type": "reaction.removed", "seq": 7, "version": 3, "emoji": "👍", "user_id": "bob", "count": 1 },
            { "type": "reaction.added", "seq": 7, "version": 3, "emoji": "👍", "user_id": "carol", "count": 1 },
        ]);
        assert_eq!((frames.len(), &frame["events"]), (1, &expected));
    }

    #[test]
    fn pings_are_answered_and_all_else_is_refused() {
        let id: ConnectionId = "abc=".parse().unwrap();
        for ping in ["ping", r#"{"action":"ping"}"#, r#"{"type":"ping"}"#] {
            assert!(matches!(Answer::to(ping, &id), Answer::Pong { .. }), "{ping}");
        }
        for other in ["", "hello", "[]", "null", r#"{"action":"sendmessage"}"#, "\u{0}"] {
            assert!(matches!(Answer::to(other, &id), Answer::Error { code: "receive_only", .. }), "{other}");
        }
    }

    proptest! {
        #[test]
        fn frames_keep_every_event_in_order_and_never_exceed_the_limit(
            sizes in proptest::collection::vec(1..=CONTENT_BYTES, 1..20)
        ) {
            let stored: Vec<_> = (1..).zip(&sizes).map(|(seq, size)| created("c", seq, &"\"".repeat(*size))).collect();
            let frames = event_frames(&stored[0].stored.message.channel_id, &stored, FRAME_BYTES).unwrap();
            prop_assert!(frames.iter().all(|frame| frame.len() <= FRAME_BYTES));
            let seen: Vec<u64> = frames.iter().flat_map(|frame| seqs(frame)).collect();
            prop_assert_eq!(seen, (1..=sizes.len() as u64).collect::<Vec<_>>());
        }
    }
}
