//! Incarnations: they distinguish channels and memberships that reuse a name after a deletion.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::id::ChannelId;
use crate::model::id::Seed;

/// Separator of a channel's id and its incarnation in a [`ChannelKey`]. No id contains it.
const SEPARATOR: char = '@';

/// ULID that distinguishes a channel or a membership from all others with the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(ulid::Ulid);

impl Incarnation {
    /// Replaces every incarnation in a mutant without the rule that distinguishes them.
    #[cfg(any(test, feature = "memory"))]
    pub(crate) const NONE: Self = Self(ulid::Ulid::nil());

    /// Generates a unique incarnation.
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

/// Error for a text that is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be <channel id>{SEPARATOR}<ULID in lower case>")]
pub struct KeyError;

impl FromStr for Incarnation {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // The library accepts letters that stand for digits, and too large values. Both would be another key.
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

/// Channel key: the id of a channel and its incarnation. Everything that belongs to a channel is stored under its key,
/// except the item that an id leads to. So items with the key of a deleted channel never affect a channel that reuses
/// the id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelKey {
    /// Id, as clients know it.
    pub channel_id: ChannelId,
    /// Incarnation.
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
