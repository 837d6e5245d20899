//! Times of the server, in milliseconds since the Unix epoch.

use std::time::{Duration, UNIX_EPOCH};

/// Returns a time in the form of the contract: RFC 3339 in UTC with three decimals.
pub(crate) fn timestamp(millis: u64) -> String {
    let signed = i64::try_from(millis).unwrap_or(i64::MAX);
    format!("{:.3}", jiff::Timestamp::from_millisecond(signed).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// Returns a time in the form of the header `Date`.
pub(crate) fn http_date(millis: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_the_contract() {
        assert_eq!(timestamp(1_777_636_800_000), "2026-05-01T12:00:00.000Z");
        assert_eq!(http_date(1_777_636_800_000), "Fri, 01 May 2026 12:00:00 GMT");
    }
}
