//! Waits between the attempts at one contended write: an append, or a change of a message.
//!
//! An attempt that used a value which was only read too early is repeated at once. After a lost race, the next attempt
//! waits with jitter.
//!
//! The wait of an append grows with the number of senders of its channel, so that about one of them tries at a time. No
//! sender knows the others. But while it waits, each of the others stores one message on average. So the numbers that
//! the channel gave away meanwhile count the senders: see [`Rivals`].

use std::{mem, time::Duration};

use crate::{
    model::{
        limits::{APPEND_ATTEMPTS, APPEND_DURATION},
        seq::Seq,
        time::Timestamp,
    },
    ports::clock::Clock,
};

/// Upper bound of the wait after the first lost race, in percent of the failed attempt's duration. Each further loss
/// shrinks it by a quarter, down to [`LAST_WAIT`]. Writers that lost often wait least, which prevents starvation. The
/// floor limits failing attempts under contention.
pub(crate) const FIRST_WAIT: u32 = 600;

/// Lower bound of [`FIRST_WAIT`] after many losses, in percent.
const LAST_WAIT: u32 = 200;

/// Minimum and maximum of the duration that an attempt counts with. The clock has whole milliseconds, and one response
/// may be late.
pub(crate) const ATTEMPT_DURATION: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Unit of numbers of senders: an average is no whole number.
const ONE: u64 = 16;

/// Number of senders below which a sender counts as alone, in sixteenths.
const ALONE: u64 = 2 * ONE;

/// Maximum number of senders that a wait takes into account, in sixteenths.
const MOST_SENDERS: u64 = 1_000 * ONE;

/// Number of messages of others for each assumed sender, after which a waiting sender assumes more senders.
const PASSED_PER_SENDER: u64 = 4;

/// Weight of the last send in the average number of senders, in sixteenths.
const WEIGHT: u64 = 2;

/// Maximum number of senders that one send counts, as a multiple of the average: one that waited for long does not make
/// the next ones wait too.
const MOST_COUNTED: u64 = 3;

/// Duration without other senders after which a sender counts as alone, as a multiple of the attempts of all.
const QUIET: u32 = 8;

/// Maximum number of messages of one turn: an environment that has just stored one knows the channel's next number. If it
/// has a further message at once, that message needs no wait and no read. Longer turns let the others wait longer.
const TURN_MESSAGES: u32 = 16;

/// Maximum pause between two messages of a turn. The clock has whole milliseconds. After a longer one, another sender has
/// probably stored a message.
const TURN_PAUSE: Duration = Duration::from_millis(1);

/// Time for which a number of senders is remembered. Senders of a contended channel send again within it.
const RIVALS_DURATION: Duration = Duration::from_secs(2);

/// Number of concurrent senders of a channel, as one of them found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rivals {
    /// Average over the last sends, with the sender itself, in sixteenths.
    senders: u64,
    /// Duration of the last attempt.
    took: Duration,
    /// Time of the last sign of another sender.
    others_at: Timestamp,
    /// End of the last send.
    at: Timestamp,
    /// Number of messages that the current turn has stored. 0 after a send that lost all races.
    stored: u32,
}

impl Rivals {
    /// Returns whether the turn goes on at `now`: another sender has probably stored nothing meanwhile.
    fn go_on(&self, now: Timestamp) -> bool {
        self.stored < TURN_MESSAGES && self.at.until(now) <= TURN_PAUSE
    }
}

/// Turns of the senders of one channel, as one of them sees them.
#[derive(Debug)]
struct Turns {
    /// Number of senders before this call, in sixteenths.
    known: u64,
    /// First number of the channel that this call saw.
    first: Option<Seq>,
    /// Number of messages stored since then, in sixteenths.
    passed: u64,
    /// Duration of the last attempt.
    took: Duration,
    /// Time of the last sign of another sender before this call.
    others_at: Option<Timestamp>,
    /// Number of messages that the turn has stored before this call. 0 once the call has waited.
    stored: u32,
}

impl Turns {
    fn new(rivals: Option<Rivals>, now: Timestamp) -> Self {
        let rivals = rivals.filter(|rivals| rivals.at.until(now) < RIVALS_DURATION);
        Self {
            known: rivals.map_or(ONE, |rivals| rivals.senders),
            first: None,
            passed: 0,
            took: rivals.map_or(ATTEMPT_DURATION.0, |rivals| rivals.took),
            others_at: rivals.map(|rivals| rivals.others_at),
            stored: rivals.filter(|rivals| rivals.go_on(now)).map_or(0, |rivals| rivals.stored),
        }
    }

    fn saw(&mut self, last: Seq) {
        let first = *self.first.get_or_insert(last);
        let passed = last.get().saturating_sub(first.get());
        self.passed = passed.saturating_mul(ONE).min(MOST_SENDERS * PASSED_PER_SENDER);
    }

    fn senders(&self) -> u64 {
        self.known.max(self.passed / PASSED_PER_SENDER)
    }

    /// Returns the upper bound of a wait. If no other has passed, all senders together make about one attempt in the
    /// duration of an attempt. A sender that many others have passed waits less, by the cube, and does not starve.
    fn wait(&self) -> Duration {
        let (senders, passed) = (u128::from(self.senders()), u128::from(self.passed));
        let others = 2 * senders - senders.min(u128::from(ALONE));
        let (part, whole) = (senders.pow(3), (senders + passed).pow(3));
        let micros = self.took.as_micros() * others * part / (whole * u128::from(ONE));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Returns the number of senders, unless this one is alone. `others` tells whether this call has met another one.
    fn rivals(&self, others: bool, now: Timestamp) -> Option<Rivals> {
        let passed = self.passed.max(ONE);
        let others_at = self.others_at.filter(|_| !others).unwrap_or(now);
        let quiet = self.took * QUIET * u32::try_from(self.known / ONE).unwrap_or(u32::MAX);
        if !others && (self.others_at.is_none() || others_at.until(now) >= quiet) {
            return None;
        }
        if !others && self.stored > 0 {
            // It did not wait, and so has counted no other sender.
            return Some(Rivals { senders: self.known, took: self.took, others_at, at: now, stored: 0 });
        }
        let counted = passed.min(self.known * MOST_COUNTED);
        let average = (self.known * (ONE - WEIGHT) + counted * WEIGHT) / ONE;
        // A sender that has lost a race goes on to wait until it knows that it is alone.
        let least = if self.known >= ALONE || passed >= ALONE { ALONE } else { ONE };
        let senders = average.max(passed / (2 * PASSED_PER_SENDER)).clamp(least, MOST_SENDERS);
        Some(Rivals { senders, took: self.took, others_at, at: now, stored: 0 })
    }
}

/// Attempts at one write: up to [`APPEND_ATTEMPTS`], within [`APPEND_DURATION`].
#[derive(Debug)]
pub(crate) struct Contention<'a, Time> {
    clock: &'a Time,
    /// Time at which the first attempt began.
    started: Timestamp,
    /// Time at which the last attempt began.
    began: Timestamp,
    /// Number of attempts so far.
    attempts: u32,
    /// Upper bound of the next wait, in percent.
    wait: u32,
    /// Whether an attempt was behind since the last wait.
    was_behind: bool,
    /// Turns of an append. A change has none, and its waits shrink with each loss.
    turns: Option<Turns>,
}

impl<'a, Time: Clock> Contention<'a, Time> {
    /// Begins a change of a message.
    pub(crate) fn new(clock: &'a Time) -> Self {
        let now = clock.now();
        Self { clock, started: now, began: now, attempts: 0, wait: FIRST_WAIT, was_behind: false, turns: None }
    }

    /// Begins an append. `rivals` were found by the last one to the same channel.
    pub(crate) fn in_turns(clock: &'a Time, rivals: Option<Rivals>) -> Self {
        let began = Self::new(clock);
        Self { turns: Some(Turns::new(rivals, began.started)), ..began }
    }

    /// Notes the last number of the channel, as it has just been read or given away.
    pub(crate) fn saw(&mut self, last: Seq) {
        if let Some(turns) = &mut self.turns {
            turns.saw(last);
        }
    }

    /// Returns whether the channel has probably no other sender.
    pub(crate) fn is_alone(&self) -> bool {
        self.turns.as_ref().is_none_or(|turns| turns.senders() < ALONE)
    }

    /// Returns whether the call goes on with the turn of the last one.
    pub(crate) fn goes_on(&self) -> bool {
        self.turns.as_ref().is_some_and(|turns| turns.stored > 0)
    }

    /// Returns the number of senders, for the next append to the channel, after one that stored `seq`. `before` is the
    /// last number that the environment knew.
    pub(crate) fn won(&mut self, before: Option<Seq>, seq: Seq) -> Option<Rivals> {
        self.saw(seq);
        let turns = self.turns.as_ref()?;
        let others = turns.passed > ONE || before.is_none_or(|before| before.next() != seq);
        let stored = turns.stored + 1;
        turns.rivals(others, self.clock.now()).map(|rivals| Rivals { stored, ..rivals })
    }

    /// Returns the number of senders, for the next append to the channel, after one that lost all races.
    pub(crate) fn lost(&self) -> Option<Rivals> {
        self.turns.as_ref()?.rivals(true, self.clock.now())
    }

    /// Begins the next attempt after a wait, unless it may begin `at_once`. The first attempt at a change does.
    /// Returns `false` if the attempts or the time are over.
    pub(crate) async fn begin(&mut self, at_once: bool) -> bool {
        if self.attempts == APPEND_ATTEMPTS {
            return false;
        }
        if !at_once && (self.attempts > 0 || self.turns.is_some()) {
            let took = self.took();
            let most = match &mut self.turns {
                Some(turns) => {
                    turns.took = took.unwrap_or(turns.took);
                    turns.stored = 0;
                    turns.wait()
                }
                None => took.unwrap_or_default() * self.wait / 100,
            };
            self.clock.sleep(self.clock.jitter(most)).await;
            self.wait = (self.wait * 3 / 4).max(LAST_WAIT);
            self.was_behind = false;
            if self.clock.now() >= self.started.plus(APPEND_DURATION) {
                return false;
            }
        }
        self.attempts += 1;
        self.began = self.clock.now();
        true
    }

    /// Returns the duration of the last attempt.
    fn took(&self) -> Option<Duration> {
        let (least, most) = ATTEMPT_DURATION;
        (self.attempts > 0).then(|| self.began.until(self.clock.now()).clamp(least, most))
    }

    /// Begins the next attempt with the value that the store returned for one which was behind. The first such attempt
    /// after a read or a wait begins at once: its value was only read too early. A further one has lost a race.
    /// Returns `false` if the attempts or the time are over.
    pub(crate) async fn begin_behind(&mut self) -> bool {
        let lost_race = mem::replace(&mut self.was_behind, true);
        self.begin(!lost_race).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    #[tokio::test]
    async fn the_first_attempt_does_not_wait_and_those_after_a_lost_race_do() {
        let clock = TestClock::new(1);
        let mut contention = Contention::new(&clock);
        let started = clock.now();
        assert!(contention.begin(false).await && contention.begin(true).await);
        assert_eq!(clock.now(), started);
        clock.sleep(Duration::from_millis(20)).await;
        let lost = clock.now();
        // The second and the third attempt take no time, and count with 1 ms.
        for most in [120, 5, 4] {
            let began = clock.now();
            assert!(contention.begin(false).await);
            assert!(began.until(clock.now()) <= Duration::from_millis(most), "up to {most} ms");
        }
        assert!(clock.now() > lost, "a random wait of seed 1 is not 0");
    }

    #[tokio::test]
    async fn a_value_that_was_read_too_early_is_replaced_at_once_and_a_lost_race_is_waited_for() {
        for seed in 0..20 {
            let clock = TestClock::new(seed);
            let mut contention = Contention::new(&clock);
            assert!(contention.begin(false).await);
            let mut waited = Duration::ZERO;
            for round in 0..10 {
                let began = clock.now();
                assert!(contention.begin_behind().await);
                assert_eq!(clock.now(), began, "seed {seed}, round {round}: at once");
                clock.sleep(Duration::from_millis(30)).await;
                let began = clock.now();
                assert!(contention.begin_behind().await);
                waited += began.until(clock.now());
            }
            assert!(waited > Duration::ZERO, "seed {seed}");
        }
    }

    /// Returns what a call knows that follows `times` calls, each of which `passed` messages have passed.
    fn after(times: u32, passed: u64, mut rivals: Option<Rivals>) -> Option<Rivals> {
        for _ in 0..times {
            let mut turns = Turns::new(rivals, NOW);
            turns.saw(Seq::new(100));
            turns.saw(Seq::new(100 + passed));
            rivals = turns.rivals(true, NOW);
        }
        rivals
    }

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn turns(known: u64, passed: u64) -> Turns {
        let took = Duration::from_millis(10);
        Turns { known: known * ONE, first: None, passed: passed * ONE, took, others_at: Some(NOW), stored: 0 }
    }

    #[test]
    fn the_numbers_that_a_channel_gave_away_count_its_senders() {
        let many = after(60, 64, None);
        let senders = many.unwrap().senders;
        assert!((60 * ONE..=64 * ONE).contains(&senders), "{senders}");
        let one_bad_turn = after(1, 600, many).unwrap().senders;
        assert!(one_bad_turn <= 80 * ONE, "{one_bad_turn}");
        let few = after(60, 1, many).unwrap().senders;
        assert_eq!(few, ALONE, "it is not known to be alone");
        assert_eq!(after(5, 1, None).unwrap().senders, ONE, "two that take turns do not race");
    }

    #[test]
    fn a_sender_is_alone_after_a_time_without_others() {
        let quiet = Duration::from_millis(10) * QUIET * 16;
        let after = |wait: Duration| turns(16, 1).rivals(false, NOW.plus(wait));
        assert!(after(quiet.saturating_sub(Duration::from_millis(1))).is_some());
        assert_eq!(after(quiet), None);
        assert!(turns(16, 1).rivals(true, NOW.plus(quiet)).is_some_and(|rivals| rivals.others_at == NOW.plus(quiet)));
        assert_eq!(Turns::new(None, NOW).rivals(false, NOW), None, "it has always been alone");
    }

    #[test]
    fn who_was_passed_often_waits_less_until_there_must_be_more_senders() {
        let took = Duration::from_millis(10);
        let waits = |known, passed| turns(known, passed).wait();
        assert_eq!((waits(1, 0), waits(2, 0), waits(16, 0)), (took, took * 2, took * 30));
        assert_eq!(waits(16, 16), took * 30 / 8);
        assert_eq!(waits(16, 64), took * 30 / 125);
        // Four messages of each: the assumption is wrong.
        assert_eq!(waits(1, 64), took * 30 / 125);
        let mut idle = turns(1, 0);
        idle.saw(Seq::ZERO);
        idle.saw(Seq::new(4_000_000));
        assert_eq!(idle.wait(), turns(1_000, 4_000).wait());
        let longest = Turns { took: ATTEMPT_DURATION.1, ..turns(1_000, 0) }.wait();
        assert_eq!(longest, ATTEMPT_DURATION.1 * 1_998);
    }

    #[tokio::test]
    async fn the_first_attempt_waits_only_if_there_are_other_senders() {
        let clock = TestClock::new(1);
        let started = clock.now();
        let rivals = |senders: u64| {
            Some(Rivals { senders, took: ATTEMPT_DURATION.1, others_at: started, at: started, stored: 0 })
        };
        for known in [None, rivals(ALONE - 1)] {
            assert!(Contention::in_turns(&clock, known).is_alone());
        }
        let mut crowded = Contention::in_turns(&clock, rivals(64 * ONE));
        assert!(!crowded.is_alone() && crowded.begin(false).await);
        assert!(clock.now() > started, "a random wait of seed 1 is not 0");
        assert!(started.until(clock.now()) <= ATTEMPT_DURATION.1 * 128);
    }

    #[tokio::test]
    async fn a_turn_has_a_bounded_number_of_messages_and_ends_with_a_pause_or_a_wait() {
        let clock = TestClock::new(1);
        let (took, now) = (Duration::from_millis(10), clock.now());
        let first = Rivals { senders: 64 * ONE, took, others_at: now, at: now, stored: 0 };
        let mut turn = Some(first);
        for number in 0..TURN_MESSAGES {
            let mut contention = Contention::in_turns(&clock, turn);
            assert_eq!(contention.goes_on(), number > 0, "message {number}");
            let before = Seq::new(100 + u64::from(number));
            turn = contention.won(Some(before), before.next());
            if number > 0 {
                assert_eq!(
                    turn.unwrap().senders,
                    first.senders * 7 / 8 + ONE / 8,
                    "only the first one waits and counts"
                );
            }
        }
        assert!(!Contention::in_turns(&clock, turn).goes_on(), "the others have their turn");

        let within = Some(Rivals { stored: 1, ..first });
        assert!(Contention::in_turns(&clock, within).goes_on());
        let mut waits = Contention::in_turns(&clock, within);
        assert!(waits.begin(true).await && waits.begin(false).await && !waits.goes_on());
        assert_eq!(waits.lost().unwrap().stored, 0, "it has stored nothing");
        clock.sleep(TURN_PAUSE + Duration::from_millis(1)).await;
        assert!(!Contention::in_turns(&clock, within).goes_on(), "another one has probably stored a message");
    }

    #[test]
    fn rivals_are_forgotten_after_a_pause() {
        let rivals = after(60, 64, None);
        assert!(Turns::new(rivals, NOW.plus(RIVALS_DURATION / 2)).senders() > 32 * ONE);
        assert_eq!(Turns::new(rivals, NOW.plus(RIVALS_DURATION)).senders(), ONE);
    }

    #[tokio::test]
    async fn attempts_and_time_are_limited() {
        let clock = TestClock::new(1);
        let mut contention = Contention::new(&clock);
        for _ in 0..APPEND_ATTEMPTS {
            assert!(contention.begin(true).await);
        }
        assert!(!contention.begin(true).await && !contention.begin_behind().await, "no attempt is left");

        let mut contention = Contention::new(&clock);
        assert!(contention.begin(false).await);
        clock.sleep(APPEND_DURATION).await;
        assert!(!contention.begin(false).await, "the time is over");
    }
}
