//! Invariants of the changes of messages: every accepted change is there, and each number once.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{Client, types::AttributeValue};

use crate::{
    changer::THUMB,
    ledger::{Accepted, Changed, Kind, digest},
    oracle::{Stored, channel_key},
};

/// Table of the numbers and the records.
const TABLE: &str = "chat_channels";

/// Numbers of a channel's changes, as stored in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Number of the newest change.
    pub(crate) newest: u64,
    /// `rev` and `seq` of each record, in order.
    pub(crate) records: Vec<(u64, u64)>,
}

/// Returns the numbers of a channel's changes.
pub(crate) async fn numbers(tables: &Client, channel: &str) -> Result<Numbers, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the table cannot be read: {error}");
    let s = |text: &str| AttributeValue::S(text.to_owned());
    let last = tables.get_item().table_name(TABLE).key("channel_id", s(&format!("changes#{channel}")));
    let last = last.key("sk", s("last")).consistent_read(true).send().await.map_err(|error| failed(&error))?;
    let newest = last.item.and_then(|item| item.get("rev")?.as_n().ok()?.parse().ok()).unwrap_or_default();
    let key = channel_key(tables, channel).await?;
    let mut pages = tables
        .query()
        .table_name(TABLE)
        .key_condition_expression("channel_id = :records")
        .expression_attribute_values(":records", s(&format!("changes#{key}")))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut records = Vec::new();
    while let Some(item) = pages.next().await {
        let item = item.map_err(|error| failed(&error))?;
        let rev = item.get("sk").and_then(|value| value.as_s().ok()?.parse().ok());
        let seq = item.get("seq").and_then(|value| value.as_n().ok()?.parse().ok());
        records.push((rev.unwrap_or_default(), seq.unwrap_or_default()));
    }
    Ok(Numbers { newest, records })
}

/// Checks the numbers of a channel: 1, 2, 3 … without a gap, each of one change. Each version of a message after the first
/// has one.
pub(crate) fn numbered(channel: &str, stored: &[Stored], numbers: &Numbers) -> Vec<String> {
    let mut found = Vec::new();
    if !numbers.records.iter().map(|(rev, _)| *rev).eq(1..=numbers.newest) {
        let count = numbers.records.len();
        found.push(format!("{channel} has {count} records of {} changes, or some out of order", numbers.newest));
    }
    let mut of_messages: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (rev, seq) in &numbers.records {
        of_messages.entry(*seq).or_default().push(*rev);
    }
    for message in stored {
        let revs = of_messages.remove(&message.seq).unwrap_or_default();
        let (count, last) = (revs.len(), revs.last().copied().unwrap_or_default());
        let is_numbered = u64::try_from(count).is_ok_and(|count| message.version == count + 1) && message.rev == last;
        if !is_numbered {
            let Stored { seq, version, rev, .. } = message;
            found
                .push(format!("message {seq} of {channel}, version {version}, change {rev}, has the changes {revs:?}"));
        }
    }
    if !of_messages.is_empty() {
        found.push(format!("{channel} has changes of no messages: {of_messages:?}"));
    }
    found
}

/// Checks that each message of a channel is as the accepted changes left it. Only its author edits or deletes a message,
/// and each user's reaction is that user's own, so that the last change of each is known.
pub(crate) fn applied(channel: &str, stored: &[Stored], accepted: &[Accepted], changed: &[Changed]) -> Vec<String> {
    let mut contents: BTreeMap<u64, u64> =
        accepted.iter().filter(|one| one.channel == channel).map(|one| (one.seq, one.content)).collect();
    let (mut deleted, mut reactions) = (BTreeSet::new(), BTreeMap::<u64, BTreeSet<&str>>::new());
    for Changed { seq, kind, .. } in changed.iter().filter(|one| one.channel == channel) {
        match kind {
            Kind::Edited(content) => drop(contents.insert(*seq, *content)),
            Kind::Deleted => drop(deleted.insert(*seq)),
            Kind::Reacted { user, is_added: true } => drop(reactions.entry(*seq).or_default().insert(user)),
            Kind::Reacted { user, is_added: false } => drop(reactions.entry(*seq).or_default().remove(user.as_str())),
        }
    }
    let mut found = Vec::new();
    for message in stored {
        let seq = message.seq;
        let is_deleted = deleted.contains(&seq);
        let content = if is_deleted { Some(digest("")) } else { contents.get(&seq).copied() };
        let users = if is_deleted { BTreeSet::new() } else { reactions.remove(&seq).unwrap_or_default() };
        let reacted = message.reactions.get(THUMB).into_iter().flatten().map(String::as_str);
        // A message that no sender noted is unconfirmed, or of the agent: no user edits it.
        if message.is_deleted != is_deleted
            || content.is_some_and(|content| content != message.content)
            || !users.into_iter().eq(reacted)
        {
            found.push(format!("message {seq} of {channel} lacks an accepted change, or has another: {message:?}"));
        }
    }
    found
}

/// Returns the messages with their first contents, as their senders noted them.
pub(crate) fn as_sent(channel: &str, stored: &[Stored], accepted: &[Accepted]) -> Vec<Stored> {
    let of_channel = accepted.iter().filter(|one| one.channel == channel);
    let sent: BTreeMap<(u64, &str), u64> =
        of_channel.map(|one| ((one.seq, one.message_id.as_str()), one.content)).collect();
    let as_sent = |message: &Stored| {
        let content = sent.get(&(message.seq, message.message_id.as_str())).copied();
        let content = content.filter(|_| message.version > 1).unwrap_or(message.content);
        Stored { content, ..message.clone() }
    };
    stored.iter().map(as_sent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Reactions;

    fn message(seq: u64, version: u64, rev: u64, text: &str) -> Stored {
        Stored {
            seq,
            message_id: format!("id-{seq}"),
            sender: "a".to_owned(),
            role: "user".to_owned(),
            reply_to: None,
            content: digest(text),
            version,
            rev,
            is_deleted: false,
            reactions: Reactions::new(),
        }
    }

    fn accepted(seq: u64, text: &str) -> Accepted {
        Accepted {
            channel: "c".to_owned(),
            sender: "a".to_owned(),
            number: seq - 1,
            seq,
            message_id: format!("id-{seq}"),
            content: digest(text),
        }
    }

    fn changed(seq: u64, kind: Kind) -> Changed {
        Changed { channel: "c".to_owned(), seq, kind }
    }

    fn reacted(seq: u64, user: &str, is_added: bool) -> Changed {
        changed(seq, Kind::Reacted { user: user.to_owned(), is_added })
    }

    #[test]
    fn each_number_is_of_one_change() {
        let stored = [message(1, 3, 3, "x"), message(2, 2, 2, "y"), message(3, 1, 0, "z")];
        let numbers = |newest: u64, records: &[(u64, u64)]| Numbers { newest, records: records.to_vec() };
        assert_eq!(numbered("c", &stored, &numbers(3, &[(1, 1), (2, 2), (3, 1)])), Vec::<String>::new());
        for (newest, records, violations) in [
            (3, vec![(1, 1), (3, 1)], 2),
            (4, vec![(1, 1), (2, 2), (3, 1)], 1),
            (4, vec![(1, 1), (2, 2), (3, 1), (4, 3)], 1),
            (4, vec![(1, 1), (2, 2), (3, 1), (4, 9)], 1),
            (3, vec![(1, 1), (2, 1), (3, 2)], 2),
        ] {
            let found = numbered("c", &stored, &numbers(newest, &records));
            assert_eq!(found.len(), violations, "{newest} {records:?}: {found:?}");
        }
    }

    #[test]
    fn every_accepted_change_is_there() {
        let (one, mut two) = (message(1, 3, 3, "better"), message(2, 4, 6, ""));
        two.is_deleted = true;
        let mut three = message(3, 3, 8, "three");
        three.reactions.insert(THUMB.to_owned(), ["b".to_owned()].into());
        let all = [one, two, three];
        let sent = [accepted(1, "one"), accepted(2, "two"), accepted(3, "three")];
        let changes = [
            changed(1, Kind::Edited(digest("good"))),
            changed(1, Kind::Edited(digest("better"))),
            changed(2, Kind::Edited(digest("second"))),
            reacted(2, "b", true),
            changed(2, Kind::Deleted),
            reacted(3, "b", true),
            reacted(3, "d", true),
            reacted(3, "d", false),
        ];
        assert_eq!(applied("c", &all, &sent, &changes), Vec::<String>::new());
        for lost in [1, 4, 5, 7] {
            let changes: Vec<_> = (0..changes.len()).filter(|at| *at != lost).map(|at| changes[at].clone()).collect();
            assert_eq!(applied("c", &all, &sent, &changes).len(), 1, "without change {lost}");
        }
        assert_eq!(applied("c", &[message(1, 1, 0, "one")], &sent, &changes).len(), 1, "a lost edit");
        let contents: Vec<u64> = as_sent("c", &all, &sent).iter().map(|message| message.content).collect();
        assert_eq!(contents, ["one", "two", "three"].map(digest));
    }
}
