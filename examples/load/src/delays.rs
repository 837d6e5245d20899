//! Times until messages arrived.

use std::time::Duration;

/// Times until messages arrived, shortest first.
#[derive(Debug)]
pub(crate) struct Delays(Vec<Duration>);

impl Delays {
    /// Returns the number of messages that arrived.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the time within which this percentage of the messages arrived, or `None` if none did.
    pub(crate) fn within(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.checked_sub(1)?).copied()
    }
}

impl FromIterator<Duration> for Delays {
    fn from_iter<I: IntoIterator<Item = Duration>>(delays: I) -> Self {
        let mut sorted: Vec<Duration> = delays.into_iter().collect();
        sorted.sort_unstable();
        Self(sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(milliseconds: impl IntoIterator<Item = u64>) -> Delays {
        milliseconds.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentage_arrived_within_the_time_of_its_last_message() {
        let delays = delays((1..=200).rev());
        for (percent, expected) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(delays.within(percent), Some(Duration::from_millis(expected)), "{percent} %");
        }
    }

    #[test]
    fn one_message_is_every_percentage() {
        assert_eq!(delays([7]).within(50), Some(Duration::from_millis(7)));
        assert_eq!(delays([7]).within(100), Some(Duration::from_millis(7)));
    }

    #[test]
    fn without_messages_there_is_no_time() {
        assert_eq!(delays([]).within(100), None);
    }
}
