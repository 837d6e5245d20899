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
        limits::MESSAGE_CHANGE_ATTEMPTS,
        merge_patch::merge,
        message::{ContentType, Message, NewMessage, Role, StoredMessage},
        message_ref::MessageRef,
        patch::Patch,
        reaction::Reactions,
        version_condition::VersionCondition,
    },
    ports::{
        channel_store::ChannelStore,
        clock::{CHANGE_BACKOFF, Clock},
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
}

impl EditableMessage {
    /// Returns the authority: an author needs to see the channel, other users need a role in it.
    pub(crate) fn authority(&self) -> Authority<'_> {
        if self.is_author { self.access.as_reader() } else { self.access.as_member() }
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
    /// adds no version.
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
        let mut same = SameChannel::default();
        for attempt in 0..MESSAGE_CHANGE_ATTEMPTS {
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
            match self.store(&editable, revision, &edited).await? {
                UpdateResult::Done => return Ok(edited),
                UpdateResult::MessageNotFound => return Err(ChatError::MessageNotFound),
                UpdateResult::Stale => CHANGE_BACKOFF.pause(self.clock, attempt).await,
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
        let mut same = SameChannel::default();
        for attempt in 0..MESSAGE_CHANGE_ATTEMPTS {
            let editable = self.authorize_edit(revision).await?;
            same.require(&editable.access.channel)?;
            if editable.message.deleted_at.is_some() {
                // The condition names the message before its deletion, or after it.
                let version = editable.message.version;
                let is_repeated = |one: &VersionCondition| one.allows(version) || one.allows(version.saturating_sub(1));
                return if condition.is_none_or(is_repeated) { Ok(()) } else { Err(ChatError::VersionMismatch) };
            }
            editable.require(condition)?;
            let tombstone = Message {
                content: String::new(),
                content_type: ContentType::Plain,
                metadata: None,
                agent: None,
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
                return Err(ChatError::not_permitted("only its author or a moderator changes a message"));
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
    use serde_json::json;

    use super::*;
    use crate::{
        app::send::{SendCache, SendMessage, send},
        memory::Call,
        model::{
            agent_data::{AgentData, ReplyStatus},
            channel::Visibility,
            id::UserId,
            limits::METADATA_BYTES,
            reaction::Toggle,
            seq::Seq,
        },
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
            agent: None,
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
        let edited = messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
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
        messages.delete(&by("alice", 1), None).await.unwrap();
        let stored = &store.all()[0];
        assert_eq!((stored.content.as_str(), stored.version), ("", 3));
    }

    #[tokio::test]
    async fn an_edit_keeps_a_reaction_that_came_after_its_read() {
        let (store, clock) = world().await;
        let reactions = Reactions::from([("👍".parse().unwrap(), ["bob".parse().unwrap()].into())]);
        let racing = store.through(Before::new(Call::Revise, || {
            meanwhile(&store, |message| *message = Message { reactions: reactions.clone(), ..message.revised() });
        }));
        let messages = ChannelMessages { channels: &racing, messages: &racing, clock: &clock };
        let edited = messages.edit(&by("alice", 1), None, &to("better")).await.unwrap();
        assert_eq!((edited.content.as_str(), edited.version, &edited.reactions), ("better", 3, &reactions));
        assert_eq!(store.all(), [edited]);
    }

    fn only(version: u64) -> VersionCondition {
        VersionCondition { only: Some(vec![version]), except: Vec::new() }
    }

    #[tokio::test]
    async fn a_change_takes_effect_at_a_version_that_its_request_allows() {
        let (store, clock) = world().await;
        let messages = of(&store, &clock);
        let edited = messages.edit(&by("alice", 1), Some(&only(1)), &to("better")).await.unwrap();
        assert_eq!(edited.version, 2);
        for (caller, condition) in [("alice", only(1)), ("mod", only(3)), ("alice", only(0))] {
            let refused = messages.edit(&by(caller, 1), Some(&condition), &to("worse")).await;
            assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
            // Also an edit that would change nothing.
            let refused = messages.edit(&by(caller, 1), Some(&condition), &to("better")).await;
            assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
            let refused = messages.delete(&by(caller, 1), Some(&condition)).await;
            assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
        }
        // Only a caller who may change the message learns of its version.
        let refused = messages.edit(&by("bob", 1), Some(&only(1)), &to("worse")).await;
        assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
        assert_eq!(store.all(), [edited]);
        messages.react(&by("bob", 1), &"👍".parse().unwrap(), Toggle::Add).await.unwrap();
        messages.delete(&by("alice", 1), Some(&only(3))).await.unwrap();
        assert_eq!(store.all()[0].version, 4);
        messages.delete(&by("alice", 1), Some(&only(3))).await.unwrap();
        assert_eq!(store.all()[0].version, 4, "the repetition of a request whose response was lost");
    }

    #[tokio::test]
    async fn a_change_of_one_version_makes_no_second_attempt_on_another() {
        for is_edit in [true, false] {
            let (store, clock) = world().await;
            let racing = store.through(Before::new(Call::Revise, || {
                meanwhile(&store, |message| *message = Message { content: "other".to_owned(), ..message.revised() });
            }));
            let messages = ChannelMessages { channels: &racing, messages: &racing, clock: &clock };
            let refused = if is_edit {
                messages.edit(&by("alice", 1), Some(&only(1)), &to("better")).await.map(drop)
            } else {
                messages.delete(&by("alice", 1), Some(&only(1))).await
            };
            assert!(matches!(refused, Err(ChatError::VersionMismatch)), "{refused:?}");
            assert_eq!((store.all()[0].content.as_str(), store.all()[0].version), ("other", 2));
        }
    }

    #[tokio::test]
    async fn an_edit_merges_metadata_and_checks_the_result() {
        let (store, clock) = world().await;
        let messages = of(&store, &clock);
        let author = by("alice", 1);
        let metadata = async |patch: Value| {
            let patch = match patch {
                Value::Null => Patch::Remove,
                Value::Object(patch) => Patch::Set(patch),
                other => unreachable!("{other} is no metadata"),
            };
            let edit = Edit { metadata: patch, ..Edit::default() };
            messages.edit(&author, None, &edit).await.map(|edited| (json!(edited.metadata), edited.version))
        };
        for (patch, expected, version) in [
            (json!({ "a": { "b": 1, "c": 2 }, "d": [1] }), json!({ "a": { "b": 1, "c": 2 }, "d": [1] }), 2),
            (json!({ "a": { "b": null, "e": 3.0 } }), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
            (json!({ "x": null }), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
            (json!({}), json!({ "a": { "c": 2, "e": 3 }, "d": [1] }), 3),
            (json!({ "a": null, "d": { "y": 1 } }), json!({ "d": { "y": 1 } }), 4),
            (Value::Null, Value::Null, 5),
            (Value::Null, Value::Null, 5),
        ] {
            assert_eq!(metadata(patch.clone()).await.unwrap(), (expected, version), "{patch}");
        }
        // Each half fits, and both together do not.
        let half = "x".repeat(METADATA_BYTES / 2);
        metadata(json!({ "first": half })).await.unwrap();
        let refused = metadata(json!({ "second": half })).await;
        assert!(matches!(&refused, Err(ChatError::Invalid(found)) if found[0].code == "too_long"), "{refused:?}");
    }

    #[tokio::test]
    async fn concurrent_edits_of_two_fields_are_both_kept_in_every_order() {
        for seed in 0..50 {
            let (store, clock) = filled(TestStore::scheduled(seed, 4)).await;
            let messages = of(&store, &clock);
            let (author, moderator, reader) = (by("alice", 1), by("mod", 1), by("bob", 1));
            let other = Edit { metadata: Patch::Set(metadata()), ..Edit::default() };
            let better = to("better");
            let (content, other, reacted) = futures::future::join3(
                messages.edit(&author, None, &better),
                messages.edit(&moderator, None, &other),
                messages.react(&reader, &"👍".parse().unwrap(), Toggle::Add),
            )
            .await;
            assert!(content.is_ok() && other.is_ok() && reacted.is_ok(), "seed {seed}");
            let stored = &store.all()[0];
            assert_eq!((stored.content.as_str(), &stored.metadata), ("better", &Some(metadata())), "seed {seed}");
            assert_eq!((stored.reactions.len(), stored.version), (1, 4), "seed {seed}");
        }
    }

    #[tokio::test]
    async fn no_user_writes_the_data_of_the_agent() {
        let (store, clock) = world().await;
        let data = AgentData::of_status(ReplyStatus::Failed);
        let reply = SendMessage {
            channel_id: "c".parse().unwrap(),
            sender_id: UserId::agent(),
            role: Role::Agent,
            draft: NewMessage { content: "hello".to_owned(), ..NewMessage::default() },
            agent: Some(data.clone()),
            record_key: None,
            incarnation: None,
            bucket: None,
            trace: None,
        };
        send(&store, &clock, reply, &mut SendCache::default()).await.unwrap();
        let own = Edit { metadata: Patch::Set(metadata()), ..to("better") };
        let edited = of(&store, &clock).edit(&by("mod", 2), None, &own).await.unwrap();
        assert_eq!((edited.agent, edited.metadata), (Some(data), Some(metadata())));
        of(&store, &clock).delete(&by("olga", 2), None).await.unwrap();
        assert_eq!(store.all()[1].agent, None);
    }

    #[tokio::test]
    async fn authors_and_moderators_edit_and_delete_and_nobody_else() {
        for (caller, may) in [("alice", true), ("mod", true), ("olga", true), ("bob", false), ("mallory", false)] {
            let (store, clock) = world().await;
            let edited = of(&store, &clock).edit(&by(caller, 1), None, &to("better")).await;
            assert_eq!(edited.is_ok(), may, "{caller} edits");
            assert_eq!(store.all()[0].content == "better", may, "{caller} edits");
            assert_eq!(of(&store, &clock).delete(&by(caller, 1), None).await.is_ok(), may, "{caller} deletes");
            assert_eq!(store.all()[0].content.is_empty(), may, "{caller} deletes");
        }
    }

    #[tokio::test]
    async fn a_deleted_message_keeps_its_number_and_nothing_else_of_its_content() {
        let (store, clock) = world().await;
        for _ in ["once", "again"] {
            of(&store, &clock).delete(&by("alice", 1), None).await.unwrap();
        }
        let tombstone = &store.all()[0];
        assert_eq!((tombstone.seq, tombstone.content.as_str()), (Seq::FIRST, ""));
        assert!(tombstone.deleted_at.is_some());
        let late = of(&store, &clock).edit(&by("alice", 1), None, &to("back")).await;
        assert!(matches!(late, Err(ChatError::MessageNotFound)));
        let none = of(&store, &clock).edit(&by("alice", 2), None, &to("x")).await;
        assert!(matches!(none, Err(ChatError::MessageNotFound)));
    }

    #[tokio::test]
    async fn an_edit_obeys_the_rules_of_a_message_and_an_archived_channel_takes_none() {
        let (store, clock) = world().await;
        assert!(matches!(of(&store, &clock).edit(&by("alice", 1), None, &to("")).await, Err(ChatError::Invalid(_))));
        let same = of(&store, &clock).edit(&by("alice", 1), None, &to("hi")).await.unwrap();
        assert_eq!((same.edited_at, same.version), (None, 1), "nothing was changed");
        store.archive("c");
        let late = of(&store, &clock).edit(&by("alice", 1), None, &to("late")).await;
        assert!(matches!(late, Err(ChatError::ChannelArchived)));
    }
}
