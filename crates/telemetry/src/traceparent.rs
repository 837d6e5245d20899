//! W3C Trace Context: the `traceparent` header, version 00.

/// The trace context of a request: the caller's `traceparent` when it has a valid one, else one made from API
/// Gateway's `X-Amzn-Trace-Id`, else a new one from `random`.
#[must_use]
pub fn of_request(traceparent: Option<&str>, amzn_trace_id: Option<&str>, random: u128) -> String {
    if let Some(given) = traceparent.map(str::trim).filter(|given| is_valid(given)) {
        return given.to_owned();
    }
    let trace_id = amzn_trace_id.and_then(trace_id_of_xray).unwrap_or_else(|| format!("{:032x}", random | 1));
    let span_id = (random >> 64) as u64 | 1;
    format!("00-{trace_id}-{span_id:016x}-01")
}

/// Whether `text` is a `traceparent` that may be passed on: version, ids of the right length in lower-case hex,
/// neither of them all zero (W3C Trace Context, section 3.2).
#[must_use]
pub fn is_valid(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length: usize| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let (Some("00"), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2)
}

/// `Root=1-5759e988-bd862e3fe1be46a994272793` holds a W3C trace id in two parts (AWS X-Ray, "Tracing header").
fn trace_id_of_xray(header: &str) -> Option<String> {
    let root = header.split(';').find_map(|field| field.trim().strip_prefix("Root=1-"))?;
    let trace_id = root.replacen('-', "", 1);
    is_valid(&format!("00-{trace_id}-0000000000000001-00")).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_context_is_kept_and_any_other_replaced_by_a_valid_one() {
        assert_eq!(of_request(Some(GIVEN), None, 7), GIVEN);
        for bad in ["", "00-0-0-00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &GIVEN.to_uppercase()] {
            let made = of_request(Some(bad), None, 7);
            assert_ne!(made, bad);
            assert!(is_valid(&made), "{made}");
        }
        assert!(is_valid(&of_request(None, None, 0)));
        assert!(is_valid(&of_request(None, None, u128::MAX)));
    }

    #[test]
    fn the_trace_id_of_api_gateway_is_kept() {
        let made = of_request(None, Some("Self=1-2-3;Root=1-5759e988-bd862e3fe1be46a994272793"), 9);
        assert!(made.starts_with("00-5759e988bd862e3fe1be46a994272793-"), "{made}");
        assert!(is_valid(&of_request(None, Some("Root=1-nonsense"), 9)));
    }
}
