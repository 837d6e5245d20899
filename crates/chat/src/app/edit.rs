//! Editing and deleting messages. The `seq` stays, so the history has no gap and its order never changes.

use serde_json::{Map, Value};

use crate::{
    app::{
        access::{SameChannel, authorize_read, require_still_readable},
        channel_messages::ChannelMessages,
    },
    model::{
        access::{Access, Authority},
        channel::MemberRole,
        error::{ChatError, Result},
        limits::CHANGE_ATTEMPTS,
        message::{ContentType, Message, NewMessage, Role, StoredMessage},
        message_ref::MessageRef,
        reaction::Reactions,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
        message_store::{MessageStore, UpdateResult},
    },
};

/// Changes of a message. `None`: the value stays.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edit {
    /// See [`NewMessage::content`].
    pub content: Option<String>,
    /// Content type.
    pub content_type: Option<ContentType>,
    /// See [`NewMessage::metadata`]; `Some(None)` removes it.
    pub metadata: Option<Option<Map<String, Value>>>,
}

/// Message that the caller may change, with the authority.
pub(crate) struct EditableMessage {
    pub(crate) access: Access,
    pub(crate) message: Message,
    is_author: bool,
}

impl EditableMessage {
    /// Returns the authority: an author needs to see the channel, other users need a role in it.
    pub(crate) fn authority(&self) -> Authority<'_> {
        if self.is_author { self.access.as_reader() } else { self.access.as_member() }
    }
}

impl<Channels: ChannelStore, Messages: MessageStore, Time: Clock> ChannelMessages<'_, Channels, Messages, Time> {
    /// Changes the content, content type or metadata of a message.
    ///
    /// # Errors
    /// [`ChatError::Invalid`], [`ChatError::ChannelNotFound`], [`ChatError::MessageNotFound`] (also when it is
    /// deleted), [`ChatError::ChannelArchived`], [`ChatError::Forbidden`], [`ChatError::Contended`],
    /// [`ChatError::Store`].
    pub async fn edit(&self, revision: &MessageRef, edit: Edit) -> Result<Message> {
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let editable = self.authorize_edit(revision).await?;
            let message = &editable.message;
            same.require(&editable.access.channel)?;
            if message.deleted_at.is_some() {
                return Err(ChatError::MessageNotFound);
            }
            let edit = edit.clone();
            // Clients read the metadata of the agent's messages as the server's words, such as the status of a reply.
            if message.role != Role::User && edit.metadata.as_ref().is_some_and(|wanted| *wanted != message.metadata) {
                return Err(ChatError::Forbidden("no user changes the metadata of the agent's messages"));
            }
            let keeps_content = edit.content.is_none();
            let mut draft = NewMessage {
                content: edit.content.unwrap_or_else(|| message.content.clone()),
                content_type: edit.content_type.unwrap_or(message.content_type),
                metadata: edit.metadata.unwrap_or_else(|| message.metadata.clone()),
                reply_to: message.reply_to,
                thread_seq: message.thread_seq,
            };
            let mut violations = draft.check();
            // A content that was accepted by earlier rules stays.
            violations.retain(|violation| !(keeps_content && violation.field == "content"));
            if !violations.is_empty() {
                return Err(ChatError::Invalid(violations));
            }
            let NewMessage { content, content_type, metadata, .. } = draft;
            if (&content, content_type, &metadata) == (&message.content, message.content_type, &message.metadata) {
                require_still_readable(self.channels, &editable.access.key(), &revision.caller).await?;
                return Ok(editable.message);
            }
            let edited =
                Message { content, content_type, metadata, edited_at: Some(self.clock.now()), ..message.revised() };
            match self.store(&editable, revision, &edited).await? {
                UpdateResult::Done => return Ok(edited),
                UpdateResult::MessageNotFound => return Err(ChatError::MessageNotFound),
                UpdateResult::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
            }
        }
        Err(ChatError::contended())
    }

    /// Deletes a message. Its `seq`, its sender and the time of the deletion stay. A repeated call changes nothing.
    ///
    /// # Errors
    /// Those of [`edit`](Self::edit), except that a deleted message is no error.
    pub async fn delete(&self, revision: &MessageRef) -> Result<()> {
        let mut same = SameChannel::default();
        for attempt in 0..CHANGE_ATTEMPTS {
            let editable = self.authorize_edit(revision).await?;
            same.require(&editable.access.channel)?;
            if editable.message.deleted_at.is_some() {
                return Ok(());
            }
            let tombstone = Message {
                content: String::new(),
                content_type: ContentType::Plain,
                metadata: None,
                reactions: Reactions::new(),
                deleted_at: Some(self.clock.now()),
                ..editable.message.revised()
            };
            match self.store(&editable, revision, &tombstone).await? {
                // If the message is not found, another call has deleted it meanwhile, or it has expired.
                UpdateResult::Done | UpdateResult::MessageNotFound => return Ok(()),
                UpdateResult::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
            }
        }
        Err(ChatError::contended())
    }

    /// Returns the message, if the caller may change it. Only users are authors: a user whose id equals the agent's
    /// does not own the agent's messages.
    pub(crate) async fn authorize_edit(&self, revision: &MessageRef) -> Result<EditableMessage> {
        let MessageRef { channel_id, seq, caller, .. } = revision;
        let mut access = authorize_read(self.channels, channel_id, caller).await?;
        let key = access.key();
        let message = self.messages.message(&key, *seq, self.clock.now()).await?.ok_or(ChatError::MessageNotFound)?;
        let is_author = message.role == Role::User && message.sender_id == *caller;
        if !is_author {
            if access.member.is_none() {
                access.member = self.channels.member(&key, caller).await?;
            }
            if access.role() < Some(MemberRole::Moderator) {
                return Err(ChatError::Forbidden("only its author or a moderator changes a message"));
            }
        }
        access.require_open()?;
        Ok(EditableMessage { access, message, is_author })
    }

    async fn store(
        &self,
        editable: &EditableMessage,
        revision: &MessageRef,
        message: &Message,
    ) -> Result<UpdateResult> {
        let revised = StoredMessage {
            message: message.clone(),
            incarnation: editable.access.channel.incarnation,
            trace: revision.trace.clone(),
            expires_at: None,
        };
        Ok(self.messages.update_message(&editable.authority(), &revised).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::send::{SendCache, SendMessage, send},
        memory::Call,
        model::{channel::Visibility, id::UserId, message::Role, reaction::Toggle, seq::Seq},
        testing::{Before, TestClock, TestStore, key},
    };

    async fn world() -> (TestStore, TestClock) {
        filled(TestStore::seeded(1, 0)).await
    }

    /// Returns the store with a channel and a message of alice.
    async fn filled(store: TestStore) -> (TestStore, TestClock) {
        let store = store
            .with_channel("c", Visibility::Private)
            .with_role("c", "olga", MemberRole::Owner)
            .with_role("c", "mod", MemberRole::Moderator)
            .with_member("c", "alice")
            .with_member("c", "bob");
        let clock = TestClock::new(1);
        let message = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: "alice".parse().unwrap(),
            role: Role::User,
            draft: NewMessage { content: "hi".to_owned(), ..NewMessage::default() },
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        send(&store, &clock, message, &mut SendCache::default()).await.unwrap();
        (store, clock)
    }

    fn of<'a>(store: &'a TestStore, clock: &'a TestClock) -> ChannelMessages<'a, TestStore, TestStore, TestClock> {
        ChannelMessages { channels: store, messages: store, clock }
    }

    fn by(caller: &str, seq: u64) -> MessageRef {
        MessageRef {
            channel_id: "c".parse().unwrap(),
            seq: Seq::new(seq),
            caller: caller.parse().unwrap(),
            trace: None,
        }
    }

    fn to(content: &str) -> Edit {
        Edit { content: Some(content.to_owned()), ..Edit::default() }
    }

    fn metadata() -> Map<String, Value> {
        Map::from_iter([("kept".to_owned(), Value::Bool(true))])
    }

    /// Changes the message in the store, as another request does between the read and the write of an edit.
    fn meanwhile(store: &TestStore, change: impl FnOnce(&mut Message)) {
        let mut state = store.state();
        let messages = state.messages.get_mut(&key("c")).unwrap();
        change(&mut messages.get_mut(&Seq::FIRST).unwrap().stored.message);
    }

    #[tokio::test]
    async fn an_edit_keeps_another_edit_that_came_after_its_read() {
        let (store, clock) = world().await;
        let racing = store.through(Before::new(Call::Revise, || {
            meanwhile(&store, |message| *message = Message { metadata: Some(metadata()), ..message.revised() });
        }));
        let messages = ChannelMessages { channels: &racing, messages: &racing, clock: &clock };
        let edited = messages.edit(&by("alice", 1), to("better")).await.unwrap();
        assert!(racing.hook().is_done());
        assert_eq!((edited.content.as_str(), &edited.metadata), ("better", &Some(metadata())));
        assert_eq!(store.all(), [edited]);
    }

    #[tokio::test]
    async fn a_deletion_follows_an_edit_that_came_after_its_read() {
        let (store, clock) = world().await;
        let racing = store.through(Before::new(Call::Revise, || {
            meanwhile(&store, |message| *message = Message { content: "better".to_owned(), ..message.revised() });
        }));
        let messages = ChannelMessages { channels: &racing, messages: &racing, clock: &clock };
        messages.delete(&by("alice", 1)).await.unwrap();
        let stored = &store.all()[0];
        assert_eq!((stored.content.as_str(), stored.edits), ("", 2));
    }

    #[tokio::test]
    async fn a_reaction_neither_delays_an_edit_nor_is_lost_by_it() {
        let (store, clock) = world().await;
        let reactions = Reactions::from([("👍".parse().unwrap(), ["bob".parse().unwrap()].into())]);
        let racing = store.through(Before::new(Call::Revise, || {
            meanwhile(&store, |message| message.reactions = reactions.clone());
        }));
        let messages = ChannelMessages { channels: &racing, messages: &racing, clock: &clock };
        messages.edit(&by("alice", 1), to("better")).await.unwrap();
        let stored = &store.all()[0];
        assert_eq!((stored.content.as_str(), stored.edits, &stored.reactions), ("better", 1, &reactions));
    }

    #[tokio::test]
    async fn concurrent_edits_of_two_fields_are_both_kept_in_every_order() {
        for seed in 0..50 {
            let (store, clock) = filled(TestStore::scheduled(seed, 4)).await;
            let messages = of(&store, &clock);
            let (author, moderator, reader) = (by("alice", 1), by("mod", 1), by("bob", 1));
            let other = Edit { metadata: Some(Some(metadata())), ..Edit::default() };
            let (content, other, reacted) = futures::future::join3(
                messages.edit(&author, to("better")),
                messages.edit(&moderator, other),
                messages.react(&reader, &"👍".parse().unwrap(), Toggle::Add),
            )
            .await;
            assert!(content.is_ok() && other.is_ok() && reacted.is_ok(), "seed {seed}");
            let stored = &store.all()[0];
            assert_eq!((stored.content.as_str(), &stored.metadata), ("better", &Some(metadata())), "seed {seed}");
            assert_eq!(stored.reactions.len(), 1, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn no_user_writes_the_metadata_of_the_agent() {
        let (store, clock) = world().await;
        let metadata: Map<String, Value> = Map::from_iter([("status".to_owned(), Value::from("failed"))]);
        let reply = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: UserId::assistant(),
            role: Role::Assistant,
            draft: NewMessage {
                content: "hello".to_owned(),
                metadata: Some(metadata.clone()),
                ..NewMessage::default()
            },
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        send(&store, &clock, reply, &mut SendCache::default()).await.unwrap();
        let with = |metadata: Option<Map<String, Value>>| Edit { metadata: Some(metadata), ..to("better") };
        for caller in ["mod", "olga"] {
            for forged in [None, Some(Map::new())] {
                let refused = of(&store, &clock).edit(&by(caller, 2), with(forged)).await;
                assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
            }
            assert!(of(&store, &clock).edit(&by(caller, 2), with(Some(metadata.clone()))).await.is_ok());
        }
        assert!(of(&store, &clock).edit(&by("alice", 1), with(Some(metadata))).await.is_ok(), "of her own message");
    }

    #[tokio::test]
    async fn authors_and_moderators_edit_and_delete_and_nobody_else() {
        for (caller, may) in [("alice", true), ("mod", true), ("olga", true), ("bob", false), ("mallory", false)] {
            let (store, clock) = world().await;
            let edited = of(&store, &clock).edit(&by(caller, 1), to("better")).await;
            assert_eq!(edited.is_ok(), may, "{caller} edits");
            assert_eq!(store.all()[0].content == "better", may, "{caller} edits");
            assert_eq!(of(&store, &clock).delete(&by(caller, 1)).await.is_ok(), may, "{caller} deletes");
            assert_eq!(store.all()[0].content.is_empty(), may, "{caller} deletes");
        }
    }

    #[tokio::test]
    async fn a_deleted_message_keeps_its_number_and_nothing_else_of_its_content() {
        let (store, clock) = world().await;
        for _ in ["once", "again"] {
            of(&store, &clock).delete(&by("alice", 1)).await.unwrap();
        }
        let tombstone = &store.all()[0];
        assert_eq!((tombstone.seq, tombstone.content.as_str()), (Seq::FIRST, ""));
        assert!(tombstone.deleted_at.is_some());
        let late = of(&store, &clock).edit(&by("alice", 1), to("back")).await;
        assert!(matches!(late, Err(ChatError::MessageNotFound)));
        let none = of(&store, &clock).edit(&by("alice", 2), to("x")).await;
        assert!(matches!(none, Err(ChatError::MessageNotFound)));
    }

    #[tokio::test]
    async fn an_edit_obeys_the_rules_of_a_message_and_an_archived_channel_takes_none() {
        let (store, clock) = world().await;
        assert!(matches!(of(&store, &clock).edit(&by("alice", 1), to("")).await, Err(ChatError::Invalid(_))));
        let same = of(&store, &clock).edit(&by("alice", 1), to("hi")).await.unwrap();
        assert_eq!(same.edited_at, None, "nothing was changed");
        store.archive("c");
        let late = of(&store, &clock).edit(&by("alice", 1), to("late")).await;
        assert!(matches!(late, Err(ChatError::ChannelArchived)));
    }
}
