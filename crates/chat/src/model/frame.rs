//! Frames from the server to the client: one JSON object per text frame.
//!
//! Clients ignore frame types, event types and fields that they do not know.

use serde::Serialize;

use crate::model::{
    channel::{Channel, Member},
    connection::Connection,
    event::EphemeralEvent,
    id::{ChannelId, ConnectionId, UserId},
    message::{Change, Message, MessageEvent},
    reaction::{ReactionChange, Toggle},
    rev::Rev,
    seq::Seq,
    time::Timestamp,
};

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    seq: Seq,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<Rev>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev_from: Option<Rev>,
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
        let MessageEvent { change, stored, rev_from } = event;
        let Message { seq, version, .. } = stored.message;
        let rev = (*change != Change::Created).then_some(stored.rev);
        let rev_from = rev.and(Some(*rev_from)).filter(|from| *from < stored.rev);
        let traceparent = stored.trace.as_ref().map(|trace| trace.traceparent.as_str());
        let of_message = |kind| {
            let message = Some(&stored.message);
            let event = Event { kind, seq, version, rev, rev_from, message, reaction: None, traceparent };
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
                    let reaction = Some(change);
                    let event = Event { kind, seq, version, rev, rev_from, message: None, reaction, traceparent };
                    serde_json::to_string(&event)
                })
                .collect(),
        }
    }
}

/// Returns the frames that carry `events` of one channel, in order: as few as possible with at most `max_bytes` each. A
/// frame with only one event may be larger. `seq` is the number of the message that an event is about, and `version` that
/// of the message after the change. A client orders the events of one message by `version`. `rev` is the number of the
/// change in the channel; a new message has none. An event that covers several changes has the first of their
/// numbers as `rev_from`. The events of one change share its `rev`.
///
/// `{"type":"events","channel_id":"general","events":[{"type":"message.created","seq":7,"version":1,"message":{…},
/// "traceparent":"00-…"},{"type":"reaction.added","seq":7,"version":2,"rev":1,"emoji":"👍","user_id":"bob","count":1}]}`
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
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a Member>,
}

impl<'a> EphemeralFrame<'a> {
    fn new(channel_id: &'a ChannelId, event: &'a EphemeralEvent) -> Self {
        let of = |kind| Self { kind, channel_id, user_id: None, read_seq: None, channel: None, member: None };
        let of_user = |kind, user_id: &'a UserId| Self { user_id: Some(user_id), ..of(kind) };
        let of_channel = |kind, channel: &'a Channel| Self { channel: Some(channel), ..of(kind) };
        let of_member = |kind, member: &'a Member| Self { member: Some(member), ..of(kind) };
        match event {
            EphemeralEvent::Joined(user) => of_user("presence.joined", user),
            EphemeralEvent::Left(user) => of_user("presence.left", user),
            EphemeralEvent::Typing(user) => of_user("typing", user),
            EphemeralEvent::ChannelCreated(channel) => of_channel("channel.created", channel),
            EphemeralEvent::ChannelUpdated(channel) => of_channel("channel.updated", channel),
            EphemeralEvent::ChannelDeleted => of("channel.deleted"),
            EphemeralEvent::MemberJoined(member) => of_member("member.joined", member),
            EphemeralEvent::MemberUpdated(member) => of_member("member.updated", member),
            EphemeralEvent::MemberRemoved(user) => of_user("member.removed", user),
            EphemeralEvent::ReadUpdated { user_id, read_seq } => {
                Self { read_seq: Some(*read_seq), ..of_user("read.updated", user_id) }
            }
        }
    }
}

/// Returns the frame of an ephemeral event. It has no `seq` and cannot be read again later.
///
/// - `{"type":"presence.joined","channel_id":"general","user_id":"bob"}`; also `presence.left`, `typing` and
///   `member.removed`
/// - `{"type":"channel.created","channel_id":"general","channel":{…}}`; also `channel.updated`
/// - `{"type":"channel.deleted","channel_id":"general"}`
/// - `{"type":"member.joined","channel_id":"general","member":{…}}`; also `member.updated`
/// - `{"type":"read.updated","channel_id":"general","user_id":"bob","read_seq":7}`
///
/// # Errors
/// When an id cannot be serialized. Valid ids always can.
pub fn ephemeral_frame(channel_id: &ChannelId, event: &EphemeralEvent) -> serde_json::Result<String> {
    serde_json::to_string(&EphemeralFrame::new(channel_id, event))
}

#[derive(Serialize)]
struct Hello<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    connection_id: &'a ConnectionId,
    user_id: &'a UserId,
    expires_at: Timestamp,
    server_time: Timestamp,
    channels_left_out: usize,
}

/// Returns the frame that greets the client of a connection that was opened. `now` is the server's time.
///
/// `{"type":"hello","connection_id":"abc=","user_id":"bob","expires_at":"…","server_time":"…","channels_left_out":0}`
///
/// # Errors
/// When an id cannot be serialized. Valid ids always can.
pub fn hello_frame(connection: &Connection, now: Timestamp) -> serde_json::Result<String> {
    serde_json::to_string(&Hello {
        kind: "hello",
        connection_id: &connection.key.id,
        user_id: &connection.user_id,
        expires_at: connection.expires_at,
        server_time: now,
        channels_left_out: connection.left_out,
    })
}

/// Reason for which the server closes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosingReason {
    /// The token of the connection has expired.
    TokenExpired,
    /// The user may not see one of the channels of the connection any longer, or the channel was deleted.
    Removed,
    /// The client has sent too many frames.
    TooManyFrames,
}

impl ClosingReason {
    /// Returns the reason as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::Removed => "removed",
            Self::TooManyFrames => "too_many_frames",
        }
    }

    /// Returns whether the client should open a new socket. It needs a new token after
    /// [`ClosingReason::TokenExpired`].
    #[must_use]
    pub fn invites_back(self) -> bool {
        match self {
            Self::TokenExpired | Self::Removed => true,
            Self::TooManyFrames => false,
        }
    }
}

/// Returns the last frame of a socket that the server closes.
///
/// `{"type":"closing","reason":"token_expired","reconnect":true}`
#[must_use]
pub fn closing_frame(reason: ClosingReason) -> String {
    format!(r#"{{"type":"closing","reason":"{}","reconnect":{}}}"#, reason.as_str(), reason.invites_back())
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
    use crate::{
        model::{
            channel::{Instructions, MemberRole, Visibility},
            connection::ConnectionKey,
            limits::{AGENT_INSTRUCTIONS_BYTES, CONTENT_BYTES},
        },
        ports::socket_gateway::FRAME_BYTES,
        testing::{TestStore, created, incarnation, key},
    };

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

    fn channel() -> Channel {
        let store = TestStore::seeded(1, 0).with_channel("general", Visibility::Public);
        let state = store.state();
        state.channel(&key("general")).unwrap().clone()
    }

    fn ephemeral(event: &EphemeralEvent) -> Value {
        serde_json::from_str(&ephemeral_frame(&"general".parse().unwrap(), event).unwrap()).unwrap()
    }

    #[test]
    fn an_ephemeral_frame_has_the_fields_of_its_kind_only() {
        let bob: UserId = "bob".parse().unwrap();
        let member = Member {
            channel_id: "general".parse().unwrap(),
            user_id: bob.clone(),
            incarnation: incarnation(),
            role: MemberRole::Moderator,
            joined_at: Timestamp::from_secs(0),
            added_by: None,
        };
        let (of_channel, of_member) =
            (serde_json::to_value(channel()).unwrap(), serde_json::to_value(&member).unwrap());
        assert!(of_channel.get("incarnation").is_none() && of_member.get("incarnation").is_none());
        let read = EphemeralEvent::ReadUpdated { user_id: bob.clone(), read_seq: Seq::new(7) };
        for (event, kind, content) in [
            (EphemeralEvent::Joined(bob.clone()), "presence.joined", json!({ "user_id": "bob" })),
            (EphemeralEvent::Left(bob.clone()), "presence.left", json!({ "user_id": "bob" })),
            (EphemeralEvent::Typing(bob.clone()), "typing", json!({ "user_id": "bob" })),
            (EphemeralEvent::ChannelCreated(channel().into()), "channel.created", json!({ "channel": of_channel })),
            (EphemeralEvent::ChannelUpdated(channel().into()), "channel.updated", json!({ "channel": of_channel })),
            (EphemeralEvent::ChannelDeleted, "channel.deleted", json!({})),
            (EphemeralEvent::MemberJoined(member.clone()), "member.joined", json!({ "member": of_member })),
            (EphemeralEvent::MemberUpdated(member), "member.updated", json!({ "member": of_member })),
            (EphemeralEvent::MemberRemoved(bob), "member.removed", json!({ "user_id": "bob" })),
            (read, "read.updated", json!({ "user_id": "bob", "read_seq": 7 })),
        ] {
            let mut expected = json!({ "type": kind, "channel_id": "general" });
            expected.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            assert_eq!(ephemeral(&event), expected);
        }
    }

    #[test]
    fn the_frame_of_a_channel_with_the_longest_instructions_fits() {
        let mut large = channel();
        // Each of these bytes takes six in JSON.
        large.agent.instructions = Instructions::Text("\u{1}".repeat(AGENT_INSTRUCTIONS_BYTES));
        let frame = ephemeral_frame(&large.channel_id.clone(), &EphemeralEvent::ChannelUpdated(large.into()));
        assert!(frame.unwrap().len() <= FRAME_BYTES);
    }

    #[test]
    fn hello_says_what_a_client_would_have_to_ask_for() {
        let connection = Connection {
            key: ConnectionKey { id: "abc=".parse().unwrap(), connected_at: Timestamp::from_secs(1_800_000_000) },
            user_id: "bob".parse().unwrap(),
            channels: Vec::new(),
            auto_subscribe: true,
            allowed_channels: None,
            left_out: 51,
            token_expires_at: Timestamp::from_secs(1_900_000_000),
            expires_at: Timestamp::from_secs(1_800_007_200),
        };
        let now = Timestamp::from_millis(1_800_000_001_500);
        let frame: Value = serde_json::from_str(&hello_frame(&connection, now).unwrap()).unwrap();
        let expected = json!({
            "type": "hello", "connection_id": "abc=", "user_id": "bob", "channels_left_out": 51,
            "expires_at": connection.expires_at, "server_time": now,
        });
        assert_eq!(frame, expected);
    }

    #[test]
    fn closing_says_whether_to_come_back() {
        for (reason, name, reconnect) in [
            (ClosingReason::TokenExpired, "token_expired", true),
            (ClosingReason::Removed, "removed", true),
            (ClosingReason::TooManyFrames, "too_many_frames", false),
        ] {
            let frame: Value = serde_json::from_str(&closing_frame(reason)).unwrap();
            assert_eq!(frame, json!({ "type": "closing", "reason": name, "reconnect": reconnect }));
        }
    }

    #[test]
    fn presence_and_typing_are_for_the_others_and_all_else_is_for_everybody() {
        let (bob, carol): (UserId, UserId) = ("bob".parse().unwrap(), "carol".parse().unwrap());
        for event in [EphemeralEvent::Joined, EphemeralEvent::Left, EphemeralEvent::Typing] {
            let event = event(bob.clone());
            assert_eq!((event.is_for(&bob), event.is_for(&carol)), (false, true), "{event:?}");
        }
        for event in [EphemeralEvent::ChannelDeleted, EphemeralEvent::MemberRemoved(bob.clone())] {
            assert!(event.is_for(&bob) && event.is_for(&carol), "{event:?}");
        }
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
        let mut event = created("general", 7, "hi");
        (event.change, event.stored.rev, event.rev_from) = (Change::Reacted(changes), Rev::new(9), Rev::new(9));
        event.stored.message.version = 3;
        event.stored.trace = None;
        let frames = event_frames(&event.stored.message.channel_id, std::slice::from_ref(&event), FRAME_BYTES).unwrap();
        let frame: Value = serde_json::from_str(&frames[0]).unwrap();
        let expected = json!([
            {
                "type": "reaction.removed", "seq": 7, "version": 3, "rev": 9,
                "emoji": "👍", "user_id": "bob", "count": 1,
            },
            {
                "type": "reaction.added", "seq": 7, "version": 3, "rev": 9,
                "emoji": "👍", "user_id": "carol", "count": 1,
            },
        ]);
        assert_eq!((frames.len(), &frame["events"]), (1, &expected));
    }

    #[test]
    fn a_change_has_its_number_and_the_first_that_it_covers() {
        for (change, kind, rev, rev_from, shown) in [
            (Change::Created, "message.created", 0, 0, (None, None)),
            (Change::Updated, "message.updated", 7, 7, (Some(7), None)),
            (Change::Updated, "message.updated", 7, 5, (Some(7), Some(5))),
            (Change::Deleted, "message.deleted", 7, 6, (Some(7), Some(6))),
        ] {
            let mut event = created("general", 3, "hi");
            (event.change, event.stored.rev, event.rev_from) = (change, Rev::new(rev), Rev::new(rev_from));
            let frames = event_frames(&event.stored.message.channel_id, std::slice::from_ref(&event), FRAME_BYTES);
            let frame: Value = serde_json::from_str(&frames.unwrap()[0]).unwrap();
            let found = &frame["events"][0];
            assert_eq!(found["type"], kind);
            let number = |name: &str| found.get(name).map(|value| value.as_u64().unwrap());
            assert_eq!((number("rev"), number("rev_from")), shown, "{kind} from {rev_from}");
            assert_eq!(found["message"].get("rev"), None, "clients see no number in a message");
        }
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
