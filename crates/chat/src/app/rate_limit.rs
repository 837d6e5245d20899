//! Rate limits of users' actions: token buckets.
//!
//! A bucket is stored as one time: the moment when it is full again. This is the theoretical arrival time of the
//! generic cell rate algorithm. Taking a token moves it later by [`Bucket::every`]. It may be at most a whole bucket
//! away.
//!
//! An environment that sends regularly for a user takes a handful of tokens with one write ([`SenderTokens`]). The limit
//! holds for all environments together: see `Handful`.

use std::time::Duration;

use crate::{
    model::{
        error::{ChatError, Result},
        id::UserId,
        limits::{HANDFUL_SHARE, HANDFUL_TOKENS, WAIT_BUCKET},
        time::Timestamp,
        token_bucket::{Bucket, Quota},
    },
    ports::{
        clock::Clock,
        message_store::Token,
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
    let began = clock.now();
    let taken = limiter.take(user, action, bucket, began).await?;
    let now = clock.now();
    match taken {
        Ok(full_at) => Ok(bucket.quota(action.name(), full_at, now)),
        Err(wait) => {
            // The wait is from the beginning. Requests that began later may have taken their tokens before this one.
            let left = wait.saturating_sub(began.until(now));
            Err(ChatError::TooManyRequests(bucket.exhausted(action.name(), left)))
        }
    }
}

/// Tokens that an environment has taken from a sender's bucket and not used.
///
/// Each token of a bucket has a slot: the time when the bucket would be full if the token and all later ones were put
/// back. Slots of one bucket are at least [`Bucket::every`] apart, whichever environment took them. A token is used at
/// its slot or before it, and not before its slot is within the bucket's tolerance. So the messages of any period use
/// slots of that period and of one burst after it, and are no more than the bucket allows. After its slot the token is
/// lost, as the bucket has regained one by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handful {
    /// Slot of the first token.
    slot: Timestamp,
    /// Number of tokens.
    tokens: u32,
}

impl Handful {
    /// Returns the slot of the first token that can be used at `now`, and the tokens after it.
    fn first(self, bucket: Bucket, now: Timestamp) -> Option<(Timestamp, Self)> {
        let lost = self.slot.until(now).as_nanos().div_ceil(bucket.every.as_nanos().max(1));
        let lost = u32::try_from(lost).unwrap_or(u32::MAX);
        let tokens = self.tokens.checked_sub(lost)?.checked_sub(1)?;
        let slot = self.slot.plus(bucket.every.saturating_mul(lost));
        is_usable(bucket, slot, now).then(|| (slot, Self { slot: slot.plus(bucket.every), tokens }))
    }
}

/// Returns whether a token with this slot can be used at `now`. It cannot if the clock has moved back by too much.
fn is_usable(bucket: Bucket, slot: Timestamp, now: Timestamp) -> bool {
    slot >= now && bucket.wait(slot, now).is_zero()
}

/// Tokens of a sender, as one environment knows them. They are for all channels together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderTokens {
    /// Time when the stored bucket is full, as it was last read or written. It is never earlier than this, since only
    /// sending moves it.
    full_at: Option<Timestamp>,
    /// Whether this environment was the last to write the bucket, as far as it knows.
    is_last: bool,
    handful: Option<Handful>,
}

impl SenderTokens {
    /// Returns what an environment knows after it has read the bucket: another one has taken tokens.
    #[must_use]
    pub fn read(full_at: Timestamp) -> Self {
        Self { full_at: Some(full_at), is_last: false, handful: None }
    }

    /// Returns the number of tokens that were taken and not used. Some of them may be lost.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.handful.map_or(0, |handful| handful.tokens)
    }

    /// Returns the state of the bucket as its user may know it: tokens that are held count as left. Returns `None` if
    /// nothing is known of it.
    #[must_use]
    pub fn quota(&self, bucket: Bucket, now: Timestamp) -> Option<Quota> {
        let held = self.handful.and_then(|handful| handful.first(bucket, now));
        let full_at = held.map(|(slot, _)| slot).or(self.full_at)?;
        Some(bucket.quota(LimitedAction::Send.name(), full_at, now))
    }

    /// Returns the payment for one message: a token that is held, or tokens of the stored bucket.
    ///
    /// # Errors
    /// The wait until the next token.
    pub(crate) fn pay(&self, bucket: Bucket, now: Timestamp) -> Result<Payment, Duration> {
        if let Some((slot, rest)) = self.handful.and_then(|handful| handful.first(bucket, now)) {
            let rest = Self { handful: Some(rest).filter(|rest| rest.tokens > 0), ..*self };
            return Ok(Payment { slot, token: None, rest });
        }
        let slot = self.full_at.map_or(now, |full_at| full_at.max(now));
        let wait = bucket.wait(slot, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let taken = if self.sends_regularly(bucket, now) {
            (bucket.left(slot, now) / HANDFUL_SHARE).clamp(1, HANDFUL_TOKENS)
        } else {
            1
        };
        let next = slot.plus(bucket.every.saturating_mul(taken));
        let handful = (taken > 1).then(|| Handful { slot: slot.plus(bucket.every), tokens: taken - 1 });
        Ok(Payment {
            slot,
            token: Some(Token { full_at: self.full_at.filter(|full_at| *full_at > now), next }),
            rest: Self { full_at: Some(next), is_last: true, handful },
        })
    }

    /// Returns whether the sender's last message came from this environment, so recently that it would have used
    /// another token of a handful. Tokens that several environments hold would be missed by each other.
    fn sends_regularly(&self, bucket: Bucket, now: Timestamp) -> bool {
        let handful = bucket.every.saturating_mul(HANDFUL_TOKENS);
        self.is_last && self.full_at.is_some_and(|full_at| full_at.plus(handful) > now)
    }
}

/// Token of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payment {
    /// Slot of the token: see [`Handful`].
    slot: Timestamp,
    /// Tokens to take from the stored bucket. `None`: the token was held.
    pub(crate) token: Option<Token>,
    /// Tokens of the sender after the payment.
    pub(crate) rest: SenderTokens,
}

impl Payment {
    /// Returns the payment of a further attempt at the same message, after one without a response. At most one of the
    /// two is stored, so a token that was held pays for both, as long as it can be used.
    pub(crate) fn again(self, bucket: Bucket, rest: SenderTokens, now: Timestamp) -> Option<Self> {
        (self.token.is_none() && is_usable(bucket, self.slot, now)).then_some(Self { rest, ..self })
    }
}

#[cfg(test)]
mod tests;
