//! Handfuls of tokens: the limit over all environments, and what one sender notices.

use proptest::prelude::*;

use super::*;
use crate::{
    model::{error::StoreError, token_bucket::Taken},
    ports::rate_limiter::RateLimiter,
    testing::TestClock,
};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Environments of a function, with the stored bucket of one sender.
struct World {
    bucket: Bucket,
    stored: Option<Timestamp>,
    environments: Vec<SenderTokens>,
    /// Times of the messages, by the clocks of their environments.
    sent: Vec<Timestamp>,
    writes: usize,
}

impl World {
    fn new(bucket: Bucket, environments: usize) -> Self {
        let environments = vec![SenderTokens::default(); environments];
        Self { bucket, stored: None, environments, sent: Vec::new(), writes: 0 }
    }

    /// Sends a message from an environment. An append is refused if the bucket has moved, and is then tried again.
    fn send(&mut self, environment: usize, now: Timestamp) -> Result<(), Duration> {
        for _ in 0..2 {
            let Payment { token, rest, .. } = self.environments[environment].pay(self.bucket, now)?;
            if let Some(Token { full_at, next }) = token {
                self.writes += 1;
                let is_as_known = match full_at {
                    None => self.stored.is_none_or(|stored| stored <= now),
                    Some(_) => self.stored == full_at,
                };
                if !is_as_known {
                    self.environments[environment] = SenderTokens::read(self.stored.unwrap_or(now));
                    continue;
                }
                self.stored = Some(next);
            }
            self.environments[environment] = rest;
            self.sent.push(now);
            return Ok(());
        }
        unreachable!("the bucket does not move between two attempts");
    }

    /// Returns whether one bucket, from which each message takes its token when it is sent, would have allowed all.
    fn is_allowed(&self) -> bool {
        let mut sent = self.sent.clone();
        sent.sort_unstable();
        let mut full_at = None;
        sent.into_iter().all(|now| match self.bucket.take(full_at, now) {
            Ok(next) => {
                full_at = Some(next);
                true
            }
            Err(_) => false,
        })
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the time that differs from [`START`] by some milliseconds.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The messages of each period are no more than the bucket allows for it, with any tokens that environments hold
    /// and with clocks that differ and jump.
    #[test]
    fn environments_together_send_no_more_than_the_bucket_allows(
        steps in proptest::collection::vec((0_usize..4, 0_i64..250, prop_oneof![4 => Just(0_i64), 1 => -3_000_i64..3_000]), 1..300),
        every in 1_u64..200,
        burst in 1_u32..60,
    ) {
        let mut world = World::new(Bucket { every: millis(every), burst }, 4);
        let mut elapsed = 0;
        for (environment, pause, off) in steps {
            // Short pauses are the most frequent.
            elapsed += if pause > 200 { pause } else { pause / 20 };
            let _ = world.send(environment, at(elapsed + off));
        }
        prop_assert!(world.is_allowed(), "{:?}", world.sent);
    }

    /// A sender of one environment waits at most one interval longer than without handfuls. With few tokens it waits
    /// exactly as long.
    #[test]
    fn one_environment_refuses_what_the_bucket_refuses(
        pauses in proptest::collection::vec(0_u64..250, 1..300),
        every in 1_u64..200,
        burst in 1_u32..60,
    ) {
        let bucket = Bucket { every: millis(every), burst };
        let (mut world, mut full_at, mut now) = (World::new(bucket, 1), None, START);
        for pause in pauses {
            now = now.plus(millis(if pause > 200 { pause } else { pause / 20 }));
            let alone = bucket.take(full_at, now);
            let sent = world.send(0, now);
            match (sent, alone) {
                (Ok(()), Ok(next)) => full_at = Some(next),
                (Err(wait), Err(least)) => prop_assert!(wait >= least && wait <= least + bucket.every),
                (Err(wait), Ok(_)) => prop_assert!(wait <= bucket.every && burst >= 2 * HANDFUL_SHARE),
                (Ok(()), Err(wait)) => prop_assert!(false, "sent {wait:?} too early"),
            }
        }
    }

    /// Before each message the environment says how many tokens are left, and so many messages can be sent at once.
    #[test]
    fn what_is_said_to_be_left_can_be_sent(pauses in proptest::collection::vec(0_u64..300, 1..40), burst in 1_u32..60) {
        let bucket = Bucket { every: millis(100), burst };
        let (mut world, mut now) = (World::new(bucket, 1), START);
        for pause in pauses {
            now = now.plus(millis(pause));
            let _ = world.send(0, now);
        }
        let left = world.environments[0].quota(bucket, now).unwrap().left;
        for _ in 0..left {
            prop_assert_eq!(world.send(0, now), Ok(()));
        }
        prop_assert!(world.send(0, now).is_err());
    }
}

const BUCKET: Bucket = Bucket { every: Duration::from_millis(100), burst: 50 };

#[test]
fn a_busy_sender_writes_the_bucket_once_for_a_handful() {
    let mut world = World::new(BUCKET, 1);
    for message in 0..200 {
        world.send(0, at(message * 200)).unwrap();
    }
    // A handful lasts for a second: five messages at this pace.
    assert_eq!((world.sent.len(), world.writes), (200, 41));
    let mut slow = World::new(BUCKET, 1);
    for message in 0..20 {
        slow.send(0, at(message * 2_000)).unwrap();
    }
    assert_eq!(slow.writes, 20, "a handful would be lost");
}

#[test]
fn a_sender_with_few_tokens_takes_one_at_a_time() {
    let mut world = World::new(BUCKET, 1);
    while world.send(0, START).is_ok() {}
    assert_eq!(world.sent.len(), 50);
    // One token, then 10, 9, 7, 5, 4, 3, 2 and 2, and the last seven one at a time.
    assert_eq!(world.writes, 16);
    assert_eq!(world.send(0, START), Err(BUCKET.every));
    assert_eq!(world.environments[0].held(), 0);
    assert_eq!(world.send(0, at(99)), Err(millis(1)));
    assert_eq!((world.send(0, at(100)), world.send(0, at(100))), (Ok(()), Err(BUCKET.every)));
}

#[test]
fn environments_that_take_turns_hold_nothing() {
    let mut world = World::new(BUCKET, 50);
    // An idle function: each environment has sent before, and now all of them send at once.
    for environment in 0..50 {
        world.send(environment, at(0)).unwrap();
    }
    for later in [10_000, 20_000] {
        for environment in 0..50 {
            assert_eq!(world.send(environment, at(later)), Ok(()), "the whole burst is there for them");
        }
        assert!(world.send(0, at(later)).is_err());
    }
    assert!(world.environments.iter().all(|environment| environment.held() == 0));
}

#[test]
fn tokens_that_are_held_are_lost_when_the_bucket_has_regained_them() {
    let mut world = World::new(BUCKET, 2);
    world.send(0, at(0)).unwrap();
    world.send(0, at(0)).unwrap();
    assert_eq!(world.environments[0].held(), 9);
    // The first five slots are over.
    let Payment { token, rest, .. } = world.environments[0].pay(BUCKET, at(650)).unwrap();
    assert_eq!((token, rest.held()), (None, 3));
    // Now all of them are, and the bucket is full for the other environment.
    assert!(world.environments[0].pay(BUCKET, at(1_200)).unwrap().token.is_some());
    for _ in 0..50 {
        world.send(1, at(1_200)).unwrap();
    }
    assert!(world.send(1, at(1_200)).is_err() && world.send(0, at(1_200)).is_err());
}

#[test]
fn a_clock_that_moves_back_uses_no_token_of_a_later_time() {
    let mut world = World::new(BUCKET, 1);
    for _ in 0..2 {
        world.send(0, at(60_000)).unwrap();
    }
    let held = world.environments[0].held();
    assert_eq!(held, 9);
    assert!(world.send(0, at(0)).is_err(), "the bucket is full only in a minute");
    assert_eq!(world.environments[0].held(), held, "they can be used when the clock is right again");
    assert_eq!(world.send(0, at(60_000)), Ok(()));
    assert_eq!(world.writes, 2);
}

#[test]
fn a_token_pays_for_a_further_attempt_at_its_message_until_its_slot() {
    let mut world = World::new(BUCKET, 1);
    for _ in 0..2 {
        world.send(0, at(0)).unwrap();
    }
    let paid = world.environments[0].pay(BUCKET, at(0)).unwrap();
    assert_eq!(paid.token, None);
    for (now, is_paid) in [(0, true), (200, true), (201, false), (-5_000, false)] {
        let again = paid.again(BUCKET, paid.rest, at(now));
        assert_eq!(again.is_some(), is_paid, "at {now}");
    }
    let taken = SenderTokens::default().pay(BUCKET, at(0)).unwrap();
    assert_eq!(taken.again(BUCKET, taken.rest, at(0)), None, "the transaction takes it, if it commits");
}

/// Limiter that answers late, when later requests have taken all tokens.
struct Overtaken<'a> {
    clock: &'a TestClock,
    took: Duration,
}

impl RateLimiter for Overtaken<'_> {
    async fn take(
        &self,
        _: &UserId,
        _: &LimitedAction<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        self.clock.sleep(self.took).await;
        let full_at = self.clock.now().plus(bucket.every.saturating_mul(bucket.burst));
        Ok(bucket.take(Some(full_at), now))
    }
}

#[tokio::test]
async fn a_refusal_that_came_late_names_the_wait_from_then_on() {
    let clock = TestClock::new(1);
    let user = "bob".parse().unwrap();
    for took in [0, 1, 999, 5_000] {
        let limiter = Overtaken { clock: &clock, took: millis(took) };
        let refused = check_rate_limit(&limiter, &clock, &user, &LimitedAction::Wait, WAIT_BUCKET).await;
        let Err(ChatError::TooManyRequests(quota)) = refused else { panic!("{refused:?}") };
        assert_eq!((quota.left, quota.reset), (0, WAIT_BUCKET.every), "after {took} ms");
    }
}
