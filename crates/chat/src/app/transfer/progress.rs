//! Position in an export, from the records that are already written.

use super::record::{ChannelRecord, Counts, Record, RecordError};
use crate::model::{id::UserId, seq::Seq};

/// Last record of a channel that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// The channel itself.
    Channel,
    /// A member.
    Member(UserId),
    /// A message.
    Message(Seq),
}

/// Position in the records of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPosition {
    /// The channel, as it is written.
    pub channel: ChannelRecord,
    /// Its last record.
    pub after: After,
}

/// Records that are already written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportProgress {
    /// Whether the first record is written.
    pub has_header: bool,
    /// Position in the last channel, if there is one.
    pub position: Option<ExportPosition>,
    /// Numbers of the records.
    pub counts: Counts,
    /// Whether the last record is written.
    pub is_complete: bool,
}

impl ExportProgress {
    /// Adds the next record.
    ///
    /// # Errors
    /// Fails if the record is out of place.
    pub fn add(&mut self, record: Record) -> Result<(), RecordError> {
        let misplaced = |what: &str| Err(RecordError(what.to_owned()));
        if self.is_complete {
            return misplaced("no record can follow the last one");
        }
        if self.has_header == matches!(record, Record::Export(_)) {
            return misplaced("the first record, and no other one, has the type export");
        }
        self.counts.add(&record);
        match record {
            Record::Export(header) => {
                header.check()?;
                self.has_header = true;
            }
            Record::Channel(channel) => self.position = Some(ExportPosition { channel, after: After::Channel }),
            Record::Member(member) => match &mut self.position {
                Some(position) if !matches!(position.after, After::Message(_)) => {
                    position.after = After::Member(member.user_id);
                }
                _ => return misplaced("a member follows its channel or another member"),
            },
            Record::Message(message) => match &mut self.position {
                Some(position) => position.after = After::Message(message.seq),
                None => return misplaced("a message follows its channel"),
            },
            Record::End(counts) if counts == self.counts => self.is_complete = true,
            Record::End(_) => return misplaced("the numbers of records differ from those of the last record"),
        }
        Ok(())
    }
}
