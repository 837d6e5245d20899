//! Messages of this client that are not stored yet, in the order of their sending.

use crate::{NewMessage, Problem, chance::Chance};

/// State of a message that is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is sent after the messages before it.
    Waiting,
    /// A request for it is in flight.
    Sending,
    /// The server refused it. It stays until it is retried or discarded.
    Refused(Problem),
}

/// A message that is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key of all its requests (`Idempotency-Key`), so that it is stored once.
    pub key: String,
    /// The message.
    pub message: NewMessage,
    /// Its state.
    pub progress: Progress,
}

/// The messages of one channel that are not stored yet. One request is in flight at a time, so the order stays.
#[derive(Debug, Default)]
pub struct Outbox {
    entries: Vec<Entry>,
    attempt: u32,
    /// Time before which no request is sent.
    not_before: u64,
}

impl Outbox {
    /// Returns the entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds a message. An entry of the same key stays as it is.
    pub fn add(&mut self, key: String, message: NewMessage) {
        if self.entries.iter().all(|entry| entry.key != key) {
            self.entries.push(Entry { key, message, progress: Progress::Waiting });
        }
    }

    /// Returns the time of the next request. `None` while one is in flight, or if nothing waits.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let is_sending = self.entries.iter().any(|entry| entry.progress == Progress::Sending);
        let waits = self.entries.iter().any(|entry| entry.progress == Progress::Waiting);
        (waits && !is_sending).then_some(self.not_before)
    }

    /// Takes the entry to send now.
    pub fn send(&mut self) -> Option<&Entry> {
        let entry = self.entries.iter_mut().find(|entry| entry.progress == Progress::Waiting)?;
        entry.progress = Progress::Sending;
        Some(entry)
    }

    /// Drops an entry: its message is stored, or its user discards it. Returns whether there was one.
    pub fn settle(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        let was_sending = self.entries.iter().any(|entry| entry.key == key && entry.progress == Progress::Sending);
        self.entries.retain(|entry| entry.key != key);
        // A time that the server has named stays.
        if was_sending {
            self.attempt = 0;
        }
        self.entries.len() < before
    }

    /// Notes that a request had no usable response. The same request is repeated after a wait of at least `at_least`. An
    /// entry that is settled meanwhile is not sent again, and a time that the server has named stays.
    pub fn failed(&mut self, key: &str, at_least: u64, now: u64, chance: &mut Chance) {
        let mut wait = at_least;
        if self.set(key, Progress::Waiting) {
            wait = chance.wait(self.attempt).max(at_least);
            self.attempt = self.attempt.saturating_add(1);
        }
        self.not_before = self.not_before.max(now.saturating_add(wait));
    }

    /// Sends an entry again as soon as possible: its token was not accepted.
    pub fn repeat(&mut self, key: &str) {
        self.set(key, Progress::Waiting);
    }

    /// Sends a refused entry again. Another one is sent anyway.
    pub fn retry(&mut self, key: &str) {
        if self.entries.iter().any(|entry| entry.key == key && matches!(entry.progress, Progress::Refused(_))) {
            self.repeat(key);
        }
    }

    /// Notes that the server refused a message. Later ones are sent.
    pub fn refused(&mut self, key: &str, problem: Problem) {
        self.set(key, Progress::Refused(problem));
        self.attempt = 0;
    }

    /// Sets the state of an entry. Returns whether there is one.
    fn set(&mut self, key: &str, progress: Progress) -> bool {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key);
        entry.map(|entry| entry.progress = progress).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_and_the_key_is_kept() {
        let (mut outbox, mut chance) = (Outbox::default(), Chance::new(1));
        outbox.add("a".to_owned(), "one".into());
        outbox.add("b".to_owned(), "two".into());
        outbox.add("a".to_owned(), "one again".into());
        assert_eq!(outbox.send().map(|entry| entry.key.as_str()), Some("a"));
        assert_eq!(outbox.due(), None, "one request at a time");
        outbox.failed("a", 4_000, 10, &mut chance);
        assert_eq!(outbox.due(), Some(4_010));
        assert_eq!(outbox.send().map(|entry| entry.key.as_str()), Some("a"));
        let problem = Problem { status: 403, code: "missing_scope".to_owned(), ..Problem::default() };
        outbox.refused("a", problem);
        assert_eq!(outbox.send().map(|entry| entry.key.as_str()), Some("b"));
        assert!(outbox.settle("b") && !outbox.settle("b"));
        assert_eq!(outbox.due(), None, "a refused message waits for its user");
        outbox.retry("a");
        assert_eq!(outbox.send().map(|entry| entry.message.content.as_str()), Some("one"));
        outbox.retry("a");
        assert_eq!((outbox.due(), outbox.send()), (None, None), "its request is in flight");
    }

    #[test]
    fn a_time_that_the_server_has_named_stays_after_the_message_is_stored() {
        let (mut outbox, mut chance) = (Outbox::default(), Chance::new(1));
        outbox.add("a".to_owned(), "one".into());
        outbox.add("b".to_owned(), "two".into());
        outbox.add("c".to_owned(), "three".into());
        outbox.send();
        // The frame of the message comes before the response to its repetition.
        outbox.settle("a");
        outbox.send();
        outbox.failed("a", 4_000, 10, &mut chance);
        assert!(outbox.settle("b"));
        assert_eq!(outbox.due(), Some(4_010));
        // The first request gets no response at all.
        outbox.failed("a", 0, 20, &mut chance);
        assert_eq!(outbox.due(), Some(4_010));
    }
}
