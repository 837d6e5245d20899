//! Ids. Their alphabet excludes `#`, which separates the parts of table keys. No id is a dot segment.
//!
//! `.` and `..` are dot segments. Clients and proxies resolve them before they send a request (RFC 3986, section 5.2.4;
//! WHATWG URL, "path state", which also takes `%2e` for `.`). `DELETE /channels/x/members/..` would then delete the
//! channel. Every other text of the alphabet, such as `...` or `.a`, keeps its place in a path.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{
    limits::{ID_CHARS, IDEMPOTENCY_KEY_CHARS},
    time::Timestamp,
};

/// Reason why a text is not a valid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1 to 128 characters of `[A-Za-z0-9_.:-]`.
    #[error("must be 1 to {ID_CHARS} characters of A-Z, a-z, 0-9, '_', '.', ':' and '-'")]
    Malformed,
    /// `.` or `..`.
    #[error("must not be '.' or '..': clients remove them from the path of a URL")]
    DotSegment,
    /// A name of the system, as the id of a caller or of a member.
    #[error("must not be a name of the system, such as 'assistant' or 'system'")]
    Reserved,
    /// Not 1 to 255 visible ASCII characters.
    #[error("must be 1 to {IDEMPOTENCY_KEY_CHARS} visible ASCII characters")]
    MalformedKey,
    /// Not a ULID.
    #[error("must be a ULID")]
    NotAUlid,
}

impl IdError {
    /// Returns the code of the violation in a problem response.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Malformed | Self::DotSegment | Self::MalformedKey | Self::NotAUlid => "malformed",
        }
    }
}

fn is_dot_segment(text: &str) -> bool {
    matches!(text, "." | "..")
}

fn check_id(text: &str) -> Result<(), IdError> {
    if !is_id(text) {
        return Err(IdError::Malformed);
    }
    if is_dot_segment(text) { Err(IdError::DotSegment) } else { Ok(()) }
}

fn check_connection_id(text: &str) -> Result<(), IdError> {
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !(1..=ID_CHARS).contains(&text.len()) || !text.bytes().all(visible) {
        return Err(IdError::Malformed);
    }
    if is_dot_segment(text) { Err(IdError::DotSegment) } else { Ok(()) }
}

fn check_key(text: &str) -> Result<(), IdError> {
    let sized = (1..=IDEMPOTENCY_KEY_CHARS).contains(&text.len());
    if sized && text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(IdError::MalformedKey) }
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of a channel.
    ChannelId, check_id
);

id!(
    /// Id of a user or an agent. [`ReservedNames::user`] reads ids of callers and of new members.
    UserId, check_id
);

id!(
    /// Id of a tenant: an isolated set of users and channels.
    TenantId, check_id
);

id!(
    /// Id of a WebSocket connection. API Gateway chooses it, so any text without a `#` is accepted.
    ConnectionId, check_connection_id
);

id!(
    /// Idempotency key of a client's request.
    IdempotencyKey, check_key
);

impl ChannelId {
    /// Generates an id for a channel whose creator chose none.
    #[must_use]
    pub fn generate(seed: Seed) -> Self {
        Self(seed.ulid().to_string().to_ascii_lowercase())
    }
}

impl ChannelId {
    /// Returns the id of a channel whose creator sent a key and no id. It is the same for each repetition of the
    /// request.
    #[must_use]
    pub fn of_request(creator: &UserId, key: &IdempotencyKey) -> Self {
        let digest = Sha256::digest(format!("{creator}#{key}"));
        let bits = digest.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        Self(ulid::Ulid::from(bits).to_string().to_ascii_lowercase())
    }
}

impl UserId {
    /// Returns the id of the agent.
    #[must_use]
    pub fn assistant() -> Self {
        Self(ASSISTANT.to_owned())
    }

    /// Returns whether this is a name of the system, in upper or lower case. Readers take `Assistant` for the agent
    /// too, and `@Assistant` mentions it. Ids are ASCII, so no other letters look like these.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        [ASSISTANT, SYSTEM].iter().any(|name| self.0.eq_ignore_ascii_case(name))
    }
}

/// Id of the agent.
const ASSISTANT: &str = "assistant";

/// Role of notices.
const SYSTEM: &str = "system";

/// Names that no caller and no new member may have: those of the system ([`UserId::is_reserved`]), and the deployment's
/// name of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservedNames {
    agent: Option<String>,
}

impl ReservedNames {
    /// Returns the reserved names of a deployment whose agent has the name `agent`.
    pub fn with_agent(agent: impl Into<String>) -> Self {
        Self { agent: Some(agent.into()) }
    }

    /// Returns whether `user` is one of them, in upper or lower case.
    #[must_use]
    pub fn contain(&self, user: &UserId) -> bool {
        user.is_reserved() || self.agent.as_ref().is_some_and(|agent| agent.eq_ignore_ascii_case(user.as_str()))
    }

    /// Reads the id of a caller or of a new member.
    ///
    /// # Errors
    /// [`IdError::Malformed`], [`IdError::DotSegment`], [`IdError::Reserved`].
    pub fn user(&self, text: &str) -> Result<UserId, IdError> {
        let user = text.parse()?;
        if self.contain(&user) { Err(IdError::Reserved) } else { Ok(user) }
    }
}

/// Id of a message: a ULID, which sorts by the time at which the message was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(ulid::Ulid);

impl MessageId {
    /// Generates an id.
    #[must_use]
    pub fn generate(seed: Seed) -> Self {
        Self(seed.ulid())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for MessageId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        // The library accepts too large values, and letters that stand for digits, and reads them as another ULID.
        let read = ulid::Ulid::from_string(&text).ok().filter(|ulid| ulid.to_string().eq_ignore_ascii_case(&text));
        read.map(Self).ok_or(IdError::NotAUlid)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.to_string()
    }
}

/// Time and random bits of a new id. `Clock::seed` returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Current time.
    pub now: Timestamp,
    /// 128 random bits, of which a ULID takes 80.
    pub random: u128,
}

impl Seed {
    pub(crate) fn ulid(self) -> ulid::Ulid {
        ulid::Ulid::from_parts(u64::try_from(self.now.as_millis()).unwrap_or(0), self.random)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_bounded_and_hold_no_separator() {
        for good in ["a", "general", "team:42_x.y-z", &"a".repeat(ID_CHARS)] {
            assert_eq!(good.parse::<ChannelId>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a#b", "é", "a/b", "a\n", "%2e", ".%2E", &"a".repeat(ID_CHARS + 1)] {
            assert_eq!(bad.parse::<ChannelId>(), Err(IdError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_dot_segment_is_no_id_of_any_kind() {
        for dots in [".", ".."] {
            assert_eq!(dots.parse::<ChannelId>(), Err(IdError::DotSegment));
            assert_eq!(dots.parse::<UserId>(), Err(IdError::DotSegment));
            assert_eq!(dots.parse::<TenantId>(), Err(IdError::DotSegment));
            assert_eq!(dots.parse::<ConnectionId>(), Err(IdError::DotSegment));
            assert!(serde_json::from_value::<UserId>(dots.into()).is_err(), "nor is one read from JSON");
        }
        // RFC 3986, section 5.2.4, removes no other segment.
        for kept in ["...", ".a", "a.", "..a", "a..", ".:", "-."] {
            assert_eq!(kept.parse::<UserId>().unwrap().as_str(), kept);
        }
    }

    #[test]
    fn names_of_the_system_are_nobody_else_s() {
        let (plain, named) = (ReservedNames::default(), ReservedNames::with_agent("Jarvis"));
        for name in ["assistant", "system", "Assistant", "SYSTEM", "aSSiStAnT"] {
            assert_eq!(plain.user(name), Err(IdError::Reserved), "{name}");
            assert_eq!(named.user(name), Err(IdError::Reserved), "{name}: the agent signs with it under any name");
            assert!(name.parse::<UserId>().unwrap().is_reserved(), "{name} can still be read");
        }
        for name in ["jarvis", "Jarvis", "JARVIS"] {
            assert_eq!(named.user(name), Err(IdError::Reserved), "{name}");
            assert_eq!(plain.user(name).unwrap().as_str(), name);
        }
        for name in ["assistants", "assistant.smith", "my-system", "assistan", "user", "alice"] {
            assert_eq!(named.user(name).unwrap().as_str(), name);
        }
        assert_eq!(named.user(".."), Err(IdError::DotSegment));
        assert_eq!(named.user("a b"), Err(IdError::Malformed));
        assert!(UserId::assistant().is_reserved());
    }

    #[test]
    fn a_message_id_is_read_as_what_it_says() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for good in [id.to_owned(), id.to_lowercase(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned()] {
            assert!(MessageId::try_from(good.clone()).unwrap().to_string().eq_ignore_ascii_case(&good));
        }
        // Values that are too large, a value that is too short, and a letter that ULIDs do not use.
        for bad in ["Z3NDEKTSV4RRFFQ69GQ69G5FAV", "80000000000000000000000000", &id[1..], "01ARZ3NDEKTSV4RRFFQ69G5FAU"]
        {
            assert_eq!(MessageId::try_from(bad.to_owned()), Err(IdError::NotAUlid), "{bad}");
        }
    }

    #[test]
    fn connection_ids_are_those_of_api_gateway() {
        assert!("L0SM9cOFvHcCIhw=".parse::<ConnectionId>().is_ok());
        assert!("a#b".parse::<ConnectionId>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_or_is_refused(text in ".{0,140}") {
            let allowed = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
            let sized = !text.is_empty() && text.len() <= ID_CHARS;
            let segment = text != "." && text != "..";
            prop_assert_eq!(text.parse::<UserId>().is_ok(), allowed && sized && segment);
        }

        #[test]
        fn short_texts_of_dots_are_ids_but_for_two(text in "[.:a]{1,4}") {
            prop_assert_eq!(text.parse::<ChannelId>().is_ok(), text != "." && text != "..");
        }
    }
}
