//! Query parameters that are numbers.

use std::{fmt::Display, str::FromStr, time::Duration};

use chat::model::{
    limits::{DEFAULT_PAGE_ITEMS, LARGEST_SEQ, PAGE_ITEMS},
    number::canonical,
    rev::Rev,
    seq::Seq,
    validation::Violation,
};

use crate::request::ApiRequest;

/// Maximum of `wait`, in seconds. With the reads before and after, a request stays below the 29 s that API Gateway waits
/// for a function ("Amazon API Gateway quotas").
const WAIT_SECONDS: u16 = 20;

impl ApiRequest {
    /// Returns a query parameter that is a `seq`, or 0.
    pub fn query_seq(&self, name: &str, violations: &mut Vec<Violation>) -> Option<Seq> {
        self.query_number(name, "a seq", Seq::LARGEST, violations)
    }

    /// Returns `after` of a list of changes: a `rev`, or 0. Adds a violation if it is missing.
    pub fn after_rev(&self, violations: &mut Vec<Violation>) -> Rev {
        if !self.has_query("after") {
            violations.push(Violation::new("after", "required", "is required: a rev, or 0"));
        }
        self.query_number("after", "a rev", Rev::new(LARGEST_SEQ), violations).unwrap_or_default()
    }

    /// Returns a query parameter that is a number of at most `largest`.
    fn query_number<T>(&self, name: &str, kind: &str, largest: T, violations: &mut Vec<Violation>) -> Option<T>
    where
        T: Copy + Display + FromStr + PartialOrd,
    {
        let expected = format!("{kind}, at most {largest}");
        let number: T = self.query(name, &expected, violations)?;
        if number > largest {
            violations.push(Violation::new(name, "out_of_range", format!("must be {expected}")));
            return None;
        }
        Some(number)
    }

    /// Returns `limit`: 1 to 100, default 50.
    pub fn limit(&self, violations: &mut Vec<Violation>) -> u16 {
        let expected = format!("a number from 1 to {PAGE_ITEMS}");
        let Some(Decimal(limit)) = self.query("limit", &expected, violations) else { return DEFAULT_PAGE_ITEMS };
        if (1..=PAGE_ITEMS).contains(&limit) {
            return limit;
        }
        violations.push(Violation::new("limit", "out_of_range", format!("must be {expected}")));
        DEFAULT_PAGE_ITEMS
    }

    /// Returns `wait`: 0 to 20 seconds, default 0. If it is more than 0, adds a violation if it stands without `after`, or is
    /// longer than `longest`, the maximum of the deployment.
    pub fn wait(&self, longest: Duration, violations: &mut Vec<Violation>) -> Duration {
        let expected = format!("a number from 0 to {WAIT_SECONDS}");
        // Generated clients send the default.
        let Some(Decimal(seconds @ 1..)) = self.query("wait", &expected, violations) else { return Duration::ZERO };
        let wait = Duration::from_secs(seconds.into());
        let (code, message) = if seconds > WAIT_SECONDS {
            ("out_of_range", format!("must be {expected}"))
        } else if !self.has_query("after") {
            ("requires_after", "must stand beside after".to_owned())
        } else if wait <= longest {
            return wait;
        } else if longest.is_zero() {
            ("out_of_range", "waiting is off in this deployment; ask again later, without wait".to_owned())
        } else {
            ("out_of_range", format!("must be at most {}, the maximum of this deployment", longest.as_secs()))
        };
        violations.push(Violation::new("wait", code, message));
        Duration::ZERO
    }
}

/// A number in its only accepted notation.
struct Decimal(u16);

impl FromStr for Decimal {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        canonical(text).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use lambda_http::{Request, RequestExt};

    use super::*;

    /// Returns a request with query parameters.
    fn asking(parameters: &[(&str, &[&str])]) -> ApiRequest {
        let values = |values: &[&str]| -> Vec<String> { values.iter().map(|value| (*value).to_owned()).collect() };
        let parameters: HashMap<String, Vec<String>> =
            parameters.iter().map(|(name, of)| ((*name).to_owned(), values(of))).collect();
        ApiRequest::new(Request::default().with_query_string_parameters(parameters))
    }

    /// Returns the value that a request is read as, and the codes of its violations.
    fn read<T>(request: &ApiRequest, by: impl Fn(&ApiRequest, &mut Vec<Violation>) -> T) -> (T, Vec<&'static str>) {
        let mut violations = Vec::new();
        let value = by(request, &mut violations);
        (value, violations.into_iter().map(|violation| violation.code).collect())
    }

    #[test]
    fn a_query_names_a_message_or_0() {
        let seq = |raw| read(&asking(&[("after", &[raw])]), |request, found| request.query_seq("after", found));
        assert_eq!(seq("0"), (Some(Seq::ZERO), vec![]));
        assert_eq!(seq("9007199254740991"), (Some(Seq::LARGEST), vec![]));
        assert_eq!(seq("9007199254740992"), (None, vec!["out_of_range"]));
        for raw in ["+1", "01", "-1", "", "one"] {
            assert_eq!(seq(raw), (None, vec!["malformed"]), "{raw}");
        }
    }

    #[test]
    fn changes_are_read_after_a_number_or_0() {
        let after = |parameters: &[(&str, &[&str])]| read(&asking(parameters), ApiRequest::after_rev);
        assert_eq!(after(&[("after", &["0"])]), (Rev::ZERO, vec![]));
        assert_eq!(after(&[("after", &["7"])]), (Rev::new(7), vec![]));
        assert_eq!(after(&[("after", &["9007199254740991"])]), (Rev::new(LARGEST_SEQ), vec![]));
        assert_eq!(after(&[("after", &["9007199254740992"])]), (Rev::ZERO, vec!["out_of_range"]));
        assert_eq!(after(&[]), (Rev::ZERO, vec!["required"]));
        for raw in [["+1"], ["01"], ["-1"], [""], ["one"]] {
            assert_eq!(after(&[("after", &raw)]), (Rev::ZERO, vec!["malformed"]), "{raw:?}");
        }
        assert_eq!(after(&[("after", &["1", "2"])]), (Rev::ZERO, vec!["malformed"]));
    }

    #[test]
    fn a_limit_is_written_in_one_way_and_once() {
        let limit = |values: &[&str]| read(&asking(&[("limit", values)]), ApiRequest::limit);
        assert_eq!(limit(&["1"]), (1, vec![]));
        assert_eq!(limit(&["100"]), (100, vec![]));
        assert_eq!(limit(&["0"]), (DEFAULT_PAGE_ITEMS, vec!["out_of_range"]));
        for raw in ["+5", "05", "5.0", " 5", "5 ", "-1", "", "5e0", "0x5", "70000"] {
            assert_eq!(limit(&[raw]), (DEFAULT_PAGE_ITEMS, vec!["malformed"]), "{raw}");
        }
        assert_eq!(limit(&["1", "2"]), (DEFAULT_PAGE_ITEMS, vec!["malformed"]));
        assert_eq!(limit(&["1", "1"]), (DEFAULT_PAGE_ITEMS, vec!["malformed"]));
    }

    #[test]
    fn a_wait_is_at_most_that_of_the_deployment_and_stands_beside_after() {
        let wait = |raw: &str, longest: u64| {
            let request = asking(&[("after", &["7"]), ("wait", &[raw])]);
            let (wait, codes) = read(&request, |request, found| request.wait(Duration::from_secs(longest), found));
            (wait.as_secs(), codes)
        };
        for (raw, longest, expected) in [("0", 0, 0), ("0", 20, 0), ("20", 20, 20), ("5", 5, 5)] {
            assert_eq!(wait(raw, longest), (expected, vec![]), "{raw} of {longest}");
        }
        for (raw, longest) in [("1", 0), ("6", 5), ("21", 20)] {
            assert_eq!(wait(raw, longest), (0, vec!["out_of_range"]), "{raw} of {longest}");
        }
        for raw in ["", "1.5", "-1", "01", "5s", "70000"] {
            assert_eq!(wait(raw, 20), (0, vec!["malformed"]), "{raw}");
        }
        let alone =
            |parameters| read(&asking(parameters), |request, found| request.wait(Duration::from_secs(20), found));
        assert_eq!(alone(&[("wait", &["5"])]), (Duration::ZERO, vec!["requires_after"]));
        assert_eq!(alone(&[("wait", &["1"]), ("before", &["7"])]), (Duration::ZERO, vec!["requires_after"]));
        assert_eq!(alone(&[("wait", &["0"]), ("before", &["7"])]), (Duration::ZERO, vec![]));
        assert_eq!(alone(&[("after", &["7"])]), (Duration::ZERO, vec![]));
    }

    #[test]
    fn a_refused_wait_says_what_the_deployment_allows() {
        for (longest, expected) in [(0, "waiting is off in this deployment"), (5, "must be at most 5, the maximum")] {
            let mut violations = Vec::new();
            asking(&[("after", &["7"]), ("wait", &["6"])]).wait(Duration::from_secs(longest), &mut violations);
            assert!(violations[0].message.starts_with(expected), "{}", violations[0].message);
        }
    }
}
