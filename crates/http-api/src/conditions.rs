//! Conditional requests by RFC 9110, section 13, for resources whose entity tag is a version.
//!
//! `If-Match` precedes `If-None-Match` (section 13.2.2). Nothing here has a date of modification, so conditions on dates
//! are ignored (sections 13.1.3 and 13.1.4).

use chat::model::{error::ChatError, number::canonical, version_condition::VersionCondition};
use http::{HeaderMap, HeaderValue, Response, header};
use lambda_http::Body;

use crate::{headers::combined, problem::Problem};

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    matching: Option<Tags>,
    none_matching: Option<Tags>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: any representation.
    Any,
    /// The listed tags, possibly none.
    Listed(Vec<Tag>),
}

/// An entity tag (RFC 9110, section 8.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    /// `None`: a tag that no version has.
    version: Option<u64>,
}

impl Conditions {
    /// Reads the conditions. A malformed `If-Match` matches nothing, so that it never permits a change. A malformed
    /// `If-None-Match` matches nothing either.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let read = |name| combined(headers, name).map(|value| tags(&value).unwrap_or(Tags::Listed(Vec::new())));
        Self { matching: read("if-match"), none_matching: read("if-none-match") }
    }

    /// Returns the versions at which a change may take effect, or `None` without conditions.
    #[must_use]
    pub fn for_change(&self) -> Option<VersionCondition> {
        if self.matching.is_none() && self.none_matching.is_none() {
            return None;
        }
        // `If-Match` compares strongly (section 13.1.1), `If-None-Match` weakly (section 13.1.2).
        let only = match &self.matching {
            None | Some(Tags::Any) => None,
            Some(Tags::Listed(tags)) => {
                Some(tags.iter().filter(|tag| !tag.is_weak).filter_map(|tag| tag.version).collect())
            }
        };
        Some(match &self.none_matching {
            None => VersionCondition { only, except: Vec::new() },
            Some(Tags::Any) => VersionCondition { only: Some(Vec::new()), except: Vec::new() },
            Some(Tags::Listed(tags)) => {
                VersionCondition { only, except: tags.iter().filter_map(|tag| tag.version).collect() }
            }
        })
    }

    /// Requires that a read of this version meets `If-Match`.
    ///
    /// # Errors
    /// Fails with a 412 problem.
    pub fn require_match(&self, version: u64) -> Result<(), Problem> {
        let matching = Self { none_matching: None, ..self.clone() };
        if matching.for_change().is_some_and(|condition| !condition.allows(version)) {
            return Err(ChatError::VersionMismatch.into());
        }
        Ok(())
    }

    /// Returns whether a reader has the representation with this version already.
    ///
    /// # Errors
    /// Those of [`require_match`](Self::require_match).
    pub fn is_unchanged(&self, version: u64) -> Result<bool, Problem> {
        self.require_match(version)?;
        Ok(match &self.none_matching {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::Listed(tags)) => tags.iter().any(|tag| tag.version == Some(version)),
        })
    }
}

/// Returns the entity tag of a version.
#[must_use]
pub fn entity_tag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Returns a response with the entity tag of a version.
#[must_use]
pub fn tagged(mut response: Response<Body>, version: u64) -> Response<Body> {
    response.headers_mut().insert(header::ETAG, entity_tag(version));
    response
}

/// Reads `*` or a list of entity tags. Empty elements are skipped (section 5.6.1.2).
fn tags(value: &[u8]) -> Option<Tags> {
    let mut rest = value.trim_ascii();
    if rest == b"*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        while let Some((b',' | b' ' | b'\t', after)) = rest.split_first() {
            rest = after;
        }
        if rest.is_empty() {
            return Some(Tags::Listed(tags));
        }
        let (is_weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let opaque = quoted.strip_prefix(b"\"")?;
        let end = opaque.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&opaque[..end], &opaque[end + 1..]);
        if !opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)) {
            return None;
        }
        tags.push(Tag { is_weak, version: version(opaque) });
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

/// Returns the version with this tag. A tag is compared character by character, so `01` is no version.
fn version(opaque: &[u8]) -> Option<u64> {
    canonical(std::str::from_utf8(opaque).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&'static str, &str)]) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Conditions::of(&headers)
    }

    /// Returns whether a change, and a read, of version 2 may take place.
    fn allows(lines: &[(&'static str, &str)]) -> (bool, bool) {
        let conditions = of(lines);
        let change = conditions.for_change().is_none_or(|condition| condition.allows(2));
        (change, conditions.is_unchanged(2).is_ok())
    }

    #[test]
    fn if_match_lists_strong_tags() {
        assert_eq!(of(&[]).for_change(), None);
        for value in
            [r#""2""#, "*", " * ", r#""1", "2""#, r#""1","2""#, r#", "2" ,, "#, r#"W/"2", "2""#, r#""a,b", "2""#]
        {
            assert_eq!(allows(&[("if-match", value)]), (true, true), "{value}");
        }
        for value in [
            "",
            ",",
            r#""1""#,
            r#"W/"2""#,
            r#"w/"2""#,
            "2",
            r#""02""#,
            r#""+2""#,
            r#"" 2""#,
            r#""2"#,
            r#""2""2""#,
            r#"*, "2""#,
            r#""2", garbage"#,
            r#""2"; "1""#,
            "\"é\"",
            r#""""#,
        ] {
            assert_eq!(allows(&[("if-match", value)]), (false, false), "{value}");
        }
        assert_eq!(allows(&[("if-match", r#""1""#), ("if-match", r#""2""#)]), (true, true));
        assert_eq!(allows(&[("if-match", r#""1""#), ("if-match", r#""3""#)]), (false, false));
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (value, matches) in [
            (r#""2""#, true),
            (r#"W/"2""#, true),
            ("*", true),
            (r#""1", W/"2""#, true),
            (r#""1""#, false),
            ("", false),
            ("garbage", false),
        ] {
            let conditions = of(&[("if-none-match", value)]);
            assert_eq!(conditions.is_unchanged(2).unwrap(), matches, "{value}");
            assert_eq!(conditions.for_change().unwrap().allows(2), !matches, "{value}");
        }
    }

    #[test]
    fn if_match_precedes_if_none_match() {
        let stale = of(&[("if-match", r#""1""#), ("if-none-match", r#""2""#)]);
        assert_eq!(stale.is_unchanged(2).unwrap_err().status, 412);
        assert_eq!(stale.require_match(2).unwrap_err().status, 412);
        assert_eq!(stale.require_match(1), Ok(()));
        let both = of(&[("if-match", r#""2""#), ("if-none-match", r#""2""#)]);
        assert!(both.is_unchanged(2).unwrap());
        assert!(!both.for_change().unwrap().allows(2));
    }
}
