//! Channels from their records.

use serde::{Deserialize, Serialize};

use super::{
    IMPORT_PAGE,
    record::{ChannelRecord, Counts, MemberRecord, MessageRecord, Record, RecordError},
};
use crate::{
    model::{
        channel::{Member, MemberRole},
        error::StoreError,
        id::{ChannelId, TenantId},
        incarnation::{ChannelKey, Incarnation},
        limits::{CHANNEL_NAME_CHARS, CONTENT_BYTES, REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::StoredMessage,
        rev::Rev,
        seq::Seq,
    },
    ports::{
        channel_transfer::{ChannelTransfer, Published},
        clock::Clock,
    },
};

/// Reason why an import stops.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A record breaks a rule.
    #[error("record {number}: {problem}")]
    Record {
        /// Number of the record, from 1: that of its line.
        number: u64,
        /// Rule that it breaks.
        problem: RecordError,
    },
    /// The id of a channel leads to another channel.
    #[error("the channel {0} exists already: delete it, or leave it out with --skip-existing")]
    Taken(ChannelId),
    /// The export has no last record.
    #[error("the export is not complete: its last record is missing")]
    Incomplete,
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Treatment of channels whose ids are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The import stops.
    #[default]
    Refused,
    /// The channel is left out.
    Skipped,
}

/// Channel that is being imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedChannel {
    /// Its record.
    pub record: ChannelRecord,
    /// Its incarnation. An interrupted import keeps it, so that the same items are written again.
    pub incarnation: Incarnation,
    /// Whether the channel is left out, because its id is taken.
    pub is_skipped: bool,
    owners: usize,
    last_seq: Seq,
    last_rev: Rev,
    has_messages: bool,
}

impl ImportedChannel {
    /// Returns the key under which everything of the channel is stored.
    #[must_use]
    pub fn key(&self) -> ChannelKey {
        ChannelKey { channel_id: self.record.channel_id.clone(), incarnation: self.incarnation }
    }
}

/// Progress of an import. An interrupted import goes on from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImportState {
    /// Number of records that are stored.
    pub records: u64,
    /// Channel of the last record.
    pub channel: Option<ImportedChannel>,
    /// Numbers of the records that were read.
    pub counts: Counts,
    /// Number of channels that were left out.
    pub skipped: u64,
    /// Whether the last record was read.
    pub is_complete: bool,
}

/// Import of records in their order.
///
/// [`Import::state`] changes only when everything before it is stored. So the caller stores it after each change, and
/// passes the records after [`ImportState::records`] to the next import after an interruption.
#[derive(Debug)]
pub struct Import<Stores, Time> {
    stores: Stores,
    clock: Time,
    existing: Existing,
    /// Progress that is stored.
    stored: ImportState,
    /// Progress with the records that are not stored yet.
    ahead: ImportState,
    members: Vec<(Member, Seq)>,
    messages: Vec<StoredMessage>,
}

impl<Store: ChannelTransfer, Stores: Fn(Option<&TenantId>) -> Store, Time: Clock> Import<Stores, Time> {
    /// Returns an import into the stores of tenants, which goes on from `state`.
    #[must_use]
    pub fn new(stores: Stores, clock: Time, existing: Existing, state: ImportState) -> Self {
        let (members, messages) = (Vec::new(), Vec::new());
        Self { stores, clock, existing, stored: state.clone(), ahead: state, members, messages }
    }

    /// Returns the progress that is stored.
    #[must_use]
    pub fn state(&self) -> &ImportState {
        &self.stored
    }

    /// Imports the next record. Returns whether [`Import::state`] has changed.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn add(&mut self, record: Record) -> Result<bool, ImportError> {
        let number = self.ahead.records + 1;
        let refused = |problem| ImportError::Record { number, problem };
        self.place(&record).map_err(refused)?;
        self.ahead.counts.add(&record);
        match record {
            Record::Export(header) => header.check().map_err(refused)?,
            Record::Channel(channel) => {
                check_channel(&channel).map_err(refused)?;
                self.end_channel(number).await?;
                self.ahead.channel = Some(self.begin(channel).await?);
                self.ahead.records = number;
                // The incarnation must be stored before the first item with it.
                self.stored = self.ahead.clone();
                return Ok(true);
            }
            Record::Member(member) => self.add_member(member).map_err(refused)?,
            Record::Message(message) => self.add_message(*message).map_err(refused)?,
            Record::End(counts) => {
                if counts != self.ahead.counts {
                    let problem = format!("{counts:?} records are expected, and {:?} were read", self.ahead.counts);
                    return Err(refused(RecordError(problem)));
                }
                self.end_channel(number).await?;
                self.ahead.is_complete = true;
            }
        }
        self.ahead.records = number;
        if !self.ahead.is_complete && self.members.len() + self.messages.len() < IMPORT_PAGE {
            return Ok(false);
        }
        self.write().await?;
        self.stored = self.ahead.clone();
        Ok(true)
    }

    /// Ends the import after its last record.
    ///
    /// # Errors
    /// Fails if the last record is missing.
    pub fn finish(self) -> Result<ImportState, ImportError> {
        if self.stored.is_complete { Ok(self.stored) } else { Err(ImportError::Incomplete) }
    }

    /// Checks the order of the records.
    fn place(&self, record: &Record) -> Result<(), RecordError> {
        let misplaced = |what: &str| Err(RecordError(what.to_owned()));
        if self.ahead.is_complete {
            return misplaced("no record can follow the last one");
        }
        if (self.ahead.records == 0) != matches!(record, Record::Export(_)) {
            return misplaced("the first record, and no other one, has the type export");
        }
        match (record, &self.ahead.channel) {
            (Record::Member(_) | Record::Message(_), None) => misplaced("it belongs to no channel"),
            (Record::Member(_), Some(channel)) if channel.has_messages => misplaced("members precede the messages"),
            _ => Ok(()),
        }
    }

    async fn begin(&mut self, record: ChannelRecord) -> Result<ImportedChannel, ImportError> {
        let store = (self.stores)(record.tenant.as_ref());
        let is_skipped = store.channel_to_export(&record.channel_id).await?.is_some();
        if is_skipped {
            if self.existing == Existing::Refused {
                return Err(ImportError::Taken(record.channel_id));
            }
            self.ahead.skipped += 1;
        }
        Ok(ImportedChannel {
            last_rev: record.last_rev,
            record,
            incarnation: Incarnation::generate(self.clock.seed()),
            is_skipped,
            owners: 0,
            last_seq: Seq::ZERO,
            has_messages: false,
        })
    }

    fn add_member(&mut self, record: MemberRecord) -> Result<(), RecordError> {
        let incarnation = Incarnation::generate(self.clock.seed());
        let Some(channel) = &mut self.ahead.channel else { return Ok(()) };
        if record.user_id.is_reserved() {
            return Err(RecordError(format!("{} is a name of the system and cannot be a member", record.user_id)));
        }
        channel.owners += usize::from(record.role == MemberRole::Owner);
        if !channel.is_skipped {
            self.members.push(record.member(channel.record.channel_id.clone(), incarnation));
        }
        Ok(())
    }

    fn add_message(&mut self, record: MessageRecord) -> Result<(), RecordError> {
        let Some(channel) = &mut self.ahead.channel else { return Ok(()) };
        check_message(&record, channel)?;
        channel.has_messages = true;
        channel.last_seq = record.seq;
        // A message of an export may have changed after the number of the channel was read.
        channel.last_rev = channel.last_rev.max(record.rev);
        if !channel.is_skipped {
            self.messages.push(record.stored(&channel.key()));
        }
        Ok(())
    }

    /// Publishes the channel of the last record, if there is one.
    async fn end_channel(&mut self, number: u64) -> Result<(), ImportError> {
        let Some(channel) = self.ahead.channel.clone().filter(|channel| !channel.is_skipped) else { return Ok(()) };
        if channel.owners == 0 {
            let problem = RecordError(format!("the channel {} before it has no owner", channel.record.channel_id));
            return Err(ImportError::Record { number, problem });
        }
        self.write().await?;
        let store = (self.stores)(channel.record.tenant.as_ref());
        let complete = channel.record.channel(channel.incarnation);
        match store.publish(&complete, channel.owners, channel.last_rev).await? {
            Published::Done => Ok(()),
            Published::Taken => Err(ImportError::Taken(channel.record.channel_id)),
        }
    }

    /// Stores the members and messages that are not stored yet.
    async fn write(&mut self) -> Result<(), ImportError> {
        let Some(channel) = &self.ahead.channel else { return Ok(()) };
        let (key, store) = (channel.key(), (self.stores)(channel.record.tenant.as_ref()));
        if !self.members.is_empty() {
            store.import_members(&key, &self.members).await?;
            self.members.clear();
        }
        if !self.messages.is_empty() {
            store.import_messages(&key, &self.messages).await?;
            self.messages.clear();
        }
        Ok(())
    }
}

fn check_channel(record: &ChannelRecord) -> Result<(), RecordError> {
    let chars = record.name.chars().count();
    if !(1..=CHANNEL_NAME_CHARS).contains(&chars) {
        return Err(RecordError(format!("name must be 1 to {CHANNEL_NAME_CHARS} characters, is {chars}")));
    }
    if record.last_seq > Seq::LARGEST {
        return Err(RecordError(format!("last_seq must be at most {}", Seq::LARGEST)));
    }
    Ok(())
}

/// Checks the rules of a message that the stores rely on. The content is not checked otherwise, since it was accepted once.
fn check_message(record: &MessageRecord, channel: &ImportedChannel) -> Result<(), RecordError> {
    let last = channel.record.last_seq;
    let problem = if record.seq <= channel.last_seq || record.seq > last {
        format!("seq must be after {} and at most {last}, the channel's last_seq", channel.last_seq)
    } else if record.version == 0 {
        "version must be 1 or more".to_owned()
    } else if record.content.len() > CONTENT_BYTES {
        format!("content must be at most {CONTENT_BYTES} bytes of UTF-8, is {}", record.content.len())
    } else if record.thread_seq.is_some_and(|root| root >= record.seq || root == Seq::ZERO) {
        "thread_seq must be that of an earlier message".to_owned()
    } else if record.reactions.len() > REACTIONS_PER_MESSAGE {
        format!("reactions must have at most {REACTIONS_PER_MESSAGE} emoji")
    } else if record.reactions.iter().any(|one| one.user_ids.is_empty() || one.user_ids.len() > USERS_PER_REACTION) {
        format!("each reaction must have 1 to {USERS_PER_REACTION} users")
    } else {
        return Ok(());
    };
    Err(RecordError(problem))
}
