//! Lives of things whose names are taken anew: channels that are deleted and created again, members who leave and
//! come back.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::id::ChannelId;
use crate::model::id::Seed;

/// Separates a channel's id from its incarnation in a [`ChannelKey`]. No id holds one.
const SEPARATOR: char = '@';

/// Distinguishes one life of a channel, or of a membership, from every other life under the same name. A ULID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(ulid::Ulid);

impl Incarnation {
    /// Stands for every incarnation where a test takes the rule out that tells them apart.
    #[cfg(any(test, feature = "memory"))]
    pub(crate) const NONE: Self = Self(ulid::Ulid::nil());

    /// Makes an incarnation that no other thing has.
    #[must_use]
    pub fn generate(seed: Seed) -> Self {
        Self(seed.ulid())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().to_ascii_lowercase())
    }
}

/// Text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be <channel id>{SEPARATOR}<ULID in lower case>")]
pub struct KeyError;

impl FromStr for Incarnation {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // The library accepts letters that stand for digits, and values that are too large. Both would be another key.
        let read = ulid::Ulid::from_string(text).ok().map(Self);
        read.filter(|read| read.to_string() == text).ok_or(KeyError)
    }
}

impl TryFrom<String> for Incarnation {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

/// Names one life of a channel. Everything that belongs to a channel is kept under its key, except the item that an id
/// leads to. What carries the key of a deleted channel therefore never meets a channel that took the id anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelKey {
    /// The id, as clients know it.
    pub channel_id: ChannelId,
    /// The life.
    pub incarnation: Incarnation,
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.channel_id, self.incarnation)
    }
}

impl FromStr for ChannelKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (id, incarnation) = text.split_once(SEPARATOR).ok_or(KeyError)?;
        Ok(Self { channel_id: id.parse().map_err(|_| KeyError)?, incarnation: incarnation.parse()? })
    }
}

impl TryFrom<String> for ChannelKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<ChannelKey> for String {
    fn from(key: ChannelKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is_a_key() {
        let text = "general@01arz3ndektsv4rrffq69g5fav";
        assert_eq!(text.parse::<ChannelKey>().unwrap().to_string(), text);
        for bad in ["general", "general@", "@01arz3ndektsv4rrffq69g5fav", "general@01ARZ3NDEKTSV4RRFFQ69G5FAV", "a@b@c"]
        {
            assert_eq!(bad.parse::<ChannelKey>(), Err(KeyError), "{bad}");
        }
    }
}
