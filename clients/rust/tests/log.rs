//! Laws of a log: whatever frames are lost, doubled or swapped, the requests that it needs make it complete.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_client::{ChannelLog, Frame, Need};

/// One change of the channel.
#[derive(Debug, Clone)]
enum Step {
    Send,
    Edit(usize),
    Add(usize, u8),
    Remove(usize, u8),
}

/// How a frame reaches the client.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    IsLost,
    Comes { later: usize, times: usize },
}

#[derive(Debug, Clone)]
struct Stored {
    version: u64,
    rev: u64,
    content: String,
    users: Vec<String>,
}

/// A channel as the server has it.
#[derive(Debug, Default)]
struct Server {
    messages: Vec<Stored>,
    rev: u64,
}

impl Server {
    fn message(&self, index: usize) -> Value {
        let stored = &self.messages[index];
        let mut message = json!({
            "channel_id": "general", "seq": index + 1, "message_id": format!("id-{index}"), "version": stored.version,
            "sender_id": "bob", "role": "user", "content": stored.content, "content_type": "text/plain",
            "created_at": "2026-05-01T12:00:00.000Z",
        });
        if !stored.users.is_empty() {
            message["reactions"] = json!([{ "emoji": "👍", "count": stored.users.len(), "user_ids": stored.users }]);
        }
        message
    }

    /// Makes a change. Returns its event, unless it changes nothing.
    fn make(&mut self, step: &Step) -> Option<Value> {
        let index = match step {
            Step::Send => {
                self.messages.push(Stored { version: 1, rev: 0, content: "hi".to_owned(), users: Vec::new() });
                let index = self.messages.len() - 1;
                let message = self.message(index);
                return Some(json!({ "type": "message.created", "seq": index + 1, "version": 1, "message": message }));
            }
            Step::Edit(index) | Step::Add(index, _) | Step::Remove(index, _) => {
                index.checked_rem(self.messages.len())?
            }
        };
        let stored = &mut self.messages[index];
        let user = |user: &u8| format!("user-{user}");
        let mut event = match step {
            Step::Add(_, by) if !stored.users.contains(&user(by)) => {
                stored.users.push(user(by));
                json!({ "type": "reaction.added", "user_id": user(by) })
            }
            Step::Remove(_, by) if stored.users.contains(&user(by)) => {
                stored.users.retain(|one| *one != user(by));
                json!({ "type": "reaction.removed", "user_id": user(by) })
            }
            Step::Edit(_) => {
                stored.content.push('!');
                json!({ "type": "message.updated" })
            }
            _ => return None,
        };
        self.rev += 1;
        stored.version += 1;
        stored.rev = self.rev;
        let count = stored.users.len();
        for (name, value) in [("seq", json!(index + 1)), ("version", json!(stored.version)), ("rev", json!(self.rev))] {
            event[name] = value;
        }
        if event["type"] == "message.updated" {
            event["message"] = self.message(index);
        } else {
            event["emoji"] = json!("👍");
            event["count"] = json!(count);
        }
        Some(event)
    }

    fn page(&self, after: u64, limit: usize) -> Value {
        let start = usize::try_from(after).unwrap();
        let messages: Vec<Value> = (start..self.messages.len()).take(limit).map(|index| self.message(index)).collect();
        json!({ "messages": messages, "has_more": start + limit < self.messages.len(), "rev": self.rev })
    }

    fn newest(&self, limit: usize) -> Value {
        let messages: Vec<Value> =
            (0..self.messages.len()).rev().take(limit).map(|index| self.message(index)).collect();
        json!({ "messages": messages, "has_more": limit < self.messages.len(), "rev": self.rev })
    }

    fn changes(&self, after: u64, limit: usize) -> Value {
        let mut changed: Vec<usize> =
            (0..self.messages.len()).filter(|index| self.messages[*index].rev > after).collect();
        changed.sort_by_key(|index| self.messages[*index].rev);
        let changes: Vec<Value> = changed
            .iter()
            .take(limit)
            .map(|index| json!({ "rev": self.messages[*index].rev, "message": self.message(*index) }))
            .collect();
        let has_more = changed.len() > limit;
        let last = changes.last().map(|change| change["rev"].clone());
        let next = last.filter(|_| has_more).map(|after| json!({ "after": after }));
        json!({ "changes": changes, "has_more": has_more, "next": next, "rev": self.rev })
    }
}

/// Sends the requests that a log needs, with small pages. Returns their number.
fn heal(log: &mut ChannelLog, server: &Server) -> usize {
    let mut from = None;
    for requests in 0..1_000 {
        log.ask();
        match log.need() {
            Need::Nothing => return requests,
            Need::Reload => log.take_newest(serde_json::from_value(server.newest(2)).unwrap()),
            Need::MessagesAfter(seq) => log.take_page(serde_json::from_value(server.page(seq, 2)).unwrap()),
            Need::ChangesAfter(rev) => {
                let page = server.changes(from.unwrap_or(rev), 2);
                from = log.take_changes(serde_json::from_value(page).unwrap());
            }
        }
    }
    panic!("a log needs ever more: {:?}", log.need());
}

/// Checks that each held message is the stored one, and that none is missing after the first.
fn is_complete(log: &ChannelLog, server: &Server) {
    let first = usize::try_from(log.first().unwrap_or(1)).unwrap() - 1;
    let held: Vec<_> = log.messages().collect();
    assert_eq!(held.len(), server.messages.len() - first.min(server.messages.len()));
    for (message, stored) in held.into_iter().zip(&server.messages[first.min(server.messages.len())..]) {
        let mut users = message.reactions.first().map(|one| one.user_ids.clone()).unwrap_or_default();
        users.sort();
        let mut expected = stored.users.clone();
        expected.sort();
        assert_eq!((message.version, &message.content, users), (stored.version, &stored.content, expected));
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Send),
        2 => any::<usize>().prop_map(Step::Edit),
        2 => (any::<usize>(), 0..3_u8).prop_map(|(index, user)| Step::Add(index, user)),
        1 => (any::<usize>(), 0..3_u8).prop_map(|(index, user)| Step::Remove(index, user)),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Arrives),
        1 => Just(Fate::IsLost),
        2 => (0..6_usize, 1..3_usize).prop_map(|(later, times)| Fate::Comes { later, times }),
    ]
}

fn take(log: &mut ChannelLog, event: &Value) {
    let frame = json!({ "type": "events", "channel_id": "general", "events": [event] });
    log.take_frame(Frame::parse(&frame.to_string()).unwrap());
}

proptest! {
    #[test]
    fn frames_in_any_order_and_requests_make_a_log_complete(
        before in 0..6_usize,
        steps in prop::collection::vec((step(), fate(), any::<bool>()), 0..40),
    ) {
        let (mut server, mut log) = (Server::default(), ChannelLog::new("user-1"));
        for _ in 0..before {
            server.make(&Step::Send);
        }
        let mut late: Vec<(usize, Value)> = Vec::new();
        for (number, (step, fate, heals)) in steps.iter().enumerate() {
            let event = server.make(step);
            match (event, *fate) {
                (Some(event), Fate::Arrives) => take(&mut log, &event),
                (Some(event), Fate::Comes { later, times }) => {
                    late.extend((1..=times).map(|time| (number + later * time, event.clone())));
                }
                _ => {}
            }
            for (_, event) in late.extract_if(.., |(at, _)| *at <= number) {
                take(&mut log, &event);
            }
            if *heals {
                heal(&mut log, &server);
            }
        }
        for (_, event) in &late {
            take(&mut log, event);
        }
        // A socket was opened: the newest messages and changes are read.
        heal(&mut log, &server);
        log.ask();
        log.take_page(serde_json::from_value(server.page(log.settled(), 100)).unwrap());
        heal(&mut log, &server);
        is_complete(&log, &server);
        prop_assert_eq!(log.settled(), u64::try_from(server.messages.len()).unwrap());
    }

    #[test]
    fn a_draft_has_only_text_that_was_written(text in "[a-zß-ü👍]{0,30}", cuts in prop::collection::vec((0..31_usize, 0..31_usize), 0..12)) {
        let characters: Vec<char> = text.chars().collect();
        let mut log = ChannelLog::new("alice");
        for (one, other) in cuts {
            let (start, end) = (one.min(other).min(characters.len()), one.max(other).min(characters.len()));
            let piece: String = characters[start..end].iter().collect();
            let frame = json!({
                "type": "message.delta", "channel_id": "general", "draft_id": "d", "reply_to": 1, "status": "writing",
                "position": start, "text": piece,
            });
            log.take_frame(Frame::parse(&frame.to_string()).unwrap());
            let (_, draft) = log.drafts().next().unwrap();
            prop_assert!(text.starts_with(draft.text()), "{:?} of {:?}", draft.text(), text);
            prop_assert_eq!(draft.is_behind(), log.unread_reply().is_some());
        }
    }
}
