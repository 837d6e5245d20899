//! The text of user ids: the subject of a token, written in the alphabet of ids.
//!
//! Issuers send subjects such as `auth0|64f1` and `alice@example.com`. An id contains letters, digits, `_`, `.`, `:`
//! and `-` as they are. `=` and two hexadecimal digits stand for each other byte of the subject's UTF-8, as in
//! `alice=40example.com`. A byte has one form only, so two subjects never share an id, and an id gives its subject
//! back. The prefix of an issuer precedes the subject, with `==` in between. No escaped byte contains `==`.
//!
//! RFC 7519, section 2, compares subjects without transformations. The text is therefore neither normalised nor folded.

use std::iter;

/// Maximum length of an issuer's prefix, in characters.
pub(super) const PREFIX_CHARS: usize = 32;

/// Separator of an issuer's prefix and the subject.
const PREFIX_END: &str = "==";

/// First character of an escaped byte. Paths of URLs may contain it (RFC 3986, section 3.3), and no table key is
/// separated by it.
const ESCAPE: u8 = b'=';

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Returns whether every id may contain the character.
pub(super) const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

/// Returns the text of the id of `subject`, of any length.
pub(super) fn write(prefix: Option<&str>, subject: &str) -> String {
    let mut text = prefix.map(|prefix| format!("{prefix}{PREFIX_END}")).unwrap_or_default();
    for byte in subject.bytes() {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 0xf].map(|digit| char::from(HEX[usize::from(digit)]));
            text.extend(iter::once(char::from(ESCAPE)).chain(digits));
        }
    }
    text
}

/// Returns the prefix in an id, and the rest.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    text.split_once(PREFIX_END).map_or((None, text), |(prefix, rest)| (Some(prefix), rest))
}

/// Returns whether [`write`] returns `text` for some prefix and some bytes.
pub(super) fn is_written(text: &str) -> bool {
    let (prefix, rest) = split(text);
    prefix.is_none_or(is_prefix) && read(rest).is_some_and(|bytes| !bytes.is_empty())
}

/// Returns whether `text` can be the prefix of an issuer.
pub(super) fn is_prefix(text: &str) -> bool {
    (1..=PREFIX_CHARS).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Returns the bytes of the subject in the rest of an id. Returns `None` if a character is not allowed, or if an
/// escaped byte has a shorter form.
pub(super) fn read(rest: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let [first, tail @ ..] = left {
        if is_plain(*first) {
            bytes.push(*first);
            left = tail;
            continue;
        }
        let (ESCAPE, [high, low, tail @ ..]) = (*first, tail) else { return None };
        let byte = (digit(*high)? << 4) | digit(*low)?;
        if is_plain(byte) {
            return None;
        }
        bytes.push(byte);
        left = tail;
    }
    Some(bytes)
}

/// Returns the value of a digit. Lower case would be a second form.
fn digit(character: u8) -> Option<u8> {
    let value = HEX.iter().position(|digit| *digit == character)?;
    u8::try_from(value).ok()
}
