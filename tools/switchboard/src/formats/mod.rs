//! Exports of other products, as records of ours.
//!
//! A [`Workspace`] returns the posts of a channel twice, in the same order: once to number them and to count the replies
//! of threads, and once to write them. So the numbers, the ids and the order of the records are the same each time, and
//! an interrupted import can go on.

pub mod emoji;
pub mod mattermost;
mod numbering;
mod post;
pub mod slack;
pub mod users;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chat::{
    app::transfer::{ChannelRecord, Counts, Header, MemberRecord, Record},
    model::{
        channel::{AgentMode, AgentSettings, MemberRole, Visibility},
        id::{ChannelId, UserId, UserPrefix},
        rev::Rev,
        seq::Seq,
        time::Timestamp,
    },
};
use serde::Serialize;

pub use self::post::Post;
use self::{numbering::Numbering, users::Attribute};

/// Numbers of the parts of a workspace that an import leaves out or changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Losses(BTreeMap<&'static str, u64>);

impl Losses {
    /// Counts a part.
    pub fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Returns the kinds of parts with their numbers.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, count)| (*what, *count))
    }
}

/// Options for the users of another product.
#[derive(Debug, Clone, Default)]
pub struct UserOptions {
    /// Attribute that is the subject of a user's tokens.
    pub subject: Attribute,
    /// Prefix of the users' issuer.
    pub prefix: Option<UserPrefix>,
    /// Owner of channels without one.
    pub owner: Option<UserId>,
}

/// Channel of another product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChannel {
    /// Id.
    pub channel_id: ChannelId,
    /// Display name.
    pub name: String,
    /// Visibility.
    pub visibility: Visibility,
    /// Time of the creation, if it is known.
    pub created_at: Option<Timestamp>,
    /// Whether the channel is read-only.
    pub is_archived: bool,
    /// Members with their roles.
    pub members: BTreeMap<UserId, MemberRole>,
}

/// Export of another product.
pub trait Workspace {
    /// Returns the channels, in a fixed order.
    fn channels(&self) -> &[ForeignChannel];

    /// Returns the posts of a channel, by its index, in the order of their times.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    fn posts(&self, channel: usize) -> Result<Box<dyn Iterator<Item = Result<Post>> + '_>>;
}

/// Passes the records of a workspace, one at a time. Adds to `losses`.
///
/// # Errors
/// Fails if a file cannot be read, if a channel has no owner, or if `pass` fails.
pub async fn pass_records<W: Workspace>(
    workspace: &W,
    options: &UserOptions,
    losses: &mut Losses,
    pass: &mut impl AsyncFnMut(Record) -> Result<()>,
) -> Result<()> {
    pass(Record::Export(Header::default())).await?;
    let mut counts = Counts::default();
    for (index, channel) in workspace.channels().iter().enumerate() {
        let numbering = Numbering::of(workspace.posts(index)?)?;
        let mut records = vec![Record::Channel(channel_record(channel, options, &numbering)?)];
        records.extend(member_records(channel, options, &numbering));
        for record in records {
            counts.add(&record);
            pass(record).await?;
        }
        let mut next = Seq::FIRST;
        for post in workspace.posts(index)? {
            for message in numbering.messages(&channel.channel_id, &post?, next, losses) {
                next = message.seq.next();
                let record = Record::Message(Box::new(message));
                counts.add(&record);
                pass(record).await?;
            }
        }
    }
    pass(Record::End(counts)).await
}

/// Returns the members, and the owner of the options if no member is an owner.
fn members(channel: &ForeignChannel, options: &UserOptions) -> BTreeMap<UserId, MemberRole> {
    let mut members = channel.members.clone();
    if !members.values().any(|role| *role == MemberRole::Owner)
        && let Some(owner) = &options.owner
    {
        members.insert(owner.clone(), MemberRole::Owner);
    }
    members
}

fn created_at(channel: &ForeignChannel, numbering: &Numbering) -> Timestamp {
    channel.created_at.or(numbering.first_at()).unwrap_or(Timestamp::from_secs(0))
}

fn channel_record(channel: &ForeignChannel, options: &UserOptions, numbering: &Numbering) -> Result<ChannelRecord> {
    let members = members(channel, options);
    let owner = members.iter().find(|(_, role)| **role == MemberRole::Owner).map(|(user, _)| user.clone());
    let id = &channel.channel_id;
    let created_by = owner.with_context(|| format!("the channel {id} has no owner: name one with --owner"))?;
    let created_at = created_at(channel, numbering);
    Ok(ChannelRecord {
        tenant: None,
        channel_id: id.clone(),
        name: channel.name.clone(),
        visibility: channel.visibility,
        // Members of a channel without an agent expect a reply only when they ask for one.
        agent: AgentSettings { mode: AgentMode::Mention, ..AgentSettings::default() },
        read_receipts: false,
        created_by,
        created_at,
        archived_at: channel.is_archived.then(|| numbering.last_at().unwrap_or(created_at)),
        retention_days: None,
        version: 1,
        last_seq: numbering.last_seq(),
        last_message_at: numbering.last_at(),
        last_rev: Rev::ZERO,
    })
}

/// Returns the members, who have read everything.
fn member_records(channel: &ForeignChannel, options: &UserOptions, numbering: &Numbering) -> Vec<Record> {
    let joined_at = created_at(channel, numbering);
    let record = |(user_id, role)| {
        Record::Member(MemberRecord { user_id, role, joined_at, added_by: None, read_seq: numbering.last_seq() })
    };
    members(channel, options).into_iter().map(record).collect()
}
