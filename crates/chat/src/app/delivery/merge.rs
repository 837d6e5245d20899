//! Changes of one message that become one event.

use crate::model::{
    limits::USERS_LISTED_PER_REACTION,
    message::{Change, Message, MessageEvent},
};

/// Merges adjacent events of one message with consecutive numbers into the later one, if that has the whole message. The
/// merged event covers the numbers of both.
pub(super) fn merged(events: &[MessageEvent]) -> Vec<MessageEvent> {
    let mut merged: Vec<MessageEvent> = Vec::with_capacity(events.len());
    for event in events {
        let mut event = event.clone();
        while let Some(earlier) = merged.pop_if(|earlier| is_replaced(earlier, &event)) {
            event.rev_from = earlier.rev_from;
        }
        merged.push(event);
    }
    merged
}

/// Returns whether a client that gets only the later event has the same state as one that gets both. A new message has
/// no number, so its event is never merged.
fn is_replaced(earlier: &MessageEvent, later: &MessageEvent) -> bool {
    earlier.change != Change::Created
        && matches!(later.change, Change::Updated | Change::Deleted)
        && earlier.stored.channel() == later.stored.channel()
        && earlier.stored.message.seq == later.stored.message.seq
        && earlier.stored.rev.next() == later.rev_from
        && names_all_reactors(&later.stored.message)
}

/// Returns whether the frame of a message names all users that react to it. If it does not, a client knows only by each
/// single event whether its user is among them.
fn names_all_reactors(message: &Message) -> bool {
    message.reactions.values().all(|users| users.len() <= USERS_LISTED_PER_REACTION)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        model::{id::UserId, reaction::Reactions, rev::Rev},
        testing::{created, stored_message},
    };

    fn event(change: Change, seq: u64, rev: u64) -> MessageEvent {
        let mut stored = stored_message("c", seq, &format!("change {rev}"));
        stored.rev = Rev::new(rev);
        stored.message.version = 1 + rev;
        MessageEvent::of(change, stored)
    }

    fn reacted(seq: u64, rev: u64) -> MessageEvent {
        event(Change::Reacted(Vec::new()), seq, rev)
    }

    fn updated(seq: u64, rev: u64) -> MessageEvent {
        event(Change::Updated, seq, rev)
    }

    fn deleted(seq: u64, rev: u64) -> MessageEvent {
        event(Change::Deleted, seq, rev)
    }

    fn covering(event: MessageEvent, rev_from: u64) -> MessageEvent {
        MessageEvent { rev_from: Rev::new(rev_from), ..event }
    }

    #[test]
    fn changes_of_one_message_become_its_last_event() {
        for (what, events, wanted) in [
            ("no events", vec![], vec![]),
            ("two edits", vec![updated(1, 4), updated(1, 5)], vec![covering(updated(1, 5), 4)]),
            (
                "all kinds",
                vec![reacted(1, 4), updated(1, 5), reacted(1, 6), deleted(1, 7)],
                vec![covering(deleted(1, 7), 4)],
            ),
            ("a reaction has no message", vec![updated(1, 4), reacted(1, 5)], vec![updated(1, 4), reacted(1, 5)]),
            ("reactions stay apart", vec![reacted(1, 4), reacted(1, 5)], vec![reacted(1, 4), reacted(1, 5)]),
            ("a new message", vec![created("c", 1, "hi"), updated(1, 1)], vec![created("c", 1, "hi"), updated(1, 1)]),
            ("two messages", vec![updated(1, 4), updated(2, 5)], vec![updated(1, 4), updated(2, 5)]),
            (
                "another message between",
                vec![updated(1, 4), updated(2, 5), updated(1, 6)],
                vec![updated(1, 4), updated(2, 5), updated(1, 6)],
            ),
            ("a missing number", vec![updated(1, 4), updated(1, 6)], vec![updated(1, 4), updated(1, 6)]),
            ("an event twice", vec![updated(1, 4), updated(1, 4)], vec![updated(1, 4), updated(1, 4)]),
            (
                "what was merged before",
                vec![covering(updated(1, 4), 2), covering(deleted(1, 7), 5)],
                vec![covering(deleted(1, 7), 2)],
            ),
        ] {
            assert_eq!(merged(&events), wanted, "{what}");
        }
    }

    #[test]
    fn an_event_that_does_not_name_all_reactors_replaces_no_other() {
        for (change, count, is_merged) in [
            (Change::Updated, USERS_LISTED_PER_REACTION, true),
            (Change::Updated, USERS_LISTED_PER_REACTION + 1, false),
            (Change::Deleted, 0, true),
        ] {
            let users: BTreeSet<UserId> = (0..count).map(|number| format!("u{number}").parse().unwrap()).collect();
            let mut later = event(change, 1, 5);
            later.stored.message.reactions = Reactions::from([("👍".parse().unwrap(), users)]);
            for earlier in [reacted(1, 4), updated(1, 4)] {
                let events = [earlier, later.clone()];
                let wanted = if is_merged { vec![covering(later.clone(), 4)] } else { events.to_vec() };
                assert_eq!(merged(&events), wanted, "{count} users");
            }
        }
    }

    #[test]
    fn merged_events_cover_the_same_numbers() {
        let kinds = [reacted, updated, deleted];
        for choice in 0..3_usize.pow(5) {
            let kind = |place: u32| kinds[choice / 3_usize.pow(place) % 3];
            let events: Vec<MessageEvent> = (1..=5_u32).map(|rev| kind(rev - 1)(1, u64::from(rev))).collect();
            let merged = merged(&events);
            let mut known = Rev::ZERO;
            for event in &merged {
                assert_eq!(event.rev_from, known.next(), "without a gap and without a double: {merged:?}");
                known = event.stored.rev;
            }
            assert_eq!(known, Rev::new(5));
            assert_eq!(merged.last().map(|event| &event.stored), events.last().map(|event| &event.stored));
        }
    }
}
