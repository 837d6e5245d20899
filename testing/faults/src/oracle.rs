//! Invariants after the faults: of the tables, the senders' responses, the subscribers' messages, and the queues.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use replay::{Clients, InvocationRecord, Options, Records, ReplayOutcome, Report, fetch, replay};
use switchboard_client::Message;

use crate::{
    held::{Reactions, Shown},
    ledger::{Accepted, Unconfirmed, digest},
    poison,
    subscriber::Handle,
};

/// A message as stored in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) message_id: String,
    pub(crate) sender: String,
    pub(crate) role: String,
    pub(crate) reply_to: Option<u64>,
    pub(crate) content: u64,
    pub(crate) version: u64,
    /// Number of the last change; 0 if the message was never changed.
    pub(crate) rev: u64,
    pub(crate) is_deleted: bool,
    pub(crate) reactions: Reactions,
}

impl Stored {
    /// Returns the message as a client shows it.
    pub(crate) fn shown(&self) -> Shown {
        Shown {
            message_id: self.message_id.clone(),
            version: self.version,
            content: self.content,
            is_deleted: self.is_deleted,
            reactions: self.reactions.clone(),
        }
    }
}

/// Returns the key of the current channel with an id, as in the tables.
pub(crate) async fn channel_key(tables: &Client, channel: &str) -> Result<String, String> {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let meta = tables.get_item().table_name("chat_channels").key("channel_id", text(channel)).key("sk", text("meta"));
    let meta = meta.consistent_read(true).send().await.map_err(|error| format!("the table cannot be read: {error}"))?;
    let incarnation = meta.item.as_ref().and_then(|meta| meta.get("incarnation")?.as_s().ok());
    Ok(format!("{channel}@{}", incarnation.ok_or_else(|| format!("there is no channel {channel}"))?))
}

/// Returns all messages of a channel, in the order of their numbers.
pub(crate) async fn stored(tables: &Client, channel: &str) -> Result<Vec<Stored>, String> {
    let key = channel_key(tables, channel).await?;
    let mut pages = tables
        .query()
        .table_name(poison::TABLE)
        .key_condition_expression("channel_id = :channel")
        .expression_attribute_values(":channel", AttributeValue::S(key))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut all = Vec::new();
    while let Some(item) = pages.next().await {
        let item = item.map_err(|error| format!("the table cannot be read: {error}"))?;
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
        let reactions = item.get("reactions").and_then(|value| value.as_m().ok()).into_iter().flatten();
        let users = |users: &AttributeValue| users.as_ss().ok().into_iter().flatten().cloned().collect();
        all.push(Stored {
            seq: number("seq").unwrap_or_default(),
            message_id: text("message_id"),
            sender: text("sender_id"),
            role: text("role"),
            reply_to: number("reply_to"),
            content: digest(&text("content")),
            version: number("version").unwrap_or_default(),
            rev: number("rev").unwrap_or_default(),
            is_deleted: item.contains_key("deleted_at"),
            reactions: reactions.map(|(emoji, value)| (emoji.clone(), users(value))).collect(),
        });
    }
    Ok(all)
}

/// Checks a history: it is numbered 1, 2, 3 … without a gap. Accepted messages have the `seq` of their response. Each
/// sender's messages are stored once and in the order of sending. Other messages are unconfirmed ones.
pub(crate) fn history(
    channel: &str,
    stored: &[Stored],
    accepted: &[Accepted],
    left_open: &[Unconfirmed],
) -> Vec<String> {
    let mut found = Vec::new();
    for (message, wanted) in stored.iter().zip(1..) {
        if message.seq != wanted {
            found.push(format!("message {wanted} of {channel} has the number {}", message.seq));
            break;
        }
    }
    let by_seq: BTreeMap<u64, &Stored> = stored.iter().map(|message| (message.seq, message)).collect();
    let mut last: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let of_channel: Vec<&Accepted> = accepted.iter().filter(|one| one.channel == channel).collect();
    for one in &of_channel {
        let there = by_seq.get(&one.seq).is_some_and(|message| {
            message.message_id == one.message_id && message.sender == one.sender && message.content == one.content
        });
        if !there {
            let Accepted { sender, number, seq, .. } = one;
            found.push(format!("message {number} of {sender} was accepted as {seq} of {channel}, and is not stored"));
        }
        // A sender records its messages in order.
        let previous = last.insert(&one.sender, (one.number, one.seq));
        if previous.is_some_and(|(number, seq)| one.number <= number || one.seq <= seq) {
            found.push(format!("messages of {} to {channel} are out of order at {}", one.sender, one.seq));
        }
    }
    let mut contents = BTreeSet::new();
    for message in stored.iter().filter(|message| message.role == "user") {
        if !contents.insert((&message.sender, message.content)) {
            found.push(format!("{channel} has a message of {} twice: {}", message.sender, message.seq));
        }
    }
    // No other message was sent.
    let left_open =
        left_open.iter().filter(|one| one.channel == channel).map(|one| (&one.sender, one.content)).collect();
    let certain = contents.difference(&left_open).count();
    if certain != of_channel.len() {
        found.push(format!("{channel} has {certain} messages of users; {} were accepted", of_channel.len()));
    }
    found
}

/// Checks that each user message has one reply, and that each reply belongs to a message.
pub(crate) fn replies(channel: &str, stored: &[Stored]) -> Vec<String> {
    let mut replies: BTreeMap<u64, u32> = BTreeMap::new();
    for reply in stored.iter().filter(|message| message.role != "user") {
        *replies.entry(reply.reply_to.unwrap_or_default()).or_default() += 1;
    }
    let mut found = Vec::new();
    for question in stored.iter().filter(|message| message.role == "user") {
        let count = replies.remove(&question.seq).unwrap_or_default();
        if count != 1 {
            found.push(format!("message {} of {channel} has {count} replies", question.seq));
        }
    }
    if !replies.is_empty() {
        found.push(format!("{channel} has replies to nothing: {replies:?}"));
    }
    found
}

/// Checks that a subscriber shows exactly the history, changes included. `newest` is the number of the newest change.
pub(crate) fn shows(subscriber: &Handle, channel: &str, stored: &[Stored], newest: u64) -> Option<String> {
    let (shown, known) = subscriber.read(channel, |log| (log.messages().map(held).collect::<Vec<_>>(), log.known()));
    let wanted = || stored.iter().map(|message| (message.seq, message.shown()));
    if shown.iter().cloned().eq(wanted()) && known == Some(newest) {
        return None;
    }
    let at = shown.iter().zip(wanted()).find(|(shown, stored)| *shown != stored).map(|((seq, _), _)| seq);
    let differs = at.map_or_else(String::new, |seq| format!("; they differ from {seq} on"));
    Some(format!(
        "{} shows {} of the {} messages of {channel} and knows {known:?} of {newest} changes{differs}",
        subscriber.name,
        shown.len(),
        stored.len()
    ))
}

/// Returns the number of a held message, and what is compared of it.
fn held(message: &Message) -> (u64, Shown) {
    (message.seq, Shown::of(message))
}

/// Result of replaying a queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Number of messages that were replayed successfully.
    pub(crate) replayed: usize,
    /// Channels of the records that failed again.
    pub(crate) failing: BTreeSet<String>,
    /// Unexpected entries.
    pub(crate) violations: Vec<String>,
}

/// Replays a queue. Only poisoned records may fail again.
pub(crate) async fn queue(clients: &Clients, name: &str, url: &str) -> Result<Queue, String> {
    let mut reports = Vec::new();
    let summary = replay(clients, url, Options::default(), |report| reports.push(report.clone()))
        .await
        .map_err(|error| format!("{name}: {error}"))?;
    let mut queue = Queue { replayed: summary.replayed, ..Queue::default() };
    for Report { letter, outcome, .. } in reports {
        match (&letter, outcome) {
            (_, ReplayOutcome::Replayed { .. }) => {}
            (Some(InvocationRecord::Stream { function, batch }), ReplayOutcome::Failed { failures, .. }) => {
                let records = fetch(clients, function, batch).await.map_err(|error| format!("{name}: {error}"))?;
                let Records::Found { events, .. } = records else { continue };
                for (number, reason) in failures {
                    let event = events.iter().find(|event| event["dynamodb"]["SequenceNumber"] == number.as_str());
                    let channel = event.and_then(|event| event["dynamodb"]["Keys"]["channel_id"]["S"].as_str());
                    match channel.filter(|channel| channel.starts_with(poison::PREFIX)) {
                        Some(channel) => drop(queue.failing.insert(channel.to_owned())),
                        None => queue.violations.push(format!("{name}: record {number} fails again: {reason}")),
                    }
                }
            }
            (letter, outcome) => queue.violations.push(format!("{name}: {letter:?}: {outcome:?}")),
        }
    }
    Ok(queue)
}

/// Checks that each poisoned record is in a queue.
pub(crate) fn poisoned(name: &str, queue: &Queue, poisoned: u64) -> Vec<String> {
    let missing = (0..poisoned).map(poison::channel).filter(|channel| !queue.failing.contains(channel));
    missing.map(|channel| format!("the record of {channel} is not in {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, sender: &str, text: &str) -> Stored {
        Stored {
            seq,
            message_id: format!("id-{seq}"),
            sender: sender.to_owned(),
            role: "user".to_owned(),
            reply_to: None,
            content: digest(text),
            version: 1,
            rev: 0,
            is_deleted: false,
            reactions: Reactions::new(),
        }
    }

    fn accepted(number: u64, of: &Stored) -> Accepted {
        Accepted {
            channel: "c".to_owned(),
            sender: of.sender.clone(),
            number,
            seq: of.seq,
            message_id: of.message_id.clone(),
            content: of.content,
        }
    }

    #[test]
    fn a_good_history_and_bad_ones() {
        let all = [message(1, "a", "one"), message(2, "b", "two"), message(3, "a", "three")];
        let notes = [accepted(0, &all[0]), accepted(0, &all[1]), accepted(1, &all[2])];
        let history =
            |channel: &str, stored: &[Stored], accepted: &[Accepted]| super::history(channel, stored, accepted, &[]);
        assert_eq!(history("c", &all, &notes), Vec::<String>::new());

        assert_eq!(history("c", &[all[0].clone(), all[2].clone()], &notes).len(), 3, "lost, a gap, and one too few");
        let twice = [all[0].clone(), all[1].clone(), all[2].clone(), message(4, "b", "two")];
        assert_eq!(history("c", &twice, &notes).len(), 1, "twice");
        let swapped = [accepted(1, &all[0]), accepted(0, &all[1]), accepted(0, &all[2])];
        assert_eq!(history("c", &all, &swapped).len(), 1, "out of order");
        assert_eq!(history("c", &all, &notes[..2]).len(), 1, "one that no sender sent");
        let other = [accepted(0, &all[0]), accepted(0, &all[1]), accepted(1, &message(3, "a", "another"))];
        assert_eq!(history("c", &all, &other).len(), 1, "another content");
    }

    #[test]
    fn what_was_left_open_may_be_there_once() {
        let all = [message(1, "a", "one"), message(2, "b", "two")];
        let notes = [accepted(0, &all[0])];
        let open = |sender: &str, text: &str| {
            let (channel, sender) = ("c".to_owned(), sender.to_owned());
            [Unconfirmed { channel, sender, content: digest(text) }]
        };
        let two = open("b", "two");
        assert_eq!(history("c", &all, &notes, &two), Vec::<String>::new());
        assert_eq!(history("c", &all[..1], &notes, &two), Vec::<String>::new());
        let twice = [all[0].clone(), all[1].clone(), message(3, "b", "two")];
        assert_eq!(history("c", &twice, &notes, &two).len(), 1, "twice");
        assert_eq!(history("c", &all, &notes, &open("a", "two")).len(), 1, "of another sender");
        assert_eq!(history("c", &all[1..], &notes, &two).len(), 3, "a gap, one lost, and one too few");
    }

    #[test]
    fn one_reply_to_each_question() {
        let reply = |seq, to| Stored { role: "agent".to_owned(), reply_to: Some(to), ..message(seq, "agent", "r") };
        let question = message(1, "a", "q");
        assert!(replies("c", &[question.clone(), reply(2, 1)]).is_empty());
        assert_eq!(replies("c", std::slice::from_ref(&question)).len(), 1);
        assert_eq!(replies("c", &[question.clone(), reply(2, 1), reply(3, 1)]).len(), 1);
        assert_eq!(replies("c", &[question, reply(2, 1), reply(3, 9)]).len(), 1);
    }
}
