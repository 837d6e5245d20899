//! Unambiguous JSON: each object has each name once.
//!
//! RFC 8259, section 4, does not define the value of a duplicate name. Some readers take the first value, others the
//! last. So a firewall, a client and a function could each read a different message from the same bytes. RFC 7493
//! (I-JSON), section 2.3, forbids duplicate names, and so does this reader. Names are compared after their escapes are
//! resolved (RFC 8259, section 8.3): `"a"` and `"\u0061"` are equal.

use std::{collections::BTreeSet, fmt};

use chat::model::validation::Violation;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::surrogates;

/// Maximum depth of nested objects and arrays in a body. It exceeds the limit of every field, so that those are
/// reported by field. It limits the stack that reading a body takes.
pub const BODY_DEPTH: usize = 64;

/// Maximum number of violations of one kind in a response. A body of 256 KB has room for tens of thousands.
pub(crate) const LISTED_VIOLATIONS: usize = 20;

/// Maximum number of characters of a name in a response. A name may be as long as the body.
pub(crate) const NAME_CHARS: usize = 64;

/// Maximum number of segments of a path in a response.
const PATH_SEGMENTS: usize = 8;

/// Reads JSON in one pass. Returns the value, and a violation for each duplicate name, for each value that is nested
/// too deeply, and for each name or string with a lone surrogate. If there are violations, the value is incomplete.
///
/// # Errors
/// Fails if the text is not JSON. Also fails on a number that is not a finite `f64`.
pub(crate) fn read(json: &[u8]) -> serde_json::Result<(Value, Vec<Violation>)> {
    let Some(marked) = surrogates::marked(json) else { return read_marked(json, false) };
    // A marked text has other columns. An error has those of the text as sent.
    serde_json::from_slice::<IgnoredAny>(json)?;
    read_marked(marked.as_bytes(), true)
}

fn read_marked(json: &[u8], is_marked: bool) -> serde_json::Result<(Value, Vec<Violation>)> {
    let mut violations = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let first = Reader { path: &Path::Root, depth: 0, is_marked, violations: &mut violations };
    let value = first.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, violations))
}

/// The path of a value. It is formatted only for a violation.
enum Path<'a> {
    Root,
    Name(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// Returns the path as violations name fields, such as `metadata.list[2].name`: at most [`PATH_SEGMENTS`] segments.
    fn text(&self) -> String {
        let mut segments = Vec::new();
        let mut at = self;
        loop {
            at = match at {
                Path::Root => break,
                Path::Name(parent, name) => {
                    segments.push(shortened(name));
                    parent
                }
                Path::Index(parent, index) => {
                    segments.push(format!("[{index}]"));
                    parent
                }
            };
        }
        let is_cut = segments.len() > PATH_SEGMENTS;
        let mut text = String::new();
        for segment in segments.iter().rev().take(PATH_SEGMENTS) {
            if !text.is_empty() && !segment.starts_with('[') {
                text.push('.');
            }
            text.push_str(segment);
        }
        if is_cut {
            text.push('…');
        }
        text
    }
}

/// Returns the beginning of a name, so that a response does not repeat a very long one.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().take(NAME_CHARS).collect()
}

/// The reader of one value.
struct Reader<'a> {
    path: &'a Path<'a>,
    /// Number of objects and arrays around the value.
    depth: usize,
    /// Whether lone surrogates of the text are [marked](surrogates::marked).
    is_marked: bool,
    violations: &'a mut Vec<Violation>,
}

impl Reader<'_> {
    /// Returns the reader of a value in this one.
    fn inner<'a>(&'a mut self, path: &'a Path<'a>) -> Reader<'a> {
        Reader { path, depth: self.depth + 1, is_marked: self.is_marked, violations: self.violations }
    }

    fn violate(&mut self, path: &Path<'_>, code: &'static str, message: String) {
        if self.violations.len() < LISTED_VIOLATIONS {
            let path = if self.is_marked { surrogates::shown(&path.text()) } else { path.text() };
            self.violations.push(Violation::new(path, code, message));
        }
    }

    /// Returns whether a name or string at `path` is Unicode text. Adds a violation if it has a lone surrogate.
    fn require_unicode(&mut self, path: &Path<'_>, text: &str) -> bool {
        if !self.is_marked || !surrogates::has_lone(text) {
            return true;
        }
        let message = "must be Unicode text; it has the escape of a lone surrogate, which is half a character";
        self.violate(path, "lone_surrogate", message.to_owned());
        false
    }

    /// Returns whether an object or array may begin here.
    fn may_begin(&mut self) -> bool {
        if self.depth < BODY_DEPTH {
            return true;
        }
        let path = self.path;
        self.violate(path, "too_deep", format!("must be at most {BODY_DEPTH} levels deep"));
        false
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(mut self, value: String) -> Result<Value, E> {
        let path = self.path;
        self.require_unicode(path, &value);
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<Value, A::Error> {
        if !self.may_begin() {
            while values.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut read = Vec::new();
        loop {
            let path = Path::Index(self.path, read.len());
            let reader = self.inner(&path);
            match values.next_element_seed(reader)? {
                Some(value) => read.push(value),
                None => return Ok(Value::Array(read)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        if !self.may_begin() {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let (mut read, mut reported) = (Map::new(), BTreeSet::new());
        while let Some(name) = entries.next_key::<String>()? {
            let path = Path::Name(self.path, &name);
            if !self.require_unicode(&path, &name) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            if read.contains_key(&name) {
                if reported.insert(name.clone()) {
                    let message = "is there more than once; each name may be there once in an object";
                    self.violate(&path, "duplicate_field", message.to_owned());
                }
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = entries.next_value_seed(self.inner(&path))?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn fields(json: &str) -> Vec<(String, &'static str)> {
        let (_, violations) = read(json.as_bytes()).unwrap();
        violations.into_iter().map(|violation| (violation.field, violation.code)).collect()
    }

    #[test]
    fn a_name_that_is_there_twice_is_named_with_its_path() {
        for (json, paths) in [
            (r#"{"content":"a","content":"b"}"#, &["content"][..]),
            (r#"{"content":"a","c\u006fntent":"b"}"#, &["content"]),
            (r#"{"a":1,"b":2,"a":1,"b":2,"a":3}"#, &["a", "b"]),
            (r#"{"":1,"":2}"#, &[""]),
            (r#"{"metadata":{"a":1,"a":1}}"#, &["metadata.a"]),
            (r#"{"metadata":{"list":[0,{"x":{"y":[],"\u0079":0}}]}}"#, &["metadata.list[1].x.y"]),
            (r#"{"a":{"b":1},"a":{"b":1,"b":2}}"#, &["a"]),
            // A surrogate pair is the one character that it encodes.
            ("{\"\u{1f600}\":1,\"\\ud83d\\ude00\":2}", &["\u{1f600}"]),
            // Canonically equivalent names have different code points, and are not duplicates (RFC 8259, section 8.3).
            ("{\"\u{e9}\":1,\"e\u{301}\":2,\"E\":3,\"e\":4}", &[]),
            (r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#, &[]),
        ] {
            let expected: Vec<_> = paths.iter().map(|path| ((*path).to_owned(), "duplicate_field")).collect();
            assert_eq!(fields(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_named_and_costs_no_stack() {
        let nested = |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!(fields(&nested(BODY_DEPTH - 1)), []);
        let path = "a[0][0][0][0][0][0][0]…".to_owned();
        assert_eq!(fields(&nested(BODY_DEPTH)), [(path.clone(), "too_deep")]);
        assert_eq!(fields(&nested(100_000)), [(path, "too_deep")]);
        let objects = format!("{}1{}", r#"{"a":"#.repeat(40_000), "}".repeat(40_000));
        assert_eq!(fields(&objects), [("a.a.a.a.a.a.a.a…".to_owned(), "too_deep")]);
        // Skipped text must be valid JSON too.
        assert!(read("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_lone_surrogate_is_named_with_its_path() {
        for (json, expected) in [
            (r#"{"content":"\ud800"}"#, &["content"][..]),
            (r#"{"content":"a \uDC00 b","name":"\ud83d\ude00"}"#, &["content"]),
            (r#"{"metadata":{"list":["x",{"y":"\ud800\u0041"}],"z":"\udfff"}}"#, &["metadata.list[1].y", "metadata.z"]),
            (r#"{"a\ud800":"x"}"#, &["a\u{fffd}"]),
            (r#"{"a\ud800":{"b":"\ud801"}}"#, &["a\u{fffd}"]),
            ("{\"\u{fdd0}1\":\"\u{fdd0}1\",\"b\":\"\\ud800\"}", &["b"]),
            (r#""\ud800""#, &[""]),
        ] {
            let expected: Vec<_> = expected.iter().map(|path| ((*path).to_owned(), "lone_surrogate")).collect();
            assert_eq!(fields(json), expected, "{json}");
        }
        let both = fields(r#"{"a":"\ud800","a":"x","b\ud800":1,"b\udc00":2}"#);
        let codes: Vec<_> = both.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, ["lone_surrogate", "duplicate_field", "lone_surrogate", "lone_surrogate"]);
        assert_eq!(fields("{\"\u{fdd0}1\":\"\u{fdd0}1\"}"), []);
        let error = read(br#"{"a":"\ud800","b":}"#).unwrap_err();
        assert_eq!((error.line(), error.column()), (1, 19));
    }

    #[test]
    fn an_answer_does_not_grow_with_what_is_wrong() {
        let twice: Vec<String> = (0..10_000).map(|number| format!(r#""{number}":0,"{number}":0"#)).collect();
        assert_eq!(fields(&format!("{{{}}}", twice.join(","))).len(), LISTED_VIOLATIONS);
        let long = "n".repeat(100_000);
        let [(path, _)] = fields(&format!(r#"{{"{long}":0,"{long}":0}}"#)).try_into().unwrap();
        assert_eq!(path, "n".repeat(NAME_CHARS));
    }

    /// JSON as a text that may contain duplicate names.
    #[derive(Debug, Clone)]
    enum Written {
        Scalar(&'static str),
        Array(Vec<Written>),
        Object(Vec<(Vec<Character>, Written)>),
    }

    /// A letter of a name, with or without an escape.
    #[derive(Debug, Clone)]
    struct Character {
        letter: char,
        is_escaped: bool,
    }

    impl Written {
        fn text(&self) -> String {
            match self {
                Self::Scalar(text) => (*text).to_owned(),
                Self::Array(values) => {
                    format!("[{}]", values.iter().map(Self::text).collect::<Vec<_>>().join(" , "))
                }
                Self::Object(entries) => {
                    let entries = entries.iter().map(|(name, value)| {
                        let name: String = name.iter().map(Character::text).collect();
                        format!("\"{name}\": {}", value.text())
                    });
                    format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
                }
            }
        }

        /// Returns whether an object has a duplicate name, by the construction of the text and not by parsing it.
        fn is_ambiguous(&self) -> bool {
            match self {
                Self::Scalar(_) => false,
                Self::Array(values) => values.iter().any(Self::is_ambiguous),
                Self::Object(entries) => {
                    let mut names = HashSet::new();
                    let name = |letters: &[Character]| -> String { letters.iter().map(|one| one.letter).collect() };
                    entries.iter().any(|(letters, value)| !names.insert(name(letters)) || value.is_ambiguous())
                }
            }
        }
    }

    impl Character {
        fn text(&self) -> String {
            if !self.is_escaped {
                return self.letter.to_string();
            }
            let mut units = [0; 2];
            let units: Vec<String> =
                self.letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect();
            units.concat()
        }
    }

    fn written() -> impl Strategy<Value = Written> {
        let letter = (prop::sample::select(vec!['a', 'é', '\u{1f600}']), any::<bool>())
            .prop_map(|(letter, is_escaped)| Character { letter, is_escaped });
        let name = prop::collection::vec(letter, 0..3);
        let scalars = ["null", "true", "-0", "7", "1e3", "18446744073709551615", "-1.5", r#""""#, r#""\ud83d\ude00""#];
        let scalar = prop::sample::select(scalars.to_vec()).prop_map(Written::Scalar);
        scalar.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Written::Array),
                prop::collection::vec((name.clone(), inner), 0..4).prop_map(Written::Object),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn exactly_what_says_two_things_is_refused_and_the_rest_is_read_as_by_the_library(json in written()) {
            let text = json.text();
            let (value, violations) = read(text.as_bytes()).unwrap();
            prop_assert_eq!(!violations.is_empty(), json.is_ambiguous(), "{}", text);
            if violations.is_empty() {
                prop_assert_eq!(value, serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        /// Damaged text without a violation has the value that the library reads. It refuses all text refused here.
        #[test]
        fn damaged_json_is_read_as_by_the_library(json in written(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut text = json.text().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let expected = serde_json::from_slice::<Value>(&text);
            match read(&text) {
                Ok((value, violations)) if violations.is_empty() => prop_assert_eq!(value, expected.unwrap()),
                Ok(_) => {}
                Err(_) => prop_assert!(expected.is_err()),
            }
        }
    }
}
