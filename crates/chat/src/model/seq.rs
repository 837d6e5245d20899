//! Numbers of messages.

use crate::model::{limits::LARGEST_SEQ, number::counter};

counter! {
    /// Number of a message in its channel: 1, 2, 3 … without a gap. 0 stands before the first message: the head of an
    /// empty channel, or a read mark before every message.
    Seq,
    /// Error for a text that is not a number of a message.
    SeqError
}

impl Seq {
    /// Largest number of a message: [`LARGEST_SEQ`].
    pub const LARGEST: Self = Self(LARGEST_SEQ);

    /// Returns the number of messages after `earlier` up to this one, or 0 if this one is not later.
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_decimal_is_a_seq() {
        for (text, number) in [("0", 0), ("1", 1), ("10", 10), ("18446744073709551615", u64::MAX)] {
            assert_eq!(text.parse(), Ok(Seq::new(number)));
            assert_eq!(Seq::new(number).to_string(), text);
        }
        for text in ["", "+1", "-1", "-0", "00", "01", " 1", "1 ", "1.0", "1e3", "0x1", "١", "18446744073709551616"] {
            assert_eq!(text.parse::<Seq>(), Err(SeqError), "{text}");
        }
    }

    #[test]
    fn json_has_the_plain_number() {
        assert_eq!(serde_json::to_string(&Seq::new(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<Seq>("7").unwrap(), Seq::new(7));
    }

    #[test]
    fn numbers_follow_one_another() {
        assert_eq!(Seq::ZERO.next(), Seq::FIRST);
        assert_eq!(Seq::new(u64::MAX).next(), Seq::new(u64::MAX));
        assert_eq!((Seq::new(7).distance_from(Seq::new(4)), Seq::new(4).distance_from(Seq::new(7))), (3, 0));
    }

    #[test]
    fn a_width_pads_the_number() {
        assert_eq!(format!("{:016}", Seq::new(7)), "0000000000000007");
    }
}
