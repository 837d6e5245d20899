//! Exporting the data of a user: one JSON object for each thing, so that a program can write and read it line by line.

use serde::Serialize;

use crate::{
    model::{
        channel::MemberRole,
        error::Result,
        id::{ChannelId, ConnectionId, UserId},
        message::Message,
        seq::Seq,
        text::emoji::Emoji,
        time::Timestamp,
        user_item::{Extent, ScanPosition, UserData},
    },
    ports::{clock::Clock, user_items::UserItems},
};

/// Version of the format. A new kind of line and a new field are no new version: readers ignore them.
const VERSION: u32 = 1;

/// Line of an export.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportLine {
    /// First line.
    User {
        /// Version of the format.
        version: u32,
        /// User.
        user_id: UserId,
        /// Time at which the export began.
        exported_at: Timestamp,
    },
    /// Message that the user sent. It is not deleted.
    Message {
        /// The message, as the API shows it.
        message: Box<Message>,
    },
    /// Reaction of the user.
    Reaction {
        /// Channel.
        channel_id: ChannelId,
        /// `seq` of the message.
        seq: Seq,
        /// Emoji.
        emoji: Emoji,
    },
    /// Membership.
    Membership {
        /// Channel.
        channel_id: ChannelId,
        /// Role.
        role: MemberRole,
        /// Time at which it began.
        joined_at: Timestamp,
    },
    /// Read mark.
    ReadMark {
        /// Channel.
        channel_id: ChannelId,
        /// `seq` up to which the user has read the channel.
        read_seq: Seq,
    },
    /// Invitation that is not answered.
    Invitation {
        /// Channel.
        channel_id: ChannelId,
    },
    /// Open connection.
    Connection {
        /// Id.
        connection_id: ConnectionId,
        /// Time at which it was opened.
        connected_at: Timestamp,
    },
}

/// Part of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportPage {
    /// Lines.
    pub lines: Vec<ExportLine>,
    /// Position at which the next part begins, if there is more.
    pub next: Option<ScanPosition>,
    /// Number of items that were read, of all users.
    pub read: u64,
}

/// Export of a user's data, with its ports.
#[derive(Debug, Clone, Copy)]
pub struct Exporter<'a, Items, Time> {
    /// Scan of all tables.
    pub items: &'a Items,
    /// Time.
    pub clock: &'a Time,
}

impl<Items: UserItems, Time: Clock> Exporter<'_, Items, Time> {
    /// Returns the first line of an export.
    #[must_use]
    pub fn header(&self, user: &UserId) -> ExportLine {
        ExportLine::User { version: VERSION, user_id: user.clone(), exported_at: self.clock.now() }
    }

    /// Returns the lines of the next part of the tables, from `from` on or from the beginning. A thing that changes during
    /// the export may be exported as before the change or as after it.
    ///
    /// # Errors
    /// [`ChatError::Store`](crate::model::error::ChatError::Store).
    pub async fn page(&self, user: &UserId, from: Option<&ScanPosition>) -> Result<ExportPage> {
        let page = self.items.scan(user, Extent::Content, from, self.clock.now()).await?;
        let lines = page.items.into_iter().flat_map(|item| lines(item.data)).collect();
        Ok(ExportPage { lines, next: page.next, read: page.read })
    }
}

/// Returns the lines of an item. Copies in lists, and items of the system about the user, have none.
fn lines(data: UserData) -> Vec<ExportLine> {
    match data {
        UserData::Message(stored) => vec![ExportLine::Message { message: Box::new(stored.message) }],
        UserData::Reaction { channel, seq, emoji } => {
            vec![ExportLine::Reaction { channel_id: channel.channel_id, seq, emoji }]
        }
        UserData::Membership { channel, member, read_seq } => {
            let membership = member.map(|member| ExportLine::Membership {
                channel_id: channel.channel_id.clone(),
                role: member.role,
                joined_at: member.joined_at,
            });
            let mark = read_seq.map(|read_seq| ExportLine::ReadMark { channel_id: channel.channel_id, read_seq });
            membership.into_iter().chain(mark).collect()
        }
        UserData::Invitation { channel, is_copy: false } => {
            vec![ExportLine::Invitation { channel_id: channel.channel_id }]
        }
        UserData::Connection { connection, is_copy: false } => {
            vec![ExportLine::Connection { connection_id: connection.id, connected_at: connection.connected_at }]
        }
        UserData::Invitation { .. }
        | UserData::Connection { .. }
        | UserData::Reply { .. }
        | UserData::DraftPiece { .. }
        | UserData::Own { .. }
        | UserData::Name
        | UserData::Mention(_)
        | UserData::Word => Vec::new(),
    }
}
