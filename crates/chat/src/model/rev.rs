//! Numbers of changes.

use crate::model::{number::counter, time::Timestamp};

counter! {
    /// Number of a change in its channel: 1, 2, 3 … without a gap. Each edit, each deletion and each change of a reaction
    /// has one. 0 stands before the first change: the number of a channel without changes, or of a message that was never
    /// changed.
    Rev,
    /// Error for a text that is not a number of a change.
    RevError
}

/// Number that a change takes in its channel, and the time for which its record is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeNumber {
    /// Number of the channel's last change, as it was read. The transaction of the change requires it.
    pub last: Rev,
    /// Time from which the record of the change counts as absent.
    pub expires_at: Timestamp,
}

impl ChangeNumber {
    /// Returns the number of the change.
    #[must_use]
    pub const fn rev(&self) -> Rev {
        self.last.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_decimal_is_a_rev() {
        for (text, number) in [("0", 0), ("1", 1), ("10", 10), ("18446744073709551615", u64::MAX)] {
            assert_eq!(text.parse(), Ok(Rev::new(number)));
            assert_eq!(Rev::new(number).to_string(), text);
        }
        for text in ["", "+1", "-1", "-0", "00", "01", " 1", "1 ", "1.0", "1e3", "0x1", "١", "18446744073709551616"] {
            assert_eq!(text.parse::<Rev>(), Err(RevError), "{text}");
        }
    }

    #[test]
    fn json_has_the_plain_number() {
        assert_eq!(serde_json::to_string(&Rev::new(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<Rev>("7").unwrap(), Rev::new(7));
    }

    #[test]
    fn a_change_takes_the_number_after_the_last() {
        let number = |last| ChangeNumber { last, expires_at: Timestamp::from_secs(0) };
        assert_eq!(number(Rev::ZERO).rev(), Rev::FIRST);
        assert_eq!(number(Rev::new(7)).rev(), Rev::new(8));
        assert_eq!(Rev::new(u64::MAX).next(), Rev::new(u64::MAX));
    }

    #[test]
    fn a_width_pads_the_number() {
        assert_eq!(format!("{:016}", Rev::new(7)), "0000000000000007");
    }
}
