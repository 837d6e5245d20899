//! Expiry of the items that belong to a connection, in `chat_connections`.
//!
//! TTL deletes an item after the time in its `expires_at`, immediately or days later ("Using time to live (TTL) in
//! DynamoDB"). The maintenance function must find a connection after its end, to close its socket. So `expires_at` of a
//! connection, its subscriptions and their gate is [`KEPT`] after the end. Every reader compares the end itself.

use std::time::Duration;

use chat::model::time::Timestamp;

/// Time between the end of an item and its `expires_at`.
const KEPT: Duration = Duration::from_hours(1);

/// Returns the `expires_at` of an item that ends at `end`, in seconds since the Unix epoch.
pub(crate) fn kept_until(end: Timestamp) -> i64 {
    end.plus(KEPT).as_secs()
}

/// Returns the end of an item with this `expires_at`.
pub(crate) fn end_of(expires_at: i64) -> Timestamp {
    Timestamp::from_secs(expires_at.saturating_sub_unsigned(KEPT.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_as_it_was_written() {
        for end in [0, 1_800_000_000, i64::MAX / 2_000] {
            let end = Timestamp::from_secs(end);
            assert_eq!(end_of(kept_until(end)), end);
        }
    }
}
