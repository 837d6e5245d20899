//! Ranges of sort keys.

/// A range of a partition of `chat_channels`: sort keys from `first` to `last`, both included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortRange {
    pub(crate) partition: String,
    pub(crate) first: String,
    pub(crate) last: String,
}

impl SortRange {
    /// Returns the range of all sort keys that begin with `prefix`, which ends in a `#`.
    pub(super) fn below(partition: String, prefix: &str) -> Self {
        // `$` follows `#` in ASCII, and no id contains either.
        let last = format!("{}$", prefix.trim_end_matches('#'));
        Self { partition, first: prefix.to_owned(), last }
    }

    /// Returns whether no sort key is in the range. DynamoDB refuses such a range.
    pub(crate) fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Excludes sort keys up to and including `rest`. `rest` follows the prefix of the range.
    pub(super) fn after(mut self, rest: Option<&str>) -> Self {
        if let Some(rest) = rest {
            // No sort key contains a control character, so none is between the two.
            self.first = format!("{}{rest}\u{1}", self.first);
        }
        self
    }
}
