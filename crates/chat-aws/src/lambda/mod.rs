//! Lambda: records of a stream that invoke a function, and functions that are invoked asynchronously.

pub mod fan_out;
mod images;
pub mod maintenance;
pub mod stream;

use chat::model::time::Timestamp;

/// Returns the time at which an invocation ends, from the `deadline` of its context in milliseconds since the Unix
/// epoch.
#[must_use]
pub fn deadline(millis: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
