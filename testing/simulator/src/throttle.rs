//! Quotas of an account: for some time, the stores and the gateway accept only a few calls at a time.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::executor::lock;

/// One in so many schedules has quotas.
const SCHEDULES: u64 = 8;
/// Duration of the throttling, in milliseconds.
const DURATION: i64 = 3_000;
/// Duration of a slot, in milliseconds.
const SLOT: i64 = 100;
/// Calls of the stores in one slot.
const CALLS: u32 = 6;
/// Pushes in one slot.
const PUSHES: u32 = 3;

/// Quotas of a schedule. They use no randomness, so that all other schedules stay the same.
pub(crate) struct Throttle {
    /// Beginning of the throttling. `None`: the schedule has no quotas.
    begins: Option<i64>,
    /// Whether the faults are over.
    has_ended: AtomicBool,
    calls: Mutex<Slot>,
    pushes: Mutex<Slot>,
}

/// Accepted calls of the current slot.
#[derive(Default)]
struct Slot {
    number: i64,
    accepted: u32,
}

impl Throttle {
    /// Creates the quotas of a schedule that starts at `start`.
    pub(crate) fn new(seed: u64, start: i64) -> Self {
        let later = i64::try_from(seed / SCHEDULES % 10).unwrap_or_default() * 300;
        let begins = (seed % SCHEDULES == 4).then_some(start + later);
        Self { begins, has_ended: AtomicBool::new(false), calls: Mutex::default(), pushes: Mutex::default() }
    }

    /// Accepts everything from this call on.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Returns whether the stores accept a call.
    pub(crate) fn accepts_call(&self, now: i64) -> bool {
        self.accepts(&self.calls, CALLS, now)
    }

    /// Returns whether the gateway accepts a push.
    pub(crate) fn accepts_push(&self, now: i64) -> bool {
        self.accepts(&self.pushes, PUSHES, now)
    }

    fn accepts(&self, slot: &Mutex<Slot>, most: u32, now: i64) -> bool {
        let Some(begins) = self.begins else { return true };
        if self.has_ended.load(Ordering::Relaxed) || !(begins..begins + DURATION).contains(&now) {
            return true;
        }
        let mut slot = lock(slot);
        let number = (now - begins) / SLOT;
        if number != slot.number {
            *slot = Slot { number, accepted: 0 };
        }
        let accepts = slot.accepted < most;
        slot.accepted += u32::from(accepts);
        accepts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000;

    #[test]
    fn a_slot_accepts_its_calls_and_the_next_one_begins_anew() {
        let throttle = Throttle::new(4, START);
        let accepted = |now: i64| (0..20).filter(|_| throttle.accepts_call(START + now)).count();
        assert_eq!((accepted(0), accepted(99), accepted(100)), (6, 0, 6));
        assert_eq!((accepted(-1), accepted(DURATION)), (20, 20));
        throttle.end();
        assert_eq!(accepted(200), 20);
        assert!(Throttle::new(5, START).accepts_push(START));
    }
}
