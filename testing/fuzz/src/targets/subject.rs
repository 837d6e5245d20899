//! Subjects of identity providers as user ids: each subject has one id, and each id is of one subject.

use chat::model::{
    id::{IdError, UserId, UserPrefix},
    limits::USER_ID_CHARS,
};

/// Separator of two users of an input.
const USER: char = '\u{1f}';
/// Separator of an issuer's prefix and the subject.
const PREFIX: char = '\u{1e}';

/// A user by the prefix of its issuer and its subject.
type Named<'a> = (Option<UserPrefix>, &'a str);

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    as_id(text);
    let (first, second) = text.split_once(USER).unwrap_or((text, "alice"));
    let (Some(first), Some(second)) = (named(first), named(second)) else { return };
    if let (Some(one), Some(other)) = (id_of(&first), id_of(&second)) {
        assert_eq!(one == other, first == second, "{first:?} and {second:?}");
    }
}

fn named(text: &str) -> Option<Named<'_>> {
    Some(match text.split_once(PREFIX) {
        Some((prefix, subject)) => (Some(prefix.parse().ok()?), subject),
        None => (None, text),
    })
}

/// Returns the id of a user, unless its subject has none.
fn id_of((prefix, subject): &Named<'_>) -> Option<UserId> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let before = prefix.as_ref().map_or(0, |prefix| prefix.as_str().len() + 2);
    let length: usize = subject.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    let expected = match *subject {
        "" => Some(IdError::Empty),
        _ if before + length > USER_ID_CHARS => Some(IdError::SubjectTooLong),
        "." | ".." if prefix.is_none() => Some(IdError::DotSegment),
        _ => None,
    };
    let outcome = UserId::of_subject(prefix.as_ref(), subject);
    assert_eq!(outcome.as_ref().err(), expected.as_ref(), "{subject:?}");
    let id = outcome.ok()?;
    assert_eq!(id.as_str().len(), before + length);
    assert!(id.as_str().bytes().all(|byte| is_plain(byte) || byte == b'='), "{id}");
    assert_eq!(id.subject().as_deref(), Some(*subject));
    assert_eq!(id.prefix(), prefix.as_ref().map(UserPrefix::as_str));
    Some(id)
}

/// Checks that a text that is an id is the only form of its subject.
fn as_id(text: &str) {
    let Ok(id) = text.parse::<UserId>() else { return };
    assert_eq!(id.as_str(), text);
    let prefix: Option<UserPrefix> = id.prefix().map(|prefix| prefix.parse().expect("a prefix"));
    if let Some(subject) = id.subject() {
        assert_eq!(UserId::of_subject(prefix.as_ref(), &subject), Ok(id));
    }
}
