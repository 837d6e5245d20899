//! Header fields by RFC 9110, section 5.3: the lines of a list are one list, and other fields stand once.

use std::borrow::Cow;

use chat::model::validation::Violation;
use http::HeaderMap;

use crate::problem::Problem;

/// Fields that have one value. Two lines have no defined meaning: readers differ in the one that they take.
const ONCE: [&str; 6] =
    ["Authorization", "Content-Encoding", "Content-Length", "Content-Type", "Host", "Idempotency-Key"];

/// Requires that each field with one value stands at most once, even if its lines are equal.
///
/// # Errors
/// Fails with a 400 problem that names the fields. For `Authorization` it has the challenge `invalid_request` (RFC
/// 6750, section 3.1).
pub(crate) fn require_once(headers: &HeaderMap) -> Result<(), Problem> {
    let repeated = ONCE.into_iter().filter(|name| headers.get_all(*name).iter().nth(1).is_some());
    let violations: Vec<_> = repeated.map(|name| Violation::new(name, "repeated", "must be sent once")).collect();
    let with_token = violations.iter().any(|violation| violation.field == "Authorization");
    if violations.is_empty() {
        return Ok(());
    }
    let challenge = with_token.then(|| r#"Bearer error="invalid_request""#.to_owned());
    Err(Problem { challenge, ..Problem::malformed(violations) })
}

/// Returns the only line of a field. Returns `None` if there are several, or if it is not text.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return None };
    value.to_str().ok()
}

/// Returns the value of a list: all its lines in their order, separated by commas.
pub(crate) fn combined<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let mut value = Cow::Borrowed(lines.next()?.as_bytes());
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(b", ");
        value.extend_from_slice(line.as_bytes());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem_code::ProblemCode;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_field_with_one_value_stands_once() {
        for name in ONCE {
            let lower: &'static str = name.to_ascii_lowercase().leak();
            assert_eq!(require_once(&headers(&[(lower, "a")])), Ok(()));
            for second in ["a", "b", ""] {
                let problem = require_once(&headers(&[(lower, "a"), (lower, second)])).unwrap_err();
                let [violation] = problem.errors.as_slice() else { panic!("{name}: {problem:?}") };
                assert_eq!((problem.code, problem.status), (ProblemCode::MalformedRequest, 400));
                assert_eq!((violation.field.as_str(), violation.code), (name, "repeated"));
                assert_eq!(problem.challenge.is_some(), name == "Authorization");
            }
        }
        assert_eq!(
            require_once(&headers(&[("accept", "a"), ("accept", "b"), ("if-match", "*"), ("if-match", "*")])),
            Ok(())
        );
    }

    #[test]
    fn the_lines_of_a_list_are_one_list() {
        let lines = headers(&[("tracestate", "a=1,b=2"), ("accept", "x"), ("tracestate", "c=3")]);
        assert_eq!(combined(&lines, "tracestate").as_deref(), Some(&b"a=1,b=2, c=3"[..]));
        assert_eq!(combined(&lines, "accept").as_deref(), Some(&b"x"[..]));
        assert_eq!(combined(&lines, "if-match"), None);
        assert_eq!((only(&lines, "accept"), only(&lines, "tracestate")), (Some("x"), None));
    }
}
