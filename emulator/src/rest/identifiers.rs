//! Request ids and times in the formats of API Gateway.

use base64::{Engine, prelude::BASE64_URL_SAFE};
use jiff::{Timestamp, tz::TimeZone};

/// Generates a `$context.requestId` of a REST API: a random (version 4) UUID.
pub(crate) fn request_id() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Generates a connection, message or extended request id: eleven random bytes, as in `L0SM9cOFvHcCIhw=`.
pub(crate) fn extended_request_id() -> String {
    BASE64_URL_SAFE.encode(rand::random::<[u8; 11]>())
}

/// Generates an `X-Amzn-Trace-Id`: the time in hexadecimal seconds and 96 random bits.
pub(crate) fn trace_id(now: Timestamp) -> String {
    let random = format!("{:032x}", rand::random::<u128>());
    format!("Root=1-{:08x}-{}", now.as_second(), &random[..24])
}

/// Returns `$context.requestTime` in the format of Common Log, as in `09/Feb/2024:18:23:28 +0000`.
pub(crate) fn request_time(now: Timestamp) -> String {
    now.to_zoned_datetime(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S %z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shape_of_aws() {
        let id = request_id();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, request_id());
        let connection = extended_request_id();
        assert_eq!((connection.len(), connection.ends_with('=')), (16, true), "{connection}");
    }

    #[test]
    fn times_are_in_common_log_format() {
        let now = Timestamp::from_second(1_707_503_008).unwrap();
        assert_eq!(request_time(now), "09/Feb/2024:18:23:28 +0000");
        assert!(trace_id(now).starts_with("Root=1-65c66da0-"), "{}", trace_id(now));
        assert_eq!(trace_id(now).len(), "Root=1-".len() + 8 + 1 + 24);
    }
}
