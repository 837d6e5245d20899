//! The loop of one lane that takes batches. It processes one batch at a time, until each of its records is finished or
//! discarded.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Item,
    discard::LastInvocation,
    settings::Settings,
    verdict::{Verdict, judge},
};
use crate::{dynamodb::Position, lambda::InvokeError};

/// Maximum payload of a synchronous invocation in bytes, from "Lambda quotas".
const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

const PAYLOAD_START: &str = r#"{"Records":["#;
const PAYLOAD_END: &str = "]}";

/// A batch, or its unfinished records.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) items: VecDeque<Item>,
    /// Number of failures that count against `MaximumRetryAttempts`.
    pub(super) failures: u32,
    /// Number of invocations with these records.
    pub(super) invocations: u32,
    pub(super) last: Option<LastInvocation>,
}

impl Work {
    fn new(items: VecDeque<Item>) -> Self {
        Self { items, failures: 0, invocations: 0, last: None }
    }

    /// Splits off the records from `index` on. Both parts keep the counts of failures and invocations.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
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
pub(super) struct Stopped;

/// Worker of one lane: takes batches from the records of its share of the partition keys.
pub(super) struct BatchWorker {
    pub(super) settings: Arc<Settings>,
    records: mpsc::UnboundedReceiver<Vec<Item>>,
    finished: mpsc::UnboundedSender<Vec<Position>>,
    stop: CancellationToken,
    waiting: VecDeque<Item>,
    /// Number of consecutive invocations that failed completely, for any batch. Many such failures mean that the
    /// function is down.
    failures_in_a_row: u32,
}

impl BatchWorker {
    pub(super) fn new(
        settings: Arc<Settings>,
        records: mpsc::UnboundedReceiver<Vec<Item>>,
        finished: mpsc::UnboundedSender<Vec<Position>>,
        stop: CancellationToken,
    ) -> Self {
        Self { settings, records, finished, stop, waiting: VecDeque::new(), failures_in_a_row: 0 }
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
        let window_ends = Instant::now() + self.settings.config.batching_window;
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
            if index == self.settings.config.batch_size || (index > 0 && bytes > MAX_PAYLOAD_BYTES) {
                return (index, true);
            }
        }
        (self.waiting.len(), self.waiting.len() == self.settings.config.batch_size)
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
                    (failed, self.settings.config.bisect_batch_on_function_error)
                }
            };
            let failures = self.retry(failed, split, &mut left).await?;
            self.pause(if answered { failures } else { self.failures_in_a_row }).await?;
        }
        Ok(())
    }

    /// Invokes the function once. Returns `None` if the function could not be invoked, which does not count as a
    /// failure of the batch.
    async fn invoke(&mut self, work: &mut Work) -> Result<Option<Verdict>, Stopped> {
        let config = &self.settings.config;
        let invocation = self.settings.invoke.invoke(&config.function, work.payload()).await;
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
    pub(super) async fn pause(&self, failures: u32) -> Result<(), Stopped> {
        if failures == 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = tokio::time::sleep(self.settings.backoff(failures)) => Ok(()),
        }
    }

    pub(super) fn finish(&self, items: &VecDeque<Item>) {
        // The receiver outlives the lanes.
        let _ = self.finished.send(items.iter().map(|item| item.position).collect());
    }
}
