//! Notes of all tasks of a run: accepted messages and changes, faults and violations.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt, rngs::StdRng};

/// A message whose sender got the response that it is stored.
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

/// A message without a key that was not accepted and not retried. It may or may not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unconfirmed {
    pub(crate) channel: String,
    pub(crate) sender: String,
    pub(crate) content: u64,
}

/// A change of a message whose user got the response that it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) channel: String,
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
}

/// Kind of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The message has this content.
    Edited(u64),
    Deleted,
    /// The user's reaction is there, or not.
    Reacted {
        user: String,
        is_added: bool,
    },
}

/// Number of the newest messages among which a change picks one.
const PICKED_FROM: usize = 200;

/// Maximum number of violations that are kept. Further ones are only counted.
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
    changed: Vec<Changed>,
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

    /// Records a change. The changes of one user are recorded in their order.
    pub(crate) fn change(&self, changed: Changed) {
        self.notes().changed.push(changed);
    }

    pub(crate) fn changed(&self) -> Vec<Changed> {
        self.notes().changed.clone()
    }

    /// Returns one of the newest accepted messages of a channel: of any sender, or of `sender`.
    pub(crate) fn pick(&self, channel: &str, sender: Option<&str>, chance: &mut StdRng) -> Option<Accepted> {
        let notes = self.notes();
        let of_sender = |one: &&Accepted| one.channel == channel && sender.is_none_or(|sender| sender == one.sender);
        let newest: Vec<&Accepted> = notes.accepted.iter().rev().filter(of_sender).take(PICKED_FROM).collect();
        let index = (!newest.is_empty()).then(|| chance.random_range(0..newest.len()))?;
        newest.get(index).map(|one| (*one).clone())
    }

    /// Records a violation.
    pub(crate) fn violation(&self, what: String) {
        let mut notes = self.notes();
        if notes.violations.len() < KEPT_VIOLATIONS {
            notes.violations.push(what);
        } else {
            notes.more_violations += 1;
        }
    }

    /// Returns the violations so far; the last line counts those that were not kept.
    pub(crate) fn violations(&self) -> Vec<String> {
        let notes = self.notes();
        let more = (notes.more_violations > 0).then(|| format!("and {} more", notes.more_violations));
        notes.violations.iter().cloned().chain(more).collect()
    }

    /// Records a fault.
    pub(crate) fn fault(&self, kind: &'static str) {
        *self.notes().faults.entry(kind).or_default() += 1;
    }

    /// Returns the number of faults by kind.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.notes().faults.clone()
    }

    /// Counts an event.
    pub(crate) fn count(&self, what: &'static str) {
        *self.notes().counts.entry(what).or_default() += 1;
    }

    /// Returns the number of events by name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.notes().counts.clone()
    }
}

/// Returns a hash of a content, to save memory. Equal contents have equal hashes within one run.
pub(crate) fn digest(content: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
