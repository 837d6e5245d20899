//! Token buckets, in `chat_channels`: see [`crate::dynamodb::keys`]. `full_at` is in milliseconds since the Unix epoch.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chat::{
    model::{
        error::StoreError,
        id::UserId,
        time::Timestamp,
        token_bucket::{Bucket, Taken},
    },
    ports::rate_limiter::{LimitedAction, RateLimiter},
};

use crate::{
    dynamodb::{
        channels::DynamoChannels,
        item::{Item, n, number},
    },
    sdk::sdk_error,
};

/// Time for which a full bucket is stored.
const KEPT: Duration = Duration::from_hours(1);

/// Maximum attempts on a bucket that other requests change at the same time.
const ATTEMPTS: usize = 4;

/// Returns the TTL in seconds of a bucket that is full at `full_at`.
pub(crate) fn kept_until(full_at: Timestamp) -> i64 {
    full_at.plus(KEPT).as_secs()
}

/// Returns the time at which a bucket is full.
pub(crate) fn full_at(bucket: &Item) -> Option<Timestamp> {
    number(bucket, "full_at").map(Timestamp::from_millis)
}

impl RateLimiter for DynamoChannels {
    /// Takes a token. Sends one write if the bucket is full, two if it is not.
    async fn take(
        &self,
        user: &UserId,
        action: &LimitedAction<'_>,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let key = self.keys.bucket(user, action);
        let millis = i64::try_from(bucket.every.as_millis()).unwrap_or(i64::MAX);
        let (latest, next) = (now.plus(bucket.tolerance()), now.plus(bucket.every));
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .expression_attribute_values(":now", n(now.as_millis()))
                .expression_attribute_values(":expires_at", n(kept_until(latest)))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        };
        for _ in 0..ATTEMPTS {
            let full = update()
                .update_expression("SET full_at = :next, expires_at = :expires_at")
                .condition_expression("attribute_not_exists(full_at) OR full_at <= :now")
                .expression_attribute_values(":next", n(next.as_millis()));
            if took(full).await?.is_ok() {
                return Ok(Ok(next));
            }
            let partly = update()
                .update_expression("SET full_at = full_at + :every, expires_at = :expires_at")
                .condition_expression("full_at > :now AND full_at <= :latest")
                .expression_attribute_values(":every", n(millis))
                .expression_attribute_values(":latest", n(latest.as_millis()))
                .return_values(ReturnValue::UpdatedNew);
            match took(partly).await? {
                Ok(updated) => return Ok(Ok(full_at(&updated).unwrap_or(latest.plus(bucket.every)))),
                Err(full_at) if full_at > latest => return Ok(Err(bucket.wait(full_at, now))),
                // The bucket is full: another request has a later clock.
                Err(_) => {}
            }
        }
        Ok(Err(bucket.every))
    }
}

/// Takes a token. Returns the attributes that the update returns, or the time at which the bucket is full if the
/// condition did not hold.
async fn took(update: UpdateItemFluentBuilder) -> Result<Result<Item, Timestamp>, StoreError> {
    match update.send().await {
        Ok(updated) => Ok(Ok(updated.attributes.unwrap_or_default())),
        Err(SdkError::ServiceError(context)) => match context.err() {
            UpdateItemError::ConditionalCheckFailedException(refused) => {
                Ok(Err(refused.item().and_then(full_at).unwrap_or(Timestamp::from_millis(0))))
            }
            _ => Err(sdk_error("UpdateItem", SdkError::ServiceError(context))),
        },
        Err(error) => Err(sdk_error("UpdateItem", error)),
    }
}
