//! JSON bodies, field by field, so that everything that is wrong is told at once.

use chat::validation::Violation;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Largest request body: bytes. Above every field's own limit, so that those are told by name first.
pub const BODY_BYTES: usize = 256 * 1024;

/// The fields of a JSON object, taken out one by one.
#[derive(Debug)]
pub struct Fields {
    prefix: String,
    rest: Map<String, Value>,
    violations: Vec<Violation>,
}

impl Fields {
    /// Reads a body that must be a JSON object.
    ///
    /// # Errors
    /// A 413 or 400 problem.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.len() > BODY_BYTES {
            let detail = format!("the body must be at most {BODY_BYTES} bytes, is {}", body.len());
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(rest)) => Ok(Self { prefix: String::new(), rest, violations: Vec::new() }),
            Ok(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body must be a JSON object")),
            Err(error) => {
                let detail = format!("the body is not JSON (line {}, column {})", error.line(), error.column());
                Err(Problem::new(StatusCode::BAD_REQUEST, detail))
            }
        }
    }

    /// A field that must be there.
    pub fn required<T: DeserializeOwned + Default>(&mut self, name: &str, expected: &str) -> T {
        if self.rest.get(name).is_some_and(|value| !value.is_null()) {
            return self.optional(name, expected).unwrap_or_default();
        }
        self.rest.remove(name);
        self.violate(name, "required", format!("is required: {expected}"));
        T::default()
    }

    /// Whether a field is there and null.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.rest.get(name).is_some_and(Value::is_null)
    }

    /// A field that may be left out or null.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.rest.remove(name).filter(|value| !value.is_null())?;
        serde_json::from_value(whole(value))
            .map_err(|_| self.violate(name, "wrong_type", format!("must be {expected}")))
            .ok()
    }

    /// A field that may be left out and is an object itself.
    pub fn object(&mut self, name: &str) -> Option<Self> {
        let rest = self.optional(name, "an object")?;
        Some(Self { prefix: format!("{}{name}.", self.prefix), rest, violations: Vec::new() })
    }

    /// Takes over what an inner object found.
    pub fn absorb(&mut self, inner: Self) {
        self.violations.extend(inner.finish());
    }

    /// Notes a violation.
    pub fn violate(&mut self, name: &str, code: &'static str, message: impl Into<String>) {
        self.violations.push(Violation::new(format!("{}{name}", self.prefix), code, message));
    }

    /// All violations; a field that nobody asked for is one.
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        for name in std::mem::take(&mut self.rest).keys() {
            // A hostile name is not sent back at length.
            let short: String = name.chars().take(64).collect();
            self.violate(&short, "unknown_field", "is not a field of this request");
        }
        self.violations
    }
}

/// A number that is whole is an integer, however it is written: `7.0` is 7 (JSON Schema Core, section 4.2.3).
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
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let mut fields = Fields::parse(br#"{"a":7.0,"b":1e2,"c":7.5,"d":-1.0}"#).unwrap();
        let mut read = |name: &str| fields.optional::<u64>(name, "a whole number");
        assert_eq!((read("a"), read("b"), read("c"), read("d")), (Some(7), Some(100), None, None));
    }

    /// One in ten such numbers was another in its last digit, before the library was told to read all of them exactly.
    #[test]
    fn a_number_is_read_to_its_last_digit() {
        for text in ["0.9073038322028689", "0.48183792520110524", "0.43295284981322557", "0.38276699244722956"] {
            let mut fields = Fields::parse(format!(r#"{{"a":{text}}}"#).as_bytes()).unwrap();
            assert_eq!(fields.optional::<Value>("a", "a number").unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "null", "{", "\"x\"", "{\"a\":1}x", "\u{0}"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
        assert_eq!(Fields::parse(&vec![b' '; BODY_BYTES + 1]).unwrap_err().status, 413);
    }
}
