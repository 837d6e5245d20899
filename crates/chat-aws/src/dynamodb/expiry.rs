//! Ends of what belongs to a connection, in `chat_connections`.
//!
//! TTL deletes an item when the time in its `expires_at` has passed, at once or days later ("Using time to live (TTL) in
//! DynamoDB"). The maintenance function has to find a connection after its end, to close its socket: so `expires_at` of a
//! connection, of its subscriptions and of their gate is [`KEPT`] after the end, and every reader compares the end.

use std::time::Duration;

use chat::model::time::Timestamp;

/// How long an item stays after its end.
const KEPT: Duration = Duration::from_hours(1);

/// The `expires_at` of an item that ends then.
pub(crate) fn kept_until(end: Timestamp) -> i64 {
    end.plus(KEPT).as_secs()
}

/// The end of an item with this `expires_at`.
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
