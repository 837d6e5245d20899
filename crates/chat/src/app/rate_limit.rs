//! Rate limits of users' actions: token buckets.
//!
//! A bucket is stored as one time: the moment when it is full again. This is the theoretical arrival time of the
//! generic cell rate algorithm. Taking a token moves it later by [`Bucket::every`]. It may be at most a whole bucket
//! away.

use crate::{
    model::{
        error::{ChatError, Result},
        id::UserId,
        limits::WAIT_BUCKET,
        token_bucket::{Bucket, Quota},
    },
    ports::{
        clock::Clock,
        rate_limiter::{LimitedAction, RateLimiter},
    },
};

/// Rate limits per user of all requests except sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Opening sockets, and requests for tickets.
    pub connect: Bucket,
    /// Creation of channels.
    pub create: Bucket,
    /// Additions of members.
    pub members: Bucket,
    /// Lists of present users.
    pub presence: Bucket,
    /// Other expensive requests: one bucket for each [`LimitedAction`].
    pub other: Bucket,
}

impl RateLimits {
    /// Returns the bucket of an action.
    #[must_use]
    pub fn of(&self, action: &LimitedAction<'_>) -> Bucket {
        match action {
            LimitedAction::Connect => self.connect,
            LimitedAction::Create => self.create,
            LimitedAction::AddMember => self.members,
            LimitedAction::LookAtPresence => self.presence,
            LimitedAction::Wait => WAIT_BUCKET,
            _ => self.other,
        }
    }
}

/// Takes a token for a user's action. Returns the state of the bucket after that.
///
/// # Errors
/// [`ChatError::TooManyRequests`], [`ChatError::Store`].
pub async fn check_rate_limit(
    limiter: &impl RateLimiter,
    clock: &impl Clock,
    user: &UserId,
    action: &LimitedAction<'_>,
    bucket: Bucket,
) -> Result<Quota> {
    let now = clock.now();
    match limiter.take(user, action, bucket, now).await? {
        Ok(full_at) => Ok(bucket.quota(action.name(), full_at, now)),
        Err(wait) => Err(ChatError::TooManyRequests(bucket.exhausted(action.name(), wait))),
    }
}
