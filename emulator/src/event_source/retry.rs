//! Decides whether failed records are retried, bisected or discarded.

use std::collections::VecDeque;

use serde_json::Value;
use tracing::error;

use super::{
    Item,
    batches::{BatchWorker, Stopped, Work},
    discard::{Condition, message},
};
use crate::dynamodb::STREAM_RETENTION;

impl BatchWorker {
    /// Puts failed records back to the front of `left`, in halves or whole, or discards them.
    ///
    /// A split does not count as a retry, so each half may fail as often as the whole. Returns the number of
    /// consecutive failures of the same records; 0 after a split.
    pub(super) async fn retry(&self, mut failed: Work, split: bool, left: &mut VecDeque<Work>) -> Result<u32, Stopped> {
        let config = &self.settings.config;
        if split {
            left.push_front(failed);
            return Ok(0);
        }
        if config.bisect_batch_on_function_error && failed.items.len() > 1 {
            let second = failed.split_off(failed.items.len() / 2);
            left.push_front(second);
            left.push_front(failed);
            return Ok(0);
        }
        failed.failures += 1;
        let failures = failed.failures;
        if config.maximum_retry_attempts.is_some_and(|retries| failed.failures > retries) {
            self.discard(&failed, Condition::RetryAttemptsExhausted).await?;
            return Ok(0);
        }
        left.push_front(failed);
        Ok(failures)
    }

    /// Discards records of `work` that are too old to be delivered.
    pub(super) async fn discard_expired(&self, work: &mut Work) -> Result<(), Stopped> {
        let age = self.settings.config.maximum_record_age.unwrap_or(STREAM_RETENTION);
        let now = (self.settings.options.clock)();
        // Records are in the order of their creation.
        let expired = work
            .items
            .iter()
            .take_while(|item| now.duration_since(item.created_at).unsigned_abs() > age && now > item.created_at)
            .count();
        if expired > 0 {
            let fresh = work.split_off(expired);
            self.discard(work, Condition::RecordAgeExceeded).await?;
            *work = fresh;
        }
        Ok(())
    }

    async fn discard(&self, work: &Work, condition: Condition) -> Result<(), Stopped> {
        let config = &self.settings.config;
        let items: Vec<Item> = work.items.iter().cloned().collect();
        let message = message(&self.settings, condition, &items, work.invocations, work.last.as_ref());
        let (mapping, condition, records) = (&config.logical_id, condition.name(), items.len());
        match &config.on_failure {
            Some(arn) => {
                error!(mapping, condition, records, destination = arn, "records were discarded");
                self.send_to_destination(arn, &message).await?;
            }
            None => {
                error!(mapping, condition, records, %message, "records were discarded without a destination");
            }
        }
        self.finish(&work.items);
        Ok(())
    }

    /// Retries until the destination has stored the message, because the records count as finished only then.
    async fn send_to_destination(&self, arn: &str, message: &Value) -> Result<(), Stopped> {
        let mut failures = 0;
        while let Err(error) = (self.settings.destination)(arn, message.clone()) {
            failures += 1;
            error!(arn, %error, "an on-failure destination did not accept discarded records; trying again");
            self.pause(failures).await?;
        }
        Ok(())
    }
}
