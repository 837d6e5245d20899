//! Parts of a channel's subscriptions. A store that divides its data by keys spreads a large audience over several
//! parts, so that no single key takes all reads and writes of a crowd.
//!
//! The number of parts only grows. A subscription is written into the part that its connection's id has at that time,
//! and stays there. A reader reads all parts up to the current number, so it also finds those that were written before
//! a growth. A writer that knows only an earlier number is right too: its part is among those that are read.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::model::{id::ConnectionId, incarnation::KeyError};

/// Number of parts: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Parts {
    exponent: u8,
}

impl Parts {
    /// One part: the number of every channel that has not had a crowd.
    pub const ONE: Self = Self { exponent: 0 };

    /// Maximum number, 64.
    pub const MOST: Self = Self { exponent: 6 };

    /// Returns the number of parts if `count` is a power of two up to [`Parts::MOST`].
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        (0..=Self::MOST.exponent).map(|exponent| Self { exponent }).find(|parts| parts.count() == count)
    }

    /// Returns the smallest number of parts with at most `each` of `subscriptions` in a part on average.
    #[must_use]
    pub fn for_subscriptions(subscriptions: usize, each: usize) -> Self {
        let mut parts = Self::ONE;
        while parts < Self::MOST && each.saturating_mul(1 << parts.exponent) < subscriptions {
            parts.exponent += 1;
        }
        parts
    }

    /// Returns the number.
    #[must_use]
    pub const fn count(self) -> u32 {
        1 << self.exponent
    }

    /// Returns the part into which a subscription of this connection is written. Every reader and writer uses this.
    #[must_use]
    pub fn part_of(self, id: &ConnectionId) -> u32 {
        hash(id.as_str()) % self.count()
    }

    /// Returns the parts in which a subscription of this connection may be, whatever the number was when it was written.
    #[must_use]
    pub fn possible_of(id: &ConnectionId) -> BTreeSet<u32> {
        (0..=Self::MOST.exponent).map(|exponent| Self { exponent }.part_of(id)).collect()
    }
}

/// Returns the FNV-1a hash of a text, with its upper half folded into the lower one.
fn hash(text: &str) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash ^ (hash >> 16)
}

/// Position in the subscriptions of a channel: part by part, in each in the order of the connections' ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AudienceCursor {
    /// Part.
    pub part: u32,
    /// Number of parts when the reading began.
    pub parts: Parts,
    /// Connection in the part up to which the subscriptions are read. `None`: the part begins.
    pub after: Option<ConnectionId>,
}

impl AudienceCursor {
    /// Returns the beginning of a reading of this number of parts.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        Self { part: 0, parts, after: None }
    }

    /// Returns the position after a connection in the only part.
    #[must_use]
    pub fn after(id: ConnectionId) -> Self {
        Self { after: Some(id), ..Self::start(Parts::ONE) }
    }

    /// Returns the beginning of the next part, if there is one.
    #[must_use]
    pub fn next_part(&self) -> Option<Self> {
        let part = self.part + 1;
        (part < self.parts.count()).then_some(Self { part, parts: self.parts, after: None })
    }
}

/// Writes the connection alone if there is only one part.
impl fmt::Display for AudienceCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(id) if self.parts == Parts::ONE => write!(f, "{id}"),
            Some(id) => write!(f, "{}/{}#{id}", self.part, self.parts.count()),
            None => write!(f, "{}/{}#", self.part, self.parts.count()),
        }
    }
}

impl FromStr for AudienceCursor {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // No connection id contains a `#`.
        let Some((place, id)) = text.split_once('#') else {
            return Ok(Self::after(text.parse().map_err(|_| KeyError)?));
        };
        let (part, count) = place.split_once('/').ok_or(KeyError)?;
        let part = part.parse().map_err(|_| KeyError)?;
        let parts = count.parse().ok().and_then(Parts::new).filter(|parts| part < parts.count()).ok_or(KeyError)?;
        let after = if id.is_empty() { None } else { Some(id.parse().map_err(|_| KeyError)?) };
        Ok(Self { part, parts, after })
    }
}

impl TryFrom<String> for AudienceCursor {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<AudienceCursor> for String {
    fn from(cursor: AudienceCursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> impl Iterator<Item = Parts> {
        [1, 2, 4, 8, 16, 32, 64].into_iter().map(|count| Parts::new(count).unwrap())
    }

    fn id(number: usize) -> ConnectionId {
        format!("L0SM9cOFvHc{number}=").parse().unwrap()
    }

    #[test]
    fn only_powers_of_two_up_to_the_maximum_are_numbers_of_parts() {
        for count in [0, 3, 63, 65, 128, u32::MAX] {
            assert_eq!(Parts::new(count), None, "{count}");
        }
        assert_eq!(all().last(), Some(Parts::MOST));
    }

    #[test]
    fn a_crowd_has_as_many_parts_as_it_needs() {
        let cases =
            [(0, 1), (5_000, 1), (5_001, 2), (10_000, 2), (10_001, 4), (100_000, 32), (320_000, 64), (usize::MAX, 64)];
        for (subscriptions, count) in cases {
            assert_eq!(Parts::for_subscriptions(subscriptions, 5_000).count(), count, "{subscriptions}");
        }
    }

    #[test]
    fn connections_are_spread_evenly() {
        let mut counts = vec![0; 64];
        for number in 0..64_000 {
            counts[usize::try_from(Parts::MOST.part_of(&id(number))).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (700..1_300).contains(count)), "{counts:?}");
    }

    proptest! {
        /// Those that were written before a growth are among the parts that are read after it.
        #[test]
        fn a_subscription_is_in_a_part_that_every_later_reader_reads(text in "[!-\"$-~]{1,128}") {
            let id: ConnectionId = text.parse().unwrap();
            let possible = Parts::possible_of(&id);
            for written in all() {
                let part = written.part_of(&id);
                prop_assert!(possible.contains(&part));
                for read in all().filter(|read| *read >= written) {
                    prop_assert!(part < read.count());
                }
            }
            prop_assert_eq!(Parts::ONE.part_of(&id), 0);
        }

        #[test]
        fn a_cursor_reads_back_what_it_writes(number in 0_usize..100, exponent in 0_u32..=6, has_id: bool) {
            let parts = Parts::new(1 << exponent).unwrap();
            let part = parts.part_of(&id(number));
            let cursor = AudienceCursor { part, parts, after: has_id.then(|| id(number)) };
            prop_assert_eq!(cursor.to_string().parse::<AudienceCursor>(), Ok(cursor));
        }
    }

    #[test]
    fn a_cursor_of_one_part_is_its_connection() {
        assert_eq!(AudienceCursor::after(id(1)).to_string(), id(1).to_string());
        for bad in ["", "#", "1#", "8/8#", "1/3#x", "x/8#x", "1/8#a#b"] {
            assert!(bad.parse::<AudienceCursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reading_goes_through_all_parts() {
        let mut cursor = Some(AudienceCursor::start(Parts::new(4).unwrap()));
        let mut parts = Vec::new();
        while let Some(one) = cursor {
            parts.push(one.part);
            cursor = one.next_part();
        }
        assert_eq!(parts, [0, 1, 2, 3]);
    }
}
