//! The versions of a channel or a message at which a request may take effect.

/// A condition on the version of a channel or a message, which the store checks with the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCondition {
    /// The allowed versions. `None`: all.
    pub only: Option<Vec<u64>>,
    /// Versions that are not allowed.
    pub except: Vec<u64>,
}

impl VersionCondition {
    /// Returns `true` if the request may take effect at `version`.
    #[must_use]
    pub fn allows(&self, version: u64) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&version)) && !self.except.contains(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_allowed_unless_it_is_excluded() {
        for (only, except, allowed) in [
            (None, vec![], true),
            (None, vec![2], false),
            (Some(vec![]), vec![], false),
            (Some(vec![1, 2]), vec![], true),
            (Some(vec![1, 2]), vec![2], false),
            (Some(vec![1]), vec![], false),
        ] {
            assert_eq!(VersionCondition { only, except }.allows(2), allowed);
        }
    }
}
