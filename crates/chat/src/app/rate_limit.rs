//! How often users may do what: token buckets.
//!
//! A bucket is kept as one time, the theoretical arrival time of the generic cell rate algorithm: when the bucket will
//! be full again. Taking a token moves it on by [`Bucket::every`]; it may not be further away than the whole bucket.

use crate::{
    model::{
        error::{ChatError, Result},
        id::UserId,
        token_bucket::Bucket,
    },
    ports::{
        clock::Clock,
        rate_limiter::{LimitedAction, RateLimiter},
    },
};

/// Lets a user do something, unless it is too often.
///
/// # Errors
/// [`ChatError::TooManyRequests`], [`ChatError::Store`].
pub async fn check_rate_limit(
    limiter: &impl RateLimiter,
    clock: &impl Clock,
    user: &UserId,
    action: &LimitedAction<'_>,
    bucket: Bucket,
) -> Result<()> {
    match limiter.take(user, action, bucket, clock.now()).await? {
        None => Ok(()),
        Some(retry_after) => Err(ChatError::TooManyRequests { retry_after }),
    }
}
