//! The change of one field by a JSON Merge Patch (RFC 7396).

/// Change of a field that may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field stays as it is. The patch leaves it out.
    #[default]
    Keep,
    /// The field is removed. The patch has `null`.
    Remove,
    /// The field gets this value.
    Set(T),
}

impl<T> Patch<T> {
    /// Returns whether the field stays as it is.
    #[must_use]
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Returns the patch with a reference to its value.
    #[must_use]
    pub const fn as_ref(&self) -> Patch<&T> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Remove => Patch::Remove,
            Self::Set(value) => Patch::Set(value),
        }
    }

    /// Returns the new value, if the field gets one.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Remove => None,
        }
    }

    /// Returns the new value for changes, if the field gets one.
    #[must_use]
    pub const fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Remove => None,
        }
    }

    /// Converts the new value.
    #[must_use]
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Remove => Patch::Remove,
            Self::Set(value) => Patch::Set(convert(value)),
        }
    }

    /// Changes `field`.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Remove => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_removes_or_sets() {
        for (patch, expected) in [(Patch::Keep, Some(1)), (Patch::Remove, None), (Patch::Set(2), Some(2))] {
            let mut field = Some(1);
            patch.apply(&mut field);
            assert_eq!((field, patch.is_keep()), (expected, patch == Patch::default()), "{patch:?}");
        }
        assert_eq!(Patch::Set(2).map(|value| value + 1), Patch::Set(3));
        assert_eq!((Patch::Set(2).value(), Patch::<u8>::Remove.value()), (Some(&2), None));
    }
}
