//! Waiting for messages or changes without a socket: for clients on networks that let no WebSocket through.
//!
//! A request that finds nothing polls the channel until its last numbers move, or its time is over. Each request that
//! waits takes a token of its user.

use std::time::Duration;

use crate::{
    app::{
        access::authorize_read_with_rev,
        changes::ChangesPage,
        channel_messages::ChannelMessages,
        history::{HistoryPage, PageRequest, Place},
        rate_limit::check_rate_limit,
    },
    model::{
        error::Result,
        id::{ChannelId, UserId},
        limits::{WAIT_BUCKET, WAIT_POLL_INTERVALS},
        rev::Rev,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{MessageStore, Range},
        rate_limiter::{LimitedAction, RateLimiter},
        reply_leases::ReplyLeases,
    },
};

/// Polls of one request that waits.
struct Polls<'a, Time> {
    clock: &'a Time,
    /// Time of [`Clock::monotonic`] at which the request ends.
    ends_at: Duration,
    /// Number of polls so far.
    count: usize,
}

impl<'a, Time: Clock> Polls<'a, Time> {
    fn new(clock: &'a Time, wait: Duration) -> Self {
        Self { clock, ends_at: clock.monotonic().saturating_add(wait), count: 0 }
    }

    /// Waits for the next poll. Returns `false` if the time is over. The last poll is at its end.
    async fn next(&mut self) -> bool {
        let left = self.ends_at.saturating_sub(self.clock.monotonic());
        if left.is_zero() {
            return false;
        }
        let [.., longest] = WAIT_POLL_INTERVALS;
        let interval = WAIT_POLL_INTERVALS.get(self.count).copied().unwrap_or(longest);
        self.count += 1;
        self.clock.sleep(interval.min(left)).await;
        true
    }
}

impl<Channels, Messages, Time> ChannelMessages<'_, Channels, Messages, Time>
where
    Channels: ChannelStore + RateLimiter,
    Messages: MessageStore,
    Time: Clock,
{
    /// Returns a page of changes, as [`changes`](Self::changes) does. If there are none after `after`, waits for some up
    /// to `wait`.
    ///
    /// # Errors
    /// Those of [`changes`](Self::changes). If `wait` is not zero, also
    /// [`ChatError::TooManyRequests`](crate::model::error::ChatError::TooManyRequests).
    pub async fn changes_or_wait(
        &self,
        channel: &ChannelId,
        user: &UserId,
        after: Rev,
        limit: u16,
        wait: Duration,
    ) -> Result<ChangesPage> {
        self.admit(user, wait).await?;
        let mut polls = Polls::new(self.clock, wait);
        let page = self.changes(channel, user, after, limit).await?;
        if page.rev != after {
            return Ok(page);
        }
        while polls.next().await {
            let (_, rev) = authorize_read_with_rev(self.channels, channel, user).await?;
            if rev != after {
                return self.changes(channel, user, after, limit).await;
            }
        }
        Ok(page)
    }

    /// Takes a token of a user's requests that wait, if the request does.
    async fn admit(&self, user: &UserId, wait: Duration) -> Result<()> {
        if !wait.is_zero() {
            check_rate_limit(self.channels, self.clock, user, &LimitedAction::Wait, WAIT_BUCKET).await?;
        }
        Ok(())
    }
}

impl<Channels, Messages, Time> ChannelMessages<'_, Channels, Messages, Time>
where
    Channels: ChannelStore + ReplyLeases + RateLimiter,
    Messages: MessageStore,
    Time: Clock,
{
    /// Returns a page of messages, as [`page`](Self::page) does. If the page is to have messages after a `seq` and there
    /// are none, waits for some up to `wait`.
    ///
    /// # Errors
    /// Those of [`page`](Self::page). If `wait` is not zero, also
    /// [`ChatError::TooManyRequests`](crate::model::error::ChatError::TooManyRequests).
    pub async fn page_or_wait(
        &self,
        channel: &ChannelId,
        user: &UserId,
        request: PageRequest,
        wait: Duration,
    ) -> Result<HistoryPage> {
        self.admit(user, wait).await?;
        let mut polls = Polls::new(self.clock, wait);
        let mut page = self.page(channel, user, request).await?;
        let Place::From(Range::After(mut seen)) = request.place else { return Ok(page) };
        while is_empty(&page) && polls.next().await {
            let (access, _) = authorize_read_with_rev(self.channels, channel, user).await?;
            // A message that the page does not show, or that has expired, moves the number too.
            let last = access.channel.last_seq;
            if last > seen {
                seen = last;
                page = self.page(channel, user, request).await?;
            }
        }
        Ok(page)
    }
}

/// Returns whether a page has no message and leads to none.
fn is_empty(page: &HistoryPage) -> bool {
    page.messages.is_empty() && page.next.is_none()
}

#[cfg(test)]
mod tests;
