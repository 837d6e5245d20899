//! The declared format of a body. Bodies are JSON in UTF-8, without a content coding.

use http::{HeaderMap, header};

use crate::{headers::only, problem::Problem, problem_code::ProblemCode};

/// Types that clients declare for text unless their user names one: `curl -d`, `fetch` and plain HTTP libraries. They
/// say nothing about the format.
const DEFAULTS: [&str; 3] = ["application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];

/// Requires that a body is declared as JSON in UTF-8, or not declared.
///
/// # Errors
/// Fails with a 415 problem.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !is_identity(coding.as_bytes())) {
        return Err(unsupported("the body must have no Content-Encoding"));
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(());
    }
    let declared = only(headers, "content-type").unwrap_or("?");
    let mut parts = declared.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"))
        || DEFAULTS.contains(&essence.as_str());
    if !is_json && !declared.trim().is_empty() {
        return Err(unsupported("the Content-Type must be application/json"));
    }
    let charsets = parts.filter_map(|parameter| parameter.split_once('=')).filter(|(name, _)| is_charset(name));
    for (_, charset) in charsets {
        let charset = charset.trim_matches('"');
        if !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
            return Err(unsupported("the charset of the body must be utf-8"));
        }
    }
    Ok(())
}

fn is_charset(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case("charset")
}

fn is_identity(coding: &[u8]) -> bool {
    let coding = coding.trim_ascii();
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(ProblemCode::UnsupportedMediaType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        match require_json(&headers) {
            Ok(()) => true,
            Err(problem) => {
                assert_eq!(problem.status, 415);
                false
            }
        }
    }

    #[test]
    fn json_in_utf_8_is_accepted_and_no_other_declared_format() {
        assert_eq!(require_json(&HeaderMap::new()), Ok(()));
        for accepted in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ; Charset=UTF-8; q=1",
            "application/merge-patch+json",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "text/plain;charset=UTF-8",
            "",
        ] {
            assert!(accepts("content-type", accepted), "{accepted}");
        }
        for refused in [
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=latin1",
            "text/plain; charset=iso-8859-1",
            "text/json",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json, application/json",
            "json",
            "; charset=utf-8",
        ] {
            assert!(!accepts("content-type", refused), "{refused}");
        }
    }

    #[test]
    fn a_coded_body_is_refused() {
        for (coding, accepted) in
            [("identity", true), ("Identity", true), ("", true), ("gzip", false), ("gzip, br", false)]
        {
            assert_eq!(accepts("content-encoding", coding), accepted, "{coding}");
        }
    }
}
