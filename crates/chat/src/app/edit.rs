//! Editing and deleting messages. The `seq` stays, so the history has no gap and its order never changes.

use serde_json::{Map, Value};

use crate::{
    app::{
        access::{SameChannel, authorize_read_with_rev, require_still_readable},
        audit::record,
        channel_messages::ChannelMessages,
        contention::Contention,
    },
    model::{
        access::{Access, Authority},
        audit::AuditAction,
        channel::MemberRole,
        error::{ChatError, Result},
        merge_patch::merge,
        message::{ContentType, Message, NewMessage, Role, StoredMessage},
        message_ref::MessageRef,
        patch::Patch,
        rev::{ChangeNumber, Rev},
        time::Timestamp,
        trace::TraceContext,
        version_condition::VersionCondition,
    },
    ports::{
        channel_store::ChannelStore,
        clock::Clock,
        message_store::{MessageStore, UpdateResult},
    },
};

/// Changes of a message, as a merge patch (RFC 7396). `None`: the value stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edit {
    /// See [`NewMessage::content`].
    pub content: Option<String>,
    /// Content type.
    pub content_type: Option<ContentType>,
    /// Patch of the metadata, which merges at every depth. See [`NewMessage::metadata`].
    pub metadata: Patch<Map<String, Value>>,
}

impl Edit {
    /// Returns the message after the changes.
    fn apply(&self, message: &Message) -> Result<Message> {
        let metadata = match &self.metadata {
            Patch::Keep => message.metadata.clone(),
            Patch::Remove => None,
            Patch::Set(patch) => {
                let mut metadata = message.metadata.clone().unwrap_or_default();
                merge(&mut metadata, patch);
                Some(metadata)
            }
        };
        let mut draft = NewMessage {
            content: self.content.clone().unwrap_or_else(|| message.content.clone()),
            content_type: self.content_type.unwrap_or(message.content_type),
            metadata,
            ..NewMessage::default()
        };
        let mut violations = draft.check();
        // A content that was accepted by earlier rules stays.
        violations.retain(|violation| self.content.is_some() || violation.field != "content");
        if !violations.is_empty() {
            return Err(ChatError::Invalid(violations));
        }
        let NewMessage { content, content_type, metadata, .. } = draft;
        Ok(Message { content, content_type, metadata, ..message.clone() })
    }
}

/// Message that the caller may change, with the authority.
pub(crate) struct EditableMessage {
    pub(crate) access: Access,
    pub(crate) message: Message,
    is_author: bool,
    /// Number of the channel's last change.
    last: Rev,
}

/// Result of storing a changed message.
pub(crate) enum Stored {
    /// The change is stored.
    Done,
    /// The message does not exist, or is deleted.
    MessageNotFound,
    /// Another writer was faster: the message must be read again.
    ReadAgain,
}

impl EditableMessage {
    /// Returns the authority: an author needs to see the channel, other users need a role in it.
    pub(crate) fn authority(&self) -> Authority<'_> {
        if self.is_author { self.access.as_reader() } else { self.access.as_member() }
    }

    /// Records a change for the audit log, unless the caller is the author.
    fn record_of_other(&self, revision: &MessageRef, action: AuditAction, at: Timestamp) {
        if !self.is_author {
            record(at, &revision.caller, &revision.channel_id, action);
        }
    }

    /// Requires a version that the request allows. A change by another request gives the message another version, so
    /// each attempt requires it again.
    fn require(&self, condition: Option<&VersionCondition>) -> Result<()> {
        match condition {
            Some(condition) if !condition.allows(self.message.version) => Err(ChatError::VersionMismatch),
            _ => Ok(()),
        }
    }
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Changes the content, content type or metadata of a message, at a version that `condition` allows. Another change
    /// between the read and the write costs a further attempt, on the message as it is then. An edit that changes nothing
    /// adds no version and takes no number.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also when it is
    /// deleted), [`ChatError::ChannelArchived`], [`ChatError::Forbidden`], [`ChatError::VersionMismatch`],
    /// [`ChatError::Contended`], [`ChatError::Store`].
    pub async fn edit(
        &self,
        revision: &MessageRef,
        condition: Option<&VersionCondition>,
        edit: &Edit,
    ) -> Result<Message> {
        let (mut same, mut contention) = (SameChannel::default(), Contention::new(self.clock));
        while contention.begin(false).await {
            let editable = self.authorize_edit(revision).await?;
            same.require(&editable.access.channel)?;
            if editable.message.deleted_at.is_some() {
                return Err(ChatError::MessageNotFound);
            }
            editable.require(condition)?;
            let edited = edit.apply(&editable.message)?;
            if edited == editable.message {
                require_still_readable(self.channels, &editable.access.key(), &revision.caller).await?;
                return Ok(edited);
            }
            let edited = Message { edited_at: Some(self.clock.now()), ..edited.revised() };
            match self.store(&editable, revision, &edited, &mut contention).await? {
                Stored::Done => {
                    let sender_id = edited.sender_id.clone();
                    let action = AuditAction::MessageEdited { seq: edited.seq, sender_id };
                    editable.record_of_other(revision, action, self.clock.now());
                    return Ok(edited);
                }
                Stored::MessageNotFound => return Err(ChatError::MessageNotFound),
                Stored::ReadAgain => {}
            }
        }
        Err(ChatError::contended())
    }

    /// Deletes a message, at a version that `condition` allows. Its `seq`, its sender and the time of the deletion stay.
    /// A repeated call changes nothing: the change that it asks for is made.
    ///
    /// # Errors
    /// Those of [`edit`](Self::edit), except that a deleted message is no error.
    pub async fn delete(&self, revision: &MessageRef, condition: Option<&VersionCondition>) -> Result<()> {
        let (mut same, mut contention) = (SameChannel::default(), Contention::new(self.clock));
        while contention.begin(false).await {
            let editable = self.authorize_edit(revision).await?;
            same.require(&editable.access.channel)?;
            if editable.message.deleted_at.is_some() {
                // The condition names the message before its deletion, or after it.
                let version = editable.message.version;
                let is_repeated = |one: &VersionCondition| one.allows(version) || one.allows(version.saturating_sub(1));
                return if condition.is_none_or(is_repeated) { Ok(()) } else { Err(ChatError::VersionMismatch) };
            }
            editable.require(condition)?;
            let now = self.clock.now();
            let tombstone = editable.message.tombstone(now);
            match self.store(&editable, revision, &tombstone, &mut contention).await? {
                Stored::Done => {
                    let sender_id = tombstone.sender_id.clone();
                    let action = AuditAction::MessageDeleted { seq: tombstone.seq, sender_id };
                    editable.record_of_other(revision, action, now);
                    return Ok(());
                }
                // Another call has deleted it meanwhile, or it has expired.
                Stored::MessageNotFound => return Ok(()),
                Stored::ReadAgain => {}
            }
        }
        Err(ChatError::contended())
    }

    /// Returns the message, if the caller may change it. Only users are authors: a user whose id equals the agent's
    /// does not own the agent's messages.
    pub(crate) async fn authorize_edit(&self, revision: &MessageRef) -> Result<EditableMessage> {
        let MessageRef { channel_id, seq, caller, .. } = revision;
        let (mut access, last) = authorize_read_with_rev(self.channels, channel_id, caller).await?;
        let key = access.key();
        let message = self.messages.message(&key, *seq, self.clock.now()).await?.ok_or(ChatError::MessageNotFound)?;
        let is_author = message.role == Role::User && message.sender_id == *caller;
        if !is_author {
            if access.member.is_none() {
                access.member = self.channels.member(&key, caller).await?;
            }
            if access.role() < Some(MemberRole::Moderator) {
                return Err(ChatError::not_permitted("only its author or a moderator changes a message"));
            }
        }
        access.require_open()?;
        Ok(EditableMessage { access, message, is_author, last })
    }

    /// Returns the number of a change after `last`.
    pub(crate) fn change_after(&self, last: Rev) -> ChangeNumber {
        ChangeNumber { last, expires_at: self.clock.now().plus(self.change_duration) }
    }

    /// Stores a message that the caller has changed: see [`store_change`](Self::store_change).
    async fn store(
        &self,
        editable: &EditableMessage,
        revision: &MessageRef,
        message: &Message,
        contention: &mut Contention<'_, Time>,
    ) -> Result<Stored> {
        let by = editable.authority();
        self.store_change(&by, editable.last, message, revision.trace.as_ref(), contention).await
    }

    /// Stores a message as the next change of its channel, after the number `last`. Another change of the channel between
    /// the read and the write costs a further attempt with the number after it.
    pub(crate) async fn store_change(
        &self,
        by: &Authority<'_>,
        last: Rev,
        message: &Message,
        trace: Option<&TraceContext>,
        contention: &mut Contention<'_, Time>,
    ) -> Result<Stored> {
        let mut number = self.change_after(last);
        let mut revised = StoredMessage {
            message: message.clone(),
            incarnation: by.channel.incarnation,
            rev: number.rev(),
            trace: trace.cloned(),
            expires_at: None,
        };
        loop {
            match self.messages.update_message(by, &revised, number).await? {
                UpdateResult::Done => return Ok(Stored::Done),
                UpdateResult::MessageNotFound => return Ok(Stored::MessageNotFound),
                UpdateResult::Stale | UpdateResult::Conflict => return Ok(Stored::ReadAgain),
                UpdateResult::Behind(current) => {
                    if !contention.begin_behind().await {
                        return Err(ChatError::contended());
                    }
                    number = self.change_after(current);
                    revised.rev = number.rev();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
