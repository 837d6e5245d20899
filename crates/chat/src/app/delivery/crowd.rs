//! Delivery to a crowd: an audience that one invocation does not push to itself.
//!
//! The subscriptions are read page by page. Each shard is dispatched as soon as it is full, several at once, so that
//! memory does not grow with the audience. A slow or dead shard is another invocation's, and delays no other.
//!
//! Dispatches keep a pace: the pushes of one channel take at most [`Reach::rate`] of the account's requests. The records
//! that the stream has for the channel meanwhile wait for the end of this delivery. They are then delivered together, so
//! that frames are combined over a window that grows with the audience.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::TryStreamExt;

use super::{Delivery, push::BACKOFF, shard::shards};
use crate::{
    model::{
        error::StoreError,
        incarnation::ChannelKey,
        limits::{DEADLINE_MARGIN, DISPATCH_ATTEMPTS, DISPATCH_CONCURRENCY},
        parts::{AudienceCursor, Parts},
    },
    ports::{
        clock::Clock,
        connection_store::ConnectionStore,
        fan_out::{FanOut, PushBatch, Recipient, SHARD_CONNECTIONS},
        socket_gateway::SocketGateway,
    },
};

/// Bounds of a delivery to an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Maximum number of sockets that the invocation pushes to itself. A larger audience is a crowd.
    pub threshold: usize,
    /// Maximum pushes a second of one channel to a crowd. See
    /// [`DELIVERY_RATE`](crate::model::limits::DELIVERY_RATE).
    pub rate: u32,
}

/// Pace of dispatches: each lets the next one wait for as long as its pushes take at the rate. Unused time is lost.
#[derive(Debug)]
struct Pace {
    rate: u32,
    /// Time of [`Clock::monotonic`] at which the next dispatch may begin.
    next_at: Duration,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), next_at: Duration::ZERO }
    }

    /// Returns the wait before a dispatch of this number of pushes at `now`, and counts it.
    fn wait(&mut self, now: Duration, pushes: usize) -> Duration {
        let begins_at = self.next_at.max(now);
        let micros = u64::try_from(pushes).unwrap_or(u64::MAX).saturating_mul(1_000_000) / u64::from(self.rate);
        self.next_at = begins_at.saturating_add(Duration::from_micros(micros));
        begins_at.saturating_sub(now)
    }
}

/// Crowd whose subscriptions are partly read.
struct Crowd<'a> {
    channel: &'a ChannelKey,
    frames: Vec<String>,
    /// Recipients that are not in a shard yet.
    waiting: Vec<Recipient>,
    /// Shards that are not dispatched yet, the last one first.
    full: Vec<PushBatch>,
    /// Position of the next page.
    next: Option<AudienceCursor>,
    pace: Pace,
    /// Number of recipients that were read.
    read: &'a AtomicUsize,
}

impl<Connections, Sockets, Fan, Time> Delivery<'_, Connections, Sockets, Fan, Time>
where
    Connections: ConnectionStore,
    Sockets: SocketGateway,
    Fan: FanOut,
    Time: Clock,
{
    /// Dispatches frames to a crowd, of which `waiting` is read and `next` is the position of the rest. Then lets the
    /// store divide the subscriptions if they are many for their number of parts. Returns the number of recipients.
    pub(super) async fn send_to_crowd(
        &self,
        channel: &ChannelKey,
        frames: Vec<String>,
        waiting: Vec<Recipient>,
        (parts, next): (Parts, Option<AudienceCursor>),
        rate: u32,
    ) -> Result<usize, StoreError> {
        let read = AtomicUsize::new(waiting.len());
        let crowd = Crowd { channel, frames, waiting, full: Vec::new(), next, pace: Pace::new(rate), read: &read };
        futures::stream::try_unfold(crowd, async |mut crowd| {
            let shard = self.next_shard(&mut crowd).await?;
            Ok::<_, StoreError>(shard.map(|shard| (shard, crowd)))
        })
        .try_for_each_concurrent(DISPATCH_CONCURRENCY, async |shard| self.hand_over(&shard).await)
        .await?;
        let recipients = read.load(Ordering::Relaxed);
        if let Err(error) = self.connections.divide(channel, parts, recipients).await {
            tracing::warn!(%error, channel_id = %channel.channel_id, "subscriptions were not divided");
        }
        Ok(recipients)
    }

    /// Returns the next shard when the pace permits its dispatch. Reads as many pages as it needs.
    async fn next_shard(&self, crowd: &mut Crowd<'_>) -> Result<Option<PushBatch>, StoreError> {
        loop {
            if let Some(shard) = crowd.full.pop() {
                let pushes = shard.recipients.len().saturating_mul(shard.frames.len());
                let wait = crowd.pace.wait(self.clock.monotonic(), pushes);
                self.keep_pace(crowd.channel, wait).await;
                return Ok(Some(shard));
            }
            let is_last = crowd.next.is_none() && !crowd.waiting.is_empty();
            if is_last || crowd.waiting.len() >= SHARD_CONNECTIONS {
                let others = crowd.waiting.split_off(SHARD_CONNECTIONS.min(crowd.waiting.len()));
                let recipients = std::mem::replace(&mut crowd.waiting, others);
                let (channel, frames) = (crowd.channel.clone(), crowd.frames.clone());
                crowd.full = shards(PushBatch { channel, frames, recipients, attempt: 0 });
                crowd.full.reverse();
                continue;
            }
            let Some(at) = crowd.next.take() else {
                // The next delivery of the channel begins when this one has taken no more than its share.
                let wait = crowd.pace.wait(self.clock.monotonic(), 0);
                self.keep_pace(crowd.channel, wait).await;
                return Ok(None);
            };
            let page = self.connections.audience_page(crowd.channel, Some(&at), self.clock.now()).await?;
            crowd.read.fetch_add(page.subscriptions.len(), Ordering::Relaxed);
            crowd.waiting.extend(page.subscriptions.into_iter().map(Recipient::from));
            crowd.next = page.next;
        }
    }

    /// Waits before a dispatch. The rest of a crowd that is too large for one invocation is dispatched without a wait at
    /// its end, so that no socket is left out.
    async fn keep_pace(&self, channel: &ChannelKey, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        if self.clock.now().plus(wait).plus(DEADLINE_MARGIN) >= self.deadline {
            tracing::warn!(channel_id = %channel.channel_id, "the invocation ends: a crowd is dispatched early");
            return;
        }
        self.clock.sleep(wait).await;
    }

    /// Dispatches a shard, with retries. So a failure does not repeat the whole delivery at once.
    async fn hand_over(&self, shard: &PushBatch) -> Result<(), StoreError> {
        let mut attempt = 0;
        loop {
            let Err(error) = self.dispatch(shard).await else { return Ok(()) };
            attempt += 1;
            let (channel_id, connections) = (&shard.channel.channel_id, shard.recipients.len());
            tracing::warn!(%error, %channel_id, connections, attempt, "a dispatch failed");
            if !error.retryable || attempt >= DISPATCH_ATTEMPTS {
                return Err(error);
            }
            BACKOFF.pause(self.clock, attempt - 1).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In no period are more pushes dispatched than its share, and those of one shard.
        #[test]
        fn no_period_has_more_pushes_than_the_rate(
            rate in 1_u32..20_000,
            steps in prop::collection::vec((0_u64..2_000, 1_usize..2_000), 1..60),
        ) {
            let mut pace = Pace::new(rate);
            let (mut now, mut dispatched) = (Duration::from_secs(7), Vec::new());
            for (late, pushes) in steps {
                now += Duration::from_millis(late);
                now += pace.wait(now, pushes);
                dispatched.push((now, pushes));
            }
            for (first, (from, _)) in dispatched.iter().enumerate() {
                let mut sum = 0_usize;
                for (to, pushes) in &dispatched[first..] {
                    let micros = u64::try_from(to.saturating_sub(*from).as_micros()).unwrap();
                    // Each time is rounded down to a microsecond.
                    let allowed = (micros + 60) * u64::from(rate) / 1_000_000 + 1;
                    prop_assert!(u64::try_from(sum).unwrap() <= allowed, "{sum} pushes in {micros} µs");
                    sum += pushes;
                }
            }
        }
    }

    #[test]
    fn a_crowd_of_a_hundred_thousand_takes_its_share_of_the_rate() {
        let mut pace = Pace::new(8_000);
        let mut now = Duration::ZERO;
        for _ in 0..200 {
            now += pace.wait(now, 500);
        }
        assert_eq!(now, Duration::from_micros(199 * 62_500));
    }
}
