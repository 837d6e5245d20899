//! Ids. Their alphabet excludes `#`, which separates the parts of table keys. No id is a dot segment.
//!
//! `.` and `..` are dot segments. Clients and proxies resolve them before they send a request (RFC 3986, section 5.2.4;
//! WHATWG URL, "path state", which also takes `%2e` for `.`). `DELETE /channels/x/members/..` would then delete the
//! channel. Every other text of the alphabet, such as `...` or `.a`, keeps its place in a path.
//!
//! The id of a user is the subject of the user's token, written in this alphabet and `=`: see
//! [`UserId::of_subject`].

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::{
    limits::{ID_CHARS, IDEMPOTENCY_KEY_CHARS, USER_ID_CHARS},
    subject::{self, PREFIX_CHARS},
    time::Timestamp,
};

/// Reason why a text is not a valid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1 to 128 characters of `[A-Za-z0-9_.:-]`.
    #[error("must be 1 to {ID_CHARS} characters of A-Z, a-z, 0-9, '_', '.', ':' and '-'")]
    Malformed,
    /// Not the id of a user.
    #[error(
        "must be 1 to {USER_ID_CHARS} characters of A-Z, a-z, 0-9, '_', '.', ':' and '-'; every other byte of a token's \
         subject is '=' and two digits of 0-9 and A-F, so the id of alice@example.com is alice=40example.com"
    )]
    MalformedUser,
    /// A subject without a character.
    #[error("must not be empty")]
    Empty,
    /// A subject whose id would be longer than 255 characters.
    #[error(
        "must take at most {USER_ID_CHARS} characters as a user id, where each byte other than A-Z, a-z, 0-9, '_', '.', \
         ':' and '-' takes 3"
    )]
    SubjectTooLong,
    /// Not 1 to 32 characters of `[A-Za-z0-9_.:-]`.
    #[error("must be 1 to {PREFIX_CHARS} characters of A-Z, a-z, 0-9, '_', '.', ':' and '-'")]
    MalformedPrefix,
    /// `.` or `..`.
    #[error("must not be '.' or '..': clients remove them from the path of a URL")]
    DotSegment,
    /// A name of the system, as the id of a caller or of a member.
    #[error("must not be a name of the system, such as 'agent' or 'system'")]
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
            Self::SubjectTooLong => "too_long",
            Self::Empty => "required",
            Self::Malformed
            | Self::MalformedUser
            | Self::MalformedPrefix
            | Self::DotSegment
            | Self::MalformedKey
            | Self::NotAUlid => "malformed",
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

fn check_user_id(text: &str) -> Result<(), IdError> {
    if text.len() > USER_ID_CHARS || !subject::is_written(text) {
        return Err(IdError::MalformedUser);
    }
    if is_dot_segment(text) { Err(IdError::DotSegment) } else { Ok(()) }
}

fn check_prefix(text: &str) -> Result<(), IdError> {
    if subject::is_prefix(text) { Ok(()) } else { Err(IdError::MalformedPrefix) }
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
    (1..=ID_CHARS).contains(&text.len()) && text.bytes().all(subject::is_plain)
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
    /// Id of a user or an agent. [`ReservedNames::caller`] returns those of callers, [`ReservedNames::user`] reads those
    /// of new members.
    UserId, check_user_id
);

id!(
    /// Prefix of the users of one issuer, so that equal subjects of two issuers are two users.
    UserPrefix, check_prefix
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
    /// Generates an id for a channel whose creator chose none: a ULID in upper case, as ids of messages are.
    #[must_use]
    pub fn generate(seed: Seed) -> Self {
        Self(seed.ulid().to_string())
    }

    /// Returns the id of a channel whose creator sent a key and no id. It is the same for each repetition of the
    /// request.
    #[must_use]
    pub fn of_request(creator: &UserId, key: &IdempotencyKey) -> Self {
        let digest = Sha256::digest(format!("{creator}#{key}"));
        let bits = digest.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        Self(ulid::Ulid::from(bits).to_string())
    }
}

impl UserId {
    /// Returns the id of the agent.
    #[must_use]
    pub fn agent() -> Self {
        Self(AGENT.to_owned())
    }

    /// Returns the id of the user with the subject `subject` at an issuer. Two pairs of prefix and subject never share
    /// an id. A subject of `[A-Za-z0-9_.:-]` without a prefix is its own id.
    ///
    /// # Errors
    /// [`IdError::Empty`], [`IdError::SubjectTooLong`], [`IdError::DotSegment`].
    pub fn of_subject(prefix: Option<&UserPrefix>, subject: &str) -> Result<Self, IdError> {
        if subject.is_empty() {
            return Err(IdError::Empty);
        }
        let text = subject::write(prefix.map(UserPrefix::as_str), subject);
        if text.len() > USER_ID_CHARS {
            return Err(IdError::SubjectTooLong);
        }
        Self::try_from(text)
    }

    /// Returns the subject of the user, without the issuer's prefix. Returns `None` if the id is of no subject, since
    /// its bytes are not UTF-8.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        String::from_utf8(subject::read(subject::split(&self.0).1)?).ok()
    }

    /// Returns the prefix of the user's issuer.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        subject::split(&self.0).0
    }

    /// Returns whether this is a name of the system, in upper or lower case, with any prefix. Readers take `Agent` for
    /// the agent too, and `@Agent` mentions it. Ids are ASCII, so no other letters look like these.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        [AGENT, SYSTEM].iter().any(|name| self.is_named(name))
    }

    fn is_named(&self, name: &str) -> bool {
        subject::split(&self.0).1.eq_ignore_ascii_case(name)
    }
}

/// Id of the agent.
const AGENT: &str = "agent";

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
        user.is_reserved() || self.agent.as_ref().is_some_and(|agent| user.is_named(agent))
    }

    /// Reads the id of a new member.
    ///
    /// # Errors
    /// [`IdError::MalformedUser`], [`IdError::DotSegment`], [`IdError::Reserved`].
    pub fn user(&self, text: &str) -> Result<UserId, IdError> {
        self.unless_reserved(text.parse()?)
    }

    /// Returns the id of the caller with the subject `subject`.
    ///
    /// # Errors
    /// Those of [`UserId::of_subject`], and [`IdError::Reserved`].
    pub fn caller(&self, prefix: Option<&UserPrefix>, subject: &str) -> Result<UserId, IdError> {
        self.unless_reserved(UserId::of_subject(prefix, subject)?)
    }

    fn unless_reserved(&self, user: UserId) -> Result<UserId, IdError> {
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
mod tests;
