//! Accepted messages as frames: no frame is too large. Together they hold every event once, in order, in the smallest
//! number of frames.

use arbitrary::{Arbitrary, Unstructured};
use chat::{
    model::{
        event::EphemeralEvent,
        frame::{ephemeral_frame, event_frames},
        limits::{CONTENT_BYTES, REACTIONS_PER_MESSAGE, USERS_LISTED_PER_REACTION},
        message::{Change, MessageEvent, NewMessage},
        reaction::{ReactionChange, Reactions, differences},
        seq::Seq,
    },
    ports::socket_gateway::FRAME_BYTES,
};
use serde_json::{Map, Value};

use super::message;

/// A message in few bytes: long contents repeat short ones.
#[derive(Debug, Arbitrary)]
struct Made<'a> {
    content: &'a str,
    /// 0: large.
    size: u8,
    times: u16,
    name: &'a str,
    value: &'a str,
    value_times: u8,
    reactions: u8,
    reacting: u8,
    change: u8,
    seq: u64,
    trace: Option<u128>,
}

pub fn run(data: &[u8]) {
    let Ok(made) = <Vec<Made<'_>>>::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut events = Vec::new();
    for one in made.into_iter().take(10) {
        // Only some are large, since those cost a thousand times as much.
        let (times, value_times, kinds, reacting) = match one.size {
            0 => (one.times, one.value_times, usize::from(one.reactions) % (REACTIONS_PER_MESSAGE + 1), one.reacting),
            _ => (1, 1, usize::from(one.reactions) % 2, one.reacting % 2),
        };
        let times = usize::from(times).min(CONTENT_BYTES / one.content.len().max(1));
        let metadata = Map::from_iter([(one.name.to_owned(), Value::from(one.value.repeat(value_times.into())))]);
        let mut draft =
            NewMessage { content: one.content.repeat(times), metadata: Some(metadata), ..NewMessage::default() };
        if !draft.check().is_empty() {
            continue;
        }
        let mut message = message::message(draft);
        message.seq = Seq::new(one.seq);
        for kind in 0..kinds {
            let users = (0..=usize::from(reacting) % (2 * USERS_LISTED_PER_REACTION))
                .map(|user| format!("{user:0>128}").parse().expect("an id"));
            let emoji = format!("{kind}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}");
            message.reactions.insert(serde_json::from_value(emoji.into()).expect("as stored"), users.collect());
        }
        let change = match one.change % 4 {
            0 => Change::Created,
            1 => Change::Updated,
            2 => Change::Deleted,
            _ => Change::Reacted(differences(&Reactions::new(), &message.reactions)),
        };
        let traceparent = one.trace.map(|trace| format!("00-{trace:032x}-0000000000000001-01"));
        events.push(message::event(change, message, traceparent));
    }
    let channel = "c".repeat(128).parse().expect("an id");
    let frames = event_frames(&channel, &events, FRAME_BYTES).expect("frames");
    let mut read = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    for frame in &frames {
        assert!(frame.len() <= FRAME_BYTES, "{}", frame.len());
        let json: Value = serde_json::from_str(frame).expect("JSON");
        assert_eq!((&json["type"], json["channel_id"].as_str()), (&Value::from("events"), Some(channel.as_str())));
        let inside = json["events"].as_array().expect("events");
        assert!(!inside.is_empty());
        let first = inside[0].to_string().len();
        if let Some((length, _)) = last {
            assert!(length + 1 + first > FRAME_BYTES, "the one before had room");
        }
        last = Some((frame.len(), first));
        read.extend(inside.iter().cloned());
    }
    let expected: Vec<(&MessageEvent, Option<&ReactionChange>)> = events
        .iter()
        .flat_map(|event| match &event.change {
            Change::Reacted(changes) => changes.iter().map(|change| (event, Some(change))).collect(),
            _ => vec![(event, None)],
        })
        .collect();
    assert_eq!(read.len(), expected.len());
    for (read, (event, reaction)) in read.iter().zip(&expected) {
        let message = &event.stored.message;
        assert_eq!((&read["seq"], &read["version"]), (&message.seq.get().into(), &message.version.into()));
        match reaction {
            Some(change) => {
                let told = (read["emoji"].as_str(), read["user_id"].as_str(), read["count"].as_u64());
                let count = u64::try_from(change.count).expect("a number");
                assert_eq!(told, (Some(change.emoji.as_str()), Some(change.user_id.as_str()), Some(count)));
                assert_eq!(read.get("message"), None);
            }
            None => assert_eq!(read["message"], serde_json::to_value(message).expect("JSON")),
        }
        let traceparent = event.stored.trace.as_ref().map(|trace| trace.traceparent.as_str());
        assert_eq!(read.get("traceparent").and_then(Value::as_str), traceparent);
    }
    let typing =
        ephemeral_frame(&channel, &EphemeralEvent::Typing("u".repeat(128).parse().expect("an id"))).expect("a frame");
    assert!(typing.len() <= FRAME_BYTES);
}
