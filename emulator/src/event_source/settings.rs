//! The settings that all lanes of an event source mapping share.

use std::{sync::Arc, time::Duration};

use super::{Destination, Options};
use crate::{dynamodb::Stream, lambda::Invoke, stack::EventSourceMapping};

/// Settings that all lanes of a mapping share.
pub(super) struct Settings {
    pub(super) config: EventSourceMapping,
    pub(super) stream: Arc<Stream>,
    pub(super) invoke: Arc<dyn Invoke>,
    pub(super) destination: Destination,
    pub(super) options: Options,
}

impl Settings {
    pub(super) fn function_arn(&self) -> String {
        let Options { region, account_id, .. } = &self.options;
        format!("arn:aws:lambda:{region}:{account_id}:function:{}", self.config.function)
    }

    /// Returns the pause after `failures` consecutive failures.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.options.retry_base.saturating_mul(1 << doublings).min(self.options.retry_cap)
    }
}
