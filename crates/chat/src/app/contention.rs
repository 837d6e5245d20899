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
const WEIGHT: u64 = 3;

/// Time for which a number of senders is remembered. Senders of a contended channel send again within it.
const RIVALS_DURATION: Duration = Duration::from_secs(2);

/// Number of concurrent senders of a channel, as one of them found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rivals {
    /// Average over the last sends, with the sender itself, in sixteenths.
    senders: u64,
    /// Duration of the last attempt.
    took: Duration,
    /// End of the last send.
    at: Timestamp,
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
}

impl Turns {
    fn new(rivals: Option<Rivals>, now: Timestamp) -> Self {
        let rivals = rivals.filter(|rivals| rivals.at.until(now) < RIVALS_DURATION);
        let (known, took) = rivals.map_or((ONE, ATTEMPT_DURATION.0), |rivals| (rivals.senders, rivals.took));
        Self { known, first: None, passed: 0, took }
    }

    fn saw(&mut self, last: Seq) {
        let first = *self.first.get_or_insert(last);
        let passed = last.get().saturating_sub(first.get());
        self.passed = passed.saturating_mul(ONE).min(MOST_SENDERS * PASSED_PER_SENDER);
    }

    fn senders(&self) -> u64 {
        self.known.max(self.passed / PASSED_PER_SENDER)
    }

    /// Returns the upper bound of a wait. If no other has passed, all senders together make one attempt in the duration of
    /// an attempt. A sender that many others have passed waits less, by the square, and does not starve.
    fn wait(&self) -> Duration {
        let senders = self.senders();
        let whole = senders + self.passed;
        let micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        let cubed = 2 * senders * senders * senders;
        Duration::from_micros(micros.saturating_mul(cubed) / (ONE * whole * whole))
    }

    fn rivals(&self, now: Timestamp) -> Rivals {
        let passed = self.passed.clamp(ONE, MOST_SENDERS);
        let senders = (self.known * (ONE - WEIGHT) + passed * WEIGHT) / ONE;
        Rivals { senders: senders.max(ONE), took: self.took, at: now }
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

    /// Returns the number of senders, for the next append to the channel.
    pub(crate) fn rivals(&self) -> Option<Rivals> {
        self.turns.as_ref().map(|turns| turns.rivals(self.clock.now()))
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

    #[test]
    fn the_numbers_that_a_channel_gave_away_count_its_senders() {
        let now = Timestamp::from_secs(1);
        let mut rivals = None;
        let mut send = |passed: u64| {
            for _ in 0..30 {
                let mut turns = Turns::new(rivals, now);
                turns.saw(Seq::new(100));
                turns.saw(Seq::new(100 + passed));
                rivals = Some(turns.rivals(now));
            }
            Turns::new(rivals, now).senders()
        };
        // The estimate follows within a few sends, both ways.
        let many = send(64);
        assert!((60 * ONE..=64 * ONE).contains(&many), "{many}");
        let few = send(1);
        assert!(few < ALONE, "{few}");
    }

    #[test]
    fn who_was_passed_often_waits_less_until_there_must_be_more_senders() {
        let took = Duration::from_millis(10);
        let turns = |known: u64, passed: u64| Turns { known: known * ONE, first: None, passed: passed * ONE, took };
        let waits = |known, passed| turns(known, passed).wait();
        assert_eq!(waits(1, 0), took * 2);
        assert_eq!(waits(16, 0), took * 32);
        assert_eq!(waits(16, 16), took * 8);
        assert_eq!(waits(16, 48), took * 2);
        // Four messages of each: the assumption is wrong.
        assert_eq!(waits(1, 64), took * 32 / 25);
        let mut idle = turns(1, 0);
        idle.saw(Seq::ZERO);
        idle.saw(Seq::new(4_000_000));
        assert_eq!(idle.wait(), turns(1_000, 4_000).wait());
        let longest = Turns { took: ATTEMPT_DURATION.1, ..turns(1_000, 0) }.wait();
        assert_eq!(longest, ATTEMPT_DURATION.1 * 2_000);
    }

    #[tokio::test]
    async fn the_first_attempt_waits_only_if_there_are_other_senders() {
        let clock = TestClock::new(1);
        let started = clock.now();
        let rivals = |senders: u64| Some(Rivals { senders, took: ATTEMPT_DURATION.1, at: started });
        for known in [None, rivals(ALONE - 1)] {
            assert!(Contention::in_turns(&clock, known).is_alone());
        }
        let mut crowded = Contention::in_turns(&clock, rivals(64 * ONE));
        assert!(!crowded.is_alone() && crowded.begin(false).await);
        assert!(clock.now() > started, "a random wait of seed 1 is not 0");
        assert!(started.until(clock.now()) <= ATTEMPT_DURATION.1 * 128);
    }

    #[test]
    fn rivals_are_forgotten_after_a_pause() {
        let now = Timestamp::from_secs(100);
        let rivals = Some(Rivals { senders: 64 * ONE, took: Duration::from_millis(5), at: now });
        assert_eq!(Turns::new(rivals, now.plus(RIVALS_DURATION / 2)).senders(), 64 * ONE);
        assert_eq!(Turns::new(rivals, now.plus(RIVALS_DURATION)).senders(), ONE);
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
