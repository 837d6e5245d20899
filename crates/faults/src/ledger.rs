//! What everybody notes while the run goes on: what was accepted, what was done to the stack, and what must not be.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A message that its sender was told is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) channel: String,
    pub(crate) sender: String,
    /// The sender's own count, from 0.
    pub(crate) number: u64,
    pub(crate) seq: u64,
    pub(crate) message_id: String,
    pub(crate) content: u64,
}

/// A message without a key that was not accepted, and not sent again: it may be stored, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    pub(crate) channel: String,
    pub(crate) sender: String,
    pub(crate) content: u64,
}

/// Violations that are kept; after them they are only counted.
const KEPT_VIOLATIONS: usize = 50;

/// Notes of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    accepted: Vec<Accepted>,
    left_open: Vec<Unconfirmed>,
    violations: Vec<String>,
    more_violations: u64,
    faults: BTreeMap<&'static str, u64>,
    counts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accept(&self, accepted: Accepted) {
        self.notes().accepted.push(accepted);
    }

    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.notes().accepted.clone()
    }

    pub(crate) fn note_unconfirmed(&self, message: Unconfirmed) {
        self.notes().left_open.push(message);
    }

    pub(crate) fn unconfirmed(&self) -> Vec<Unconfirmed> {
        self.notes().left_open.clone()
    }

    /// Something happened that must not.
    pub(crate) fn violation(&self, what: String) {
        let mut notes = self.notes();
        if notes.violations.len() < KEPT_VIOLATIONS {
            notes.violations.push(what);
        } else {
            notes.more_violations += 1;
        }
    }

    /// The violations so far; the last line counts those that were not kept.
    pub(crate) fn violations(&self) -> Vec<String> {
        let notes = self.notes();
        let more = (notes.more_violations > 0).then(|| format!("and {} more", notes.more_violations));
        notes.violations.iter().cloned().chain(more).collect()
    }

    /// Something was done to the stack.
    pub(crate) fn fault(&self, kind: &'static str) {
        *self.notes().faults.entry(kind).or_default() += 1;
    }

    /// What was done to the stack, by kind.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.notes().faults.clone()
    }

    /// Something happened that is worth a number.
    pub(crate) fn count(&self, what: &'static str) {
        *self.notes().counts.entry(what).or_default() += 1;
    }

    /// What is worth a number.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.notes().counts.clone()
    }
}

/// A content, short enough to be kept many times. Equal for equal contents within one run.
pub(crate) fn digest(content: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
