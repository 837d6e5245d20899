//! Lambda: records of a stream that invoke a function, and functions that are invoked asynchronously.

pub mod fan_out;
mod images;
pub mod maintenance;
pub mod stream;

use std::sync::{Arc, OnceLock};

use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use chat::model::time::Timestamp;

use crate::sdk;

/// A client of Lambda that is created before its first call. Most environments invoke nothing, and a client reads all
/// partitions of AWS when it is created. Clones share it.
#[derive(Debug, Clone)]
struct LazyClient(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    config: SdkConfig,
    client: OnceLock<Client>,
}

impl LazyClient {
    fn new(config: &SdkConfig) -> Self {
        Self(Arc::new(Parts { config: config.clone(), client: OnceLock::new() }))
    }

    fn get(&self) -> &Client {
        self.0.client.get_or_init(|| sdk::lambda(&self.0.config))
    }
}

/// Returns the time at which an invocation ends, from the `deadline` of its context in milliseconds since the Unix
/// epoch.
#[must_use]
pub fn deadline(millis: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
