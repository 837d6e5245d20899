//! A body with escapes of surrogates. Half a character is refused with its field, and all else is read as by the
//! library.

use http_api::{Fields, Problem};
use serde_json::Value;

pub fn run(data: &[u8]) {
    let outcome = Fields::parse(data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert!(outcome.is_err());
        return;
    };
    let (replaced, has_lone) = without_lone_surrogates(text);
    match (&outcome, Fields::parse(replaced.as_bytes())) {
        (Ok(_), replaced) => assert!(!has_lone && replaced.is_ok(), "{text:?}"),
        (Err(problem), Ok(_)) => assert!(problem.status == 400 && names_lone(problem), "{text:?}: {problem:?}"),
        (Err(problem), Err(_)) => assert!(has_lone || !names_lone(problem), "{text:?}: {problem:?}"),
    }
    let Ok(mut fields) = outcome else { return };
    let Ok(Value::Object(library)) = serde_json::from_str(text) else { panic!("{text:?} is no object") };
    for (name, expected) in library {
        let read: Value = fields.optional(&name, "any value").unwrap_or_default();
        // A whole number is read as an integer.
        let is_same = read == expected || (read.is_i64() && read.as_f64() == expected.as_f64());
        assert!(is_same, "{name:?}: {read} is not {expected}");
    }
    assert!(fields.finish().is_empty());
}

fn names_lone(problem: &Problem) -> bool {
    problem.errors.iter().any(|error| error.code == "lone_surrogate")
}

/// Returns a text with U+FFFD in the place of each escaped half of a character, and whether there was one.
fn without_lone_surrogates(text: &str) -> (String, bool) {
    let mut bytes = text.as_bytes().to_vec();
    let (mut at, mut has_lone) = (0, false);
    while at < bytes.len() {
        let Some(unit) = unit(&bytes, at) else {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
            continue;
        };
        let is_pair = unit < 0xdc00 && unit_range(&bytes, at + 6, 0xdc00, 0xdfff);
        if is_pair && unit >= 0xd800 {
            at += 12;
            continue;
        }
        if (0xd800..=0xdfff).contains(&unit) {
            bytes[at + 2..at + 6].copy_from_slice(b"fffd");
            has_lone = true;
        }
        at += 6;
    }
    (String::from_utf8(bytes).expect("ASCII was replaced by ASCII"), has_lone)
}

fn unit_range(bytes: &[u8], at: usize, from: u16, to: u16) -> bool {
    unit(bytes, at).is_some_and(|unit| (from..=to).contains(&unit))
}

/// Returns the code unit of an escape at a position.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u16::from_str_radix(digits, 16).ok()
}
