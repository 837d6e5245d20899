//! Progress of a mapping.

use std::collections::VecDeque;

use crate::dynamodb::Position;

/// Records that were read, from the oldest unfinished one on.
///
/// Lanes finish out of order. The checkpoint advances only over finished records without a gap.
#[derive(Debug)]
pub(super) struct Progress {
    checkpoint: Position,
    read: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    position: Position,
    bytes: usize,
    finished: bool,
}

impl Progress {
    pub(super) fn new(checkpoint: Position) -> Self {
        Self { checkpoint, read: VecDeque::new(), bytes: 0 }
    }

    /// Adds a record that was read. Records come in the order of the stream.
    pub(super) fn start(&mut self, position: Position, bytes: usize) {
        debug_assert!(self.read.back().is_none_or(|last| last.position < position));
        self.read.push_back(Entry { position, bytes, finished: false });
        self.bytes += bytes;
    }

    /// Marks a record as finished.
    pub(super) fn finish(&mut self, position: Position) {
        if let Ok(index) = self.read.binary_search_by_key(&position, |entry| entry.position) {
            let entry = &mut self.read[index];
            if !entry.finished {
                entry.finished = true;
                self.bytes -= entry.bytes;
            }
        }
        while let Some(entry) = self.read.pop_front_if(|entry| entry.finished) {
            self.checkpoint = entry.position;
        }
    }

    /// Returns the position up to which all records are finished.
    pub(super) fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    /// Returns the number of records after the checkpoint.
    pub(super) fn records(&self) -> usize {
        self.read.len()
    }

    /// Returns the number of bytes of these records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_waits_for_the_oldest_record() {
        let at = Position::from_stored;
        let mut progress = Progress::new(at(10));
        for number in [11, 12, 15] {
            progress.start(at(number), 100);
        }

        progress.finish(at(12));
        assert_eq!((progress.checkpoint(), progress.records(), progress.bytes()), (at(10), 3, 200));
        progress.finish(at(12));
        assert_eq!(progress.bytes(), 200, "a record finishes once");
        progress.finish(at(11));
        assert_eq!((progress.checkpoint(), progress.records(), progress.bytes()), (at(12), 1, 100));
        progress.finish(at(15));
        assert_eq!((progress.checkpoint(), progress.records(), progress.bytes()), (at(15), 0, 0));
    }
}
