//! Ids. Their alphabet leaves out `#`, which separates the parts of table keys.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    clock::Clock,
    limits::{ID_CHARS, IDEMPOTENCY_KEY_CHARS},
};

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1 to 128 characters of `[A-Za-z0-9_.:-]`.
    #[error("must be 1 to {ID_CHARS} characters of A-Z, a-z, 0-9, '_', '.', ':' and '-'")]
    Malformed,
    /// Not 1 to 255 visible ASCII characters.
    #[error("must be 1 to {IDEMPOTENCY_KEY_CHARS} visible ASCII characters")]
    MalformedKey,
    /// Not a ULID.
    #[error("must be a ULID")]
    NotAUlid,
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if $valid(&text) { Ok(Self(text)) } else { Err($error) }
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
    /// Names a channel.
    ChannelId, is_id, IdError::Malformed
);

id!(
    /// Names a user, or an agent.
    UserId, is_id, IdError::Malformed
);

id!(
    /// Names a tenant: a world of its own, in which channel and user ids mean nothing to another.
    TenantId, is_id, IdError::Malformed
);

id!(
    /// Names one WebSocket connection. API Gateway chooses it, so anything without a `#` is taken.
    ConnectionId,
    |text: &str| (1..=ID_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'),
    IdError::Malformed
);

id!(
    /// What a client repeats to make a repeated request harmless.
    IdempotencyKey,
    |text: &str| (1..=IDEMPOTENCY_KEY_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
    IdError::MalformedKey
);

impl ChannelId {
    /// A new id for a channel whose creator chose none.
    pub fn generate(clock: &impl Clock) -> Self {
        Self(ulid(clock).to_string().to_ascii_lowercase())
    }
}

impl ChannelId {
    /// The id of a channel whose creator chose none, but a key: the same for each repetition of the request.
    #[must_use]
    pub fn of_request(creator: &UserId, key: &IdempotencyKey) -> Self {
        let digest = Sha256::digest(format!("{creator}#{key}"));
        let bits = digest.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte));
        Self(ulid::Ulid::from(bits).to_string().to_ascii_lowercase())
    }
}

impl UserId {
    /// The assistant that answers in channels.
    #[must_use]
    pub fn assistant() -> Self {
        Self("assistant".to_owned())
    }
}

/// Names a message: a ULID, so it sorts by the time at which the message was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(ulid::Ulid);

impl MessageId {
    /// A new id.
    pub fn generate(clock: &impl Clock) -> Self {
        Self(ulid(clock))
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
        // The library reads what is too large, and letters that stand for digits, as another one.
        let read = ulid::Ulid::from_string(&text).ok().filter(|ulid| ulid.to_string().eq_ignore_ascii_case(&text));
        read.map(Self).ok_or(IdError::NotAUlid)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.to_string()
    }
}

fn ulid(clock: &impl Clock) -> ulid::Ulid {
    ulid::Ulid::from_parts(u64::try_from(clock.now().as_millis()).unwrap_or(0), clock.random())
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
        for bad in ["", "a b", "a#b", "é", "a/b", "a\n", &"a".repeat(ID_CHARS + 1)] {
            assert_eq!(bad.parse::<ChannelId>(), Err(IdError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_message_id_is_read_as_what_it_says() {
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for good in [id.to_owned(), id.to_lowercase(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned()] {
            assert!(MessageId::try_from(good.clone()).unwrap().to_string().eq_ignore_ascii_case(&good));
        }
        // Too large by a bit or more, too short, and a letter that is none of a ULID.
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
            prop_assert_eq!(text.parse::<UserId>().is_ok(), allowed && sized);
        }
    }
}
