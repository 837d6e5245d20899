//! One lane of a mapping. It processes one batch at a time, until each of its records is finished or discarded.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    Item,
    discard::{Condition, LastInvocation, message},
    response::{Verdict, judge},
    rules::Rules,
};
use crate::{
    dynamodb::{Position, STREAM_RETENTION},
    lambda::InvokeError,
};

/// Maximum payload of a synchronous invocation in bytes, from "Lambda quotas".
const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

const PAYLOAD_START: &str = r#"{"Records":["#;
const PAYLOAD_END: &str = "]}";

/// A batch, or its unfinished records.
#[derive(Debug)]
struct Work {
    items: VecDeque<Item>,
    /// Number of failures that count against `MaximumRetryAttempts`.
    failures: u32,
    /// Number of invocations with these records.
    invocations: u32,
    last: Option<LastInvocation>,
}

impl Work {
    fn new(items: VecDeque<Item>) -> Self {
        Self { items, failures: 0, invocations: 0, last: None }
    }

    /// Splits off the records from `index` on. Both parts keep the counts of failures and invocations.
    fn split_off(&mut self, index: usize) -> Self {
        Self { items: self.items.split_off(index), last: self.last.clone(), ..*self }
    }

    fn payload(&self) -> Bytes {
        let size = self.items.iter().map(|item| item.json.len() + 1).sum::<usize>();
        let mut payload = String::with_capacity(size + PAYLOAD_START.len() + PAYLOAD_END.len());
        payload.push_str(PAYLOAD_START);
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                payload.push(',');
            }
            payload.push_str(&item.json);
        }
        payload.push_str(PAYLOAD_END);
        payload.into()
    }

    fn sequence_numbers(&self) -> Vec<String> {
        self.items.iter().map(|item| item.position.sequence_number()).collect()
    }
}

/// Error: the mapping is stopping.
struct Stopped;

/// Worker for the records of its share of the partition keys.
pub(super) struct Lane {
    rules: Arc<Rules>,
    records: mpsc::UnboundedReceiver<Vec<Item>>,
    finished: mpsc::UnboundedSender<Vec<Position>>,
    stop: CancellationToken,
    waiting: VecDeque<Item>,
    /// Number of consecutive invocations that failed completely, for any batch. Many such failures mean that the
    /// function is down.
    failures_in_a_row: u32,
}

impl Lane {
    pub(super) fn new(
        rules: Arc<Rules>,
        records: mpsc::UnboundedReceiver<Vec<Item>>,
        finished: mpsc::UnboundedSender<Vec<Position>>,
        stop: CancellationToken,
    ) -> Self {
        Self { rules, records, finished, stop, waiting: VecDeque::new(), failures_in_a_row: 0 }
    }

    /// Runs until the mapping stops. Waits for a running invocation.
    pub(super) async fn run(mut self) {
        while let Ok(batch) = self.gather().await {
            if self.process(batch).await.is_err() {
                return;
            }
        }
    }

    /// Returns the next batch: a complete one, or the records that arrived within the batching window.
    async fn gather(&mut self) -> Result<VecDeque<Item>, Stopped> {
        let stop = self.stop.clone();
        if self.waiting.is_empty() {
            let records = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                records = self.records.recv() => records.ok_or(Stopped)?,
            };
            self.waiting.extend(records);
        }
        let window_ends = Instant::now() + self.rules.config.batching_window;
        loop {
            while let Ok(records) = self.records.try_recv() {
                self.waiting.extend(records);
            }
            let (length, complete) = self.batch_length();
            if complete || Instant::now() >= window_ends {
                return Ok(self.waiting.drain(..length).collect());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                records = self.records.recv() => self.waiting.extend(records.ok_or(Stopped)?),
                () = tokio::time::sleep_until(window_ends) => {}
            }
        }
    }

    /// Returns the number of waiting records in the next batch, and whether a further record could still join it.
    fn batch_length(&self) -> (usize, bool) {
        let mut bytes = PAYLOAD_START.len() + PAYLOAD_END.len();
        for (index, item) in self.waiting.iter().enumerate() {
            bytes += item.json.len() + 1;
            if index == self.rules.config.batch_size || (index > 0 && bytes > MAX_PAYLOAD_BYTES) {
                return (index, true);
            }
        }
        (self.waiting.len(), self.waiting.len() == self.rules.config.batch_size)
    }

    /// Processes a batch until each record is finished or discarded.
    async fn process(&mut self, batch: VecDeque<Item>) -> Result<(), Stopped> {
        let mut left = VecDeque::from([Work::new(batch)]);
        while let Some(mut work) = left.pop_front() {
            self.discard_expired(&mut work).await?;
            if work.items.is_empty() {
                continue;
            }
            let Some(verdict) = self.invoke(&mut work).await? else {
                left.push_front(work);
                self.pause(self.failures_in_a_row).await?;
                continue;
            };
            // A function that reports batch item failures is working, so the pause depends on the records and not on
            // the function.
            let answered = matches!(verdict, Verdict::FailedFrom(_));
            let (failed, split) = match verdict {
                Verdict::Success => {
                    self.finish(&work.items);
                    continue;
                }
                Verdict::FailedFrom(0) | Verdict::Failed => (work, false),
                Verdict::FailedFrom(index) => {
                    let failed = work.split_off(index);
                    self.finish(&work.items);
                    // If bisection is enabled, the batch is bisected at the reported record.
                    (failed, self.rules.config.bisect_batch_on_function_error)
                }
            };
            let failures = self.retry(failed, split, &mut left).await?;
            self.pause(if answered { failures } else { self.failures_in_a_row }).await?;
        }
        Ok(())
    }

    /// Puts failed records back to the front of `left`, in halves or whole, or discards them.
    ///
    /// A split does not count as a retry, so each half may fail as often as the whole. Returns the number of
    /// consecutive failures of the same records; 0 after a split.
    async fn retry(&self, mut failed: Work, split: bool, left: &mut VecDeque<Work>) -> Result<u32, Stopped> {
        let config = &self.rules.config;
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

    /// Invokes the function once. Returns `None` if the function could not be invoked, which does not count as a
    /// failure of the batch.
    async fn invoke(&mut self, work: &mut Work) -> Result<Option<Verdict>, Stopped> {
        let config = &self.rules.config;
        let invocation = self.rules.invoke.invoke(&config.function, work.payload()).await;
        let (mapping, function) = (&config.logical_id, &config.function);
        let invocation = match invocation {
            Ok(invocation) => invocation,
            Err(InvokeError::Stopping) => return Err(Stopped),
            Err(InvokeError::PayloadTooLarge { .. }) => {
                warn!(mapping, function, "a batch was too large to send");
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                return Ok(Some(Verdict::Failed));
            }
            Err(error @ (InvokeError::Throttled | InvokeError::UnknownFunction(_))) => {
                warn!(mapping, function, %error, "a batch could not be delivered; trying again");
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                return Ok(None);
            }
        };
        work.invocations = work.invocations.saturating_add(1);
        let request_id = invocation.request_id;
        let verdict = match &invocation.outcome {
            Ok(answer) if config.report_batch_item_failures => judge(answer, &work.sequence_numbers()),
            Ok(_) => Verdict::Success,
            Err(error) => {
                warn!(mapping, function, request_id, %error, "a batch failed");
                Verdict::Failed
            }
        };
        self.failures_in_a_row = if verdict == Verdict::Failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        work.last = Some(LastInvocation { request_id, function_error: invocation.outcome.is_err() });
        Ok(Some(verdict))
    }

    /// Waits before a retry. The pause grows with `failures`.
    async fn pause(&self, failures: u32) -> Result<(), Stopped> {
        if failures == 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = tokio::time::sleep(self.rules.backoff(failures)) => Ok(()),
        }
    }

    /// Discards records of `work` that are too old to be delivered.
    async fn discard_expired(&self, work: &mut Work) -> Result<(), Stopped> {
        let age = self.rules.config.maximum_record_age.unwrap_or(STREAM_RETENTION);
        let now = (self.rules.options.clock)();
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
        let config = &self.rules.config;
        let items: Vec<Item> = work.items.iter().cloned().collect();
        let message = message(&self.rules, condition, &items, work.invocations, work.last.as_ref());
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
        while let Err(error) = (self.rules.destination)(arn, message.clone()) {
            failures += 1;
            error!(arn, %error, "an on-failure destination did not accept discarded records; trying again");
            self.pause(failures).await?;
        }
        Ok(())
    }

    fn finish(&self, items: &VecDeque<Item>) {
        // The receiver outlives the lanes.
        let _ = self.finished.send(items.iter().map(|item| item.position).collect());
    }
}
