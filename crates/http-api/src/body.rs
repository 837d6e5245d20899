//! JSON bodies, read field by field, so that a response lists all violations.

use chat::model::{patch::Patch, validation::Violation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    json::{self, LISTED_VIOLATIONS, shortened},
    problem::Problem,
    problem_code::ProblemCode,
};

/// Maximum size of a request body, in bytes. It exceeds every field's own limit, so that those are reported by field.
pub const BODY_BYTES: usize = 256 * 1024;

/// The fields of a JSON object, each taken once.
#[derive(Debug)]
pub struct Fields {
    prefix: String,
    rest: Map<String, Value>,
    violations: Vec<Violation>,
}

impl Fields {
    /// Reads a body that must be a JSON object. Names are unique in each object, and nothing is nested deeper than
    /// [`BODY_DEPTH`](crate::BODY_DEPTH).
    ///
    /// # Errors
    /// Fails with a 413 or 400 problem, which names each field that is duplicate, nested too deeply or not Unicode.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > BODY_BYTES {
            let detail = format!("the body must be at most {BODY_BYTES} bytes, is {}", body.len());
            return Err(Problem::new(ProblemCode::BodyTooLarge, detail));
        }
        if body.starts_with(BYTE_ORDER_MARK) {
            let detail = "the body begins with a byte order mark; send the JSON without it";
            return Err(Problem::new(ProblemCode::MalformedRequest, detail));
        }
        let (value, violations) = json::read(body).map_err(|error| unreadable(&error))?;
        let Value::Object(rest) = value else {
            return Err(Problem::new(ProblemCode::MalformedRequest, "the body must be a JSON object"));
        };
        // An ambiguous body is not checked further, because its other violations would apply to one reading only.
        if !violations.is_empty() {
            return Err(Problem::malformed(violations));
        }
        Ok(Self { prefix: String::new(), rest, violations: Vec::new() })
    }

    /// Takes a required field.
    pub fn required<T: DeserializeOwned + Default>(&mut self, name: &str, expected: &str) -> T {
        if self.rest.get(name).is_some_and(|value| !value.is_null()) {
            return self.optional(name, expected).unwrap_or_default();
        }
        self.rest.remove(name);
        self.violate(name, "required", format!("is required: {expected}"));
        T::default()
    }

    /// Returns whether a field is present and null.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(Value::is_null)
    }

    /// Takes a field that may be absent or null.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.rest.remove(name).filter(|value| !value.is_null())?;
        serde_json::from_value(whole(value))
            .map_err(|_| self.violate(name, "wrong_type", format!("must be {expected}")))
            .ok()
    }

    /// Takes an object that may be absent or null.
    pub fn object(&mut self, name: &str) -> Option<Self> {
        let rest = self.optional(name, "an object")?;
        Some(Self { prefix: format!("{}{name}.", self.prefix), rest, violations: Vec::new() })
    }

    /// Takes a field of a merge patch (RFC 7396): absent, null or a value. A value of the wrong type is a violation, and
    /// [`Patch::Keep`].
    pub fn patch<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Patch<T> {
        if self.is_null(name) {
            self.rest.remove(name);
            return Patch::Remove;
        }
        self.optional(name, expected).map_or(Patch::Keep, Patch::Set)
    }

    /// Takes a field of a merge patch that has a value always. Null is the violation `not_nullable`.
    pub fn patch_required<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.require_not_null(name, expected);
        self.optional(name, expected)
    }

    /// Takes an object of a merge patch that is there always. Its own fields are patched, and null is the violation
    /// `not_nullable`.
    pub fn patch_object(&mut self, name: &str) -> Option<Self> {
        self.require_not_null(name, "an object");
        self.object(name)
    }

    fn require_not_null(&mut self, name: &str, expected: &str) {
        if self.is_null(name) {
            self.violate(name, "not_nullable", format!("cannot be removed, so null is no value: {expected}"));
        }
    }

    /// Adds the violations of an inner object.
    pub fn absorb(&mut self, inner: Self) {
        self.violations.extend(inner.finish());
    }

    /// Adds a violation.
    pub fn violate(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.violations.push(Violation::new(format!("{}{name}", self.prefix), code, message));
    }

    /// Returns all violations. A field that no code took is one; the first 20 of these are listed.
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        for name in std::mem::take(&mut self.rest).keys().take(LISTED_VIOLATIONS) {
            self.violate(&shortened(name), "unknown_field", "is not a field of this request");
        }
        self.violations
    }
}

/// U+FEFF in UTF-8. JSON does not begin with it (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the problem and its position. The reason is one of the library's fixed sentences, which quote no content.
fn unreadable(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let detail = format!("the body is not JSON (line {}, column {}): {reason}", error.line(), error.column());
    Problem::new(ProblemCode::MalformedRequest, detail)
}

/// Converts a whole number to an integer: `7.0` is 7 (JSON Schema Core, section 4.2.3).
fn whole(value: Value) -> Value {
    match value.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and well inside the range of i64")]
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < 9e15 => (number as i64).into(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once() {
        let mut fields = Fields::parse(br#"{"a":1,"b":null,"c":{"d":[]},"x":0}"#).unwrap();
        let a: String = fields.required("a", "a string");
        let b: Option<u64> = fields.optional("b", "a number");
        let mut c = fields.object("c").unwrap();
        let d: Option<String> = c.optional("d", "a string");
        fields.absorb(c);
        let missing: String = fields.required("missing", "a string");
        assert_eq!((a, b, d, missing), (String::new(), None, None, String::new()));
        let found: Vec<_> = fields.finish().into_iter().map(|v| (v.field, v.code)).collect();
        let expected = [("a", "wrong_type"), ("c.d", "wrong_type"), ("missing", "required"), ("x", "unknown_field")];
        assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn a_merge_patch_tells_null_from_absent() {
        let body =
            br#"{"null":null,"set":7.0,"wrong":[],"required":null,"given":"a","object":null,"inner":{"x":null}}"#;
        let mut fields = Fields::parse(body).unwrap();
        let read = ["absent", "null", "set", "wrong"].map(|name| fields.patch::<u64>(name, "a number"));
        assert_eq!(read, [Patch::Keep, Patch::Remove, Patch::Set(7), Patch::Keep]);
        let mut required = |name: &str| fields.patch_required::<String>(name, "a string");
        assert_eq!((required("absent"), required("required")), (None, None));
        assert_eq!(required("given").as_deref(), Some("a"));
        assert!(fields.patch_object("absent").is_none() && fields.patch_object("object").is_none());
        let mut inner = fields.patch_object("inner").unwrap();
        assert_eq!(inner.patch_required::<String>("x", "a string"), None);
        fields.absorb(inner);
        let found: Vec<_> = fields.finish().into_iter().map(|v| (v.field, v.code)).collect();
        let expected = [
            ("wrong", "wrong_type"),
            ("required", "not_nullable"),
            ("object", "not_nullable"),
            ("inner.x", "not_nullable"),
        ];
        assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let mut fields = Fields::parse(br#"{"a":7.0,"b":1e2,"c":7.5,"d":-1.0}"#).unwrap();
        let mut read = |name: &str| fields.optional::<u64>(name, "a whole number");
        assert_eq!((read("a"), read("b"), read("c"), read("d")), (Some(7), Some(100), None, None));
    }

    /// The library must read numbers exactly: without that option, one in ten such numbers had another last digit.
    #[test]
    fn a_number_is_read_to_its_last_digit() {
        for text in ["0.9073038322028689", "0.48183792520110524", "0.43295284981322557", "0.38276699244722956"] {
            let mut fields = Fields::parse(format!(r#"{{"a":{text}}}"#).as_bytes()).unwrap();
            assert_eq!(fields.optional::<Value>("a", "a number").unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_body_that_says_two_things_is_refused_with_the_field() {
        for (body, field, code) in [
            (r#"{"content":"a","content":"b"}"#, "content", "duplicate_field"),
            (r#"{"content":"\ud800"}"#, "content", "lone_surrogate"),
            (r#"{"content":"a","metadata":{"x":[{"n":1,"\u006e":2}]}}"#, "metadata.x[0].n", "duplicate_field"),
            (
                &format!(r#"{{"metadata":{}{}}}"#, "[".repeat(70), "]".repeat(70)),
                "metadata[0][0][0][0][0][0][0]…",
                "too_deep",
            ),
        ] {
            let problem = Fields::parse(body.as_bytes()).unwrap_err();
            let [violation] = problem.errors.as_slice() else { panic!("{body}: {problem:?}") };
            assert_eq!(problem.code, ProblemCode::MalformedRequest, "{body}");
            assert_eq!((violation.field.as_str(), violation.code), (field, code), "{body}");
        }
    }

    #[test]
    fn text_that_is_no_json_is_told_why() {
        for (body, why) in [
            (&b"\xef\xbb\xbf{}"[..], "byte order mark"),
            (b"{} x", "(line 1, column 4): trailing characters"),
            (b"{}{}", "trailing characters"),
            (br#"{"a":1e999}"#, "number out of range"),
            (b"{\"a\":\"\xff\"}", "invalid unicode code point"),
            (b"{\"a\":NaN}", "expected value"),
            (b"{\"a\":01}", "invalid number"),
        ] {
            let problem = Fields::parse(body).unwrap_err();
            assert_eq!(problem.code, ProblemCode::MalformedRequest);
            assert!(problem.detail.contains(why), "{}: {}", String::from_utf8_lossy(body), problem.detail);
        }
        // A number may have as many digits as the body allows.
        let long = format!(r#"{{"a":0.{}}}"#, "1".repeat(BODY_BYTES - 10));
        assert!(Fields::parse(long.as_bytes()).is_ok());
    }

    #[test]
    fn fields_that_are_not_of_the_request_are_listed_up_to_a_limit() {
        let names: Vec<String> = (0..20_000).map(|number| format!(r#""x{number}":0"#)).collect();
        let fields = Fields::parse(format!("{{{}}}", names.join(",")).as_bytes()).unwrap();
        assert_eq!(fields.finish().len(), LISTED_VIOLATIONS);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "null", "{", "\"x\"", "{\"a\":1}x", "\u{0}"] {
            let problem = Fields::parse(body.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.code), (400, ProblemCode::MalformedRequest), "{body}");
        }
        assert_eq!(Fields::parse(&vec![b' '; BODY_BYTES + 1]).unwrap_err().status, 413);
    }
}
