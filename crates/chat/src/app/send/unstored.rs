//! Limit of sends that store nothing. They cost a transaction or reads, but take no token of their sender's sends.

use std::time::Duration;

use super::SendResult;
use crate::{
    model::{
        error::{ChatError, Result},
        id::UserId,
        time::Timestamp,
        token_bucket::Bucket,
    },
    ports::rate_limiter::{LimitedAction, RateLimiter},
};

/// Takes a token of [`LimitedAction::SendNothing`] if a send stored nothing. Returns the time until the next token if
/// the bucket is empty. The caller refuses the user's sends for that time without a call of a store.
///
/// # Errors
/// [`ChatError::Store`].
pub async fn limit_unstored(
    limiter: &impl RateLimiter,
    user: &UserId,
    bucket: Bucket,
    now: Timestamp,
    sent: &Result<SendResult>,
) -> Result<Option<Duration>> {
    if !stores_nothing(sent) {
        return Ok(None);
    }
    Ok(limiter.take(user, &LimitedAction::SendNothing, bucket, now).await?.err())
}

/// Returns whether a request cost a transaction or reads but took no token of its sender.
fn stores_nothing(sent: &Result<SendResult>) -> bool {
    match sent {
        // The sender's bucket is already empty, or the sender did not cause the failure.
        Ok(SendResult::Created(_))
        | Err(ChatError::TooManyRequests(_) | ChatError::Contended { .. } | ChatError::Store(_)) => false,
        Ok(SendResult::Replayed(_)) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::send::Sent,
        model::rev::Rev,
        ports::clock::Clock,
        testing::{TestClock, TestStore, stored_message},
    };

    #[tokio::test]
    async fn only_sends_that_store_nothing_by_their_senders_fault_take_a_token() {
        let message = Sent { message: stored_message("c", 1, "hi").message, rev: Rev::ZERO };
        let wait = Duration::from_secs(10);
        let bucket = Bucket { every: wait, burst: 1 };
        for (sent, takes) in [
            (Ok(SendResult::Created(message.clone())), false),
            (Ok(SendResult::Replayed(message)), true),
            (Err(ChatError::ChannelNotFound), true),
            (Err(ChatError::IdempotencyKeyReused), true),
            (Err(ChatError::TooManyRequests(bucket.exhausted("send", wait))), false),
            (Err(ChatError::contended()), false),
        ] {
            let (store, clock) = (TestStore::seeded(1, 0), TestClock::new(1));
            let user = "alice".parse().unwrap();
            let first = limit_unstored(&store, &user, bucket, clock.now(), &sent).await.unwrap();
            assert_eq!(first, None, "{sent:?}");
            let second = limit_unstored(&store, &user, bucket, clock.now(), &sent).await.unwrap();
            assert_eq!(second, takes.then_some(wait), "{sent:?}");
        }
    }
}
