//! Records of a channel.

use super::{
    PAGE,
    progress::{After, ExportPosition},
    record::{ChannelRecord, MemberRecord, MessageRecord, Record},
};
use crate::{
    model::{
        error::StoreError,
        id::{ChannelId, TenantId, UserId},
        incarnation::ChannelKey,
        seq::Seq,
    },
    ports::{channel_transfer::ChannelTransfer, clock::Clock},
};

/// Reason why a channel is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError<E> {
    /// No channel has the id.
    #[error("the channel {0} does not exist")]
    NotFound(ChannelId),
    /// The interrupted export is of an earlier channel with the id.
    #[error("the channel {0} was deleted and created again since the export began: begin a new export")]
    Replaced(ChannelId),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be written.
    #[error("cannot write the export: {0}")]
    Write(E),
}

/// Passes the records of a channel to `write`: the channel, its members, and its messages up to the newest one at the
/// beginning. Goes on after `from`, if that is given. Holds one page of records at a time.
///
/// # Errors
/// See [`ExportError`].
pub async fn export_channel<Store: ChannelTransfer, E>(
    store: &Store,
    (tenant, id): (Option<&TenantId>, &ChannelId),
    from: Option<&ExportPosition>,
    clock: &impl Clock,
    mut write: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), ExportError<E>> {
    let Some((channel, rev)) = store.channel_to_export(id).await? else {
        return Err(ExportError::NotFound(id.clone()));
    };
    let record = match from {
        Some(position) => position.channel.clone(),
        None => ChannelRecord::new(tenant, &channel, rev),
    };
    if (record.created_at, &record.created_by) != (channel.created_at, &channel.created_by) {
        return Err(ExportError::Replaced(id.clone()));
    }
    let (key, last) = (channel.key(), record.last_seq);
    let (member, seq) = match from.map(|position| &position.after) {
        Some(After::Message(seq)) => (None, Some(*seq)),
        Some(After::Member(user)) => (Some(user.clone()), None),
        Some(After::Channel) => (None, None),
        None => {
            write(Record::Channel(record)).map_err(ExportError::Write)?;
            (None, None)
        }
    };
    if seq.is_none() {
        export_members(store, &key, member, &mut write).await?;
    }
    export_messages(store, &key, seq.unwrap_or_default(), last, clock, &mut write).await
}

async fn export_members<Store: ChannelTransfer, E>(
    store: &Store,
    key: &ChannelKey,
    mut after: Option<UserId>,
    write: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), ExportError<E>> {
    loop {
        let members = store.members_to_export(key, after.as_ref(), PAGE).await?;
        let is_last = members.len() < usize::from(PAGE);
        after = members.last().map(|(member, _)| member.user_id.clone());
        for (member, read_seq) in members {
            write(Record::Member(MemberRecord::new(member, read_seq))).map_err(ExportError::Write)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn export_messages<Store: ChannelTransfer, E>(
    store: &Store,
    key: &ChannelKey,
    mut after: Seq,
    last: Seq,
    clock: &impl Clock,
    write: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), ExportError<E>> {
    loop {
        let messages = store.messages_to_export(key, after, last, PAGE, clock.now()).await?;
        let is_last = messages.len() < usize::from(PAGE);
        after = messages.last().map_or(after, |stored| stored.message.seq);
        for stored in messages {
            write(Record::Message(Box::new(MessageRecord::new(stored)))).map_err(ExportError::Write)?;
        }
        if is_last {
            return Ok(());
        }
    }
}
