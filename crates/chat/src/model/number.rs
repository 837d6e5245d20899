//! Numbers that count from 1 in each channel, and their notation.

use std::{fmt::Display, str::FromStr};

/// Reads a number in its only accepted notation: as it is written. Rust also accepts a plus sign and leading zeros, which
/// would be further names of the same number.
#[must_use]
pub fn canonical<Number: FromStr + Display>(text: &str) -> Option<Number> {
    text.parse().ok().filter(|number: &Number| number.to_string() == text)
}

/// Defines the type of a number that counts from 1 in each channel, and the error for a text that is none.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $(#[$error_doc:meta])* $error:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Place before the first one.
            pub const ZERO: Self = Self(0);

            /// The first one of a channel.
            pub const FIRST: Self = Self(1);

            /// Returns the number with a value.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Returns the value.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Returns the number after this one. The largest `u64` stays as it is.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        $(#[$error_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error("must be a decimal number without a sign and leading zeros")]
        pub struct $error;

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                $crate::model::number::canonical(text).map(Self).ok_or($error)
            }
        }
    };
}

pub(crate) use counter;
