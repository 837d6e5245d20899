//! Counts of posts: by the second, and by the kind of their frame.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Counts of posts from a time on.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    counts: Mutex<Counts>,
}

/// Counted posts.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// By the second since the beginning.
    seconds: Vec<usize>,
    /// By the `type` of the frame.
    pub(super) kinds: BTreeMap<String, usize>,
    /// Sockets that got a message that replies to another.
    answered: HashSet<String>,
    /// Time of the last post.
    pub(super) last: Option<Instant>,
}

impl Counts {
    /// Counts a post that came in this second since the beginning.
    fn add(&mut self, second: usize, connection: &str, frame: &str) {
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, 0);
        }
        self.seconds[second] += 1;
        let kind = kind(frame);
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => _ = self.kinds.insert(kind.to_owned(), 1),
        }
        if is_answer(kind, frame) {
            self.answered.insert(connection.to_owned());
        }
    }

    pub(super) fn posts(&self) -> usize {
        self.seconds.iter().sum()
    }

    /// Returns the maximum number of posts in one second.
    pub(super) fn posts_in_a_second(&self) -> usize {
        self.seconds.iter().copied().max().unwrap_or_default()
    }

    /// Returns the number of sockets that got a message that replies to another.
    pub(super) fn answered(&self) -> usize {
        self.answered.len()
    }
}

impl Tally {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, counts: Mutex::default() }
    }

    /// Counts a post to a connection.
    pub(super) fn count(&self, connection: &str, frame: &str) {
        let now = Instant::now();
        let second = usize::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or_default();
        let mut counts = self.counts();
        counts.add(second, connection, frame);
        counts.last = Some(now);
    }

    /// Returns the counts, locked.
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was counted.
    pub(super) fn forget(&self) {
        *self.counts() = Counts::default();
    }
}

/// Returns the `type` of a frame, without parsing its JSON: it is the first field.
fn kind(frame: &str) -> &str {
    let rest = frame.split_once(r#""type":""#).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once('"')).map_or("other", |(kind, _)| kind)
}

/// Returns whether a frame of this kind has a message that replies to another. A quote in a text is escaped in JSON.
fn is_answer(kind: &str, frame: &str) -> bool {
    kind == "events" && frame.contains(r#""reply_to":"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"{"type":"events","channel_id":"c","events":[{"type":"message.created","message":{}}]}"#;
    const ANSWER: &str =
        r#"{"type":"events","channel_id":"c","events":[{"type":"message.created","message":{"reply_to":1}}]}"#;
    const DRAFT: &str = r#"{"type":"message.delta","channel_id":"c","reply_to":1,"text":"yes"}"#;

    #[test]
    fn a_frame_counts_by_its_own_kind_and_not_by_that_of_its_events() {
        assert_eq!([EVENTS, ANSWER, DRAFT].map(kind), ["events", "events", "message.delta"]);
        assert_eq!(kind("pong"), "other");
    }

    #[test]
    fn the_fullest_second_and_the_answered_sockets_are_counted() {
        let mut counts = Counts::default();
        for (second, connection, frame) in [
            (0, "a=", EVENTS),
            (3, "a=", DRAFT),
            (3, "b=", DRAFT),
            (4, "a=", ANSWER),
            // A push may be repeated.
            (5, "a=", ANSWER),
        ] {
            counts.add(second, connection, frame);
        }
        assert_eq!((counts.posts(), counts.posts_in_a_second(), counts.answered()), (5, 2, 1));
        let kinds = [("events".to_owned(), 3), ("message.delta".to_owned(), 2)];
        assert_eq!(counts.kinds, BTreeMap::from(kinds));
    }

    #[test]
    fn a_text_that_looks_like_a_reply_is_none() {
        let quoted = serde_json::json!({ "type": "events", "text": r#""reply_to":1"# }).to_string();
        assert!(!is_answer("events", &quoted), "{quoted}");
        assert!(!is_answer("message.delta", DRAFT));
        assert!(is_answer("events", ANSWER));
    }
}
