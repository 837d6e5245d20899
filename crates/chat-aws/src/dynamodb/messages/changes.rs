//! Changes of a stored message: edits, deletions and reactions.

use aws_sdk_dynamodb::types::AttributeValue;
use chat::{
    model::{
        access::Authority,
        error::StoreError,
        id::UserId,
        incarnation::ChannelKey,
        limits::{REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::StoredMessage,
        message_ref::MessageRef,
        reaction::Toggle,
        rev::{ChangeNumber, Rev},
        text::emoji::Emoji,
        time::Timestamp,
        trace::TraceContext,
    },
    ports::message_store::{ReactionResult, UpdateResult},
};

use super::{DynamoMessages, THERE, numbers::behind, reads::is_live};
use crate::dynamodb::{
    item::{Item, attribute, n, s},
    transaction::{OPERATION, Part, Ran, Refused, Write, is_too_large},
};

impl DynamoMessages {
    /// Stores the edit or the deletion of a message. The reasons of a refusal have this order: authority, message,
    /// version, number.
    pub(super) async fn revise(
        &self,
        by: &Authority<'_>,
        revised: &StoredMessage,
        number: ChangeNumber,
    ) -> Result<UpdateResult, StoreError> {
        let update = self.revision(&by.channel.key(), revised, number.rev())?;
        let transaction = self.numbered(by, update, revised.message.seq, number)?;
        let refused = match transaction.run_once(&self.client).await? {
            Ran::Done => return Ok(UpdateResult::Done),
            Ran::Refused(refused) => refused,
        };
        Ok(if refused.is_transient() {
            UpdateResult::Conflict
        } else if is_stale(&refused) || is_changed(&refused) {
            UpdateResult::Stale
        } else if refused.is_of(Part::Message) {
            UpdateResult::MessageNotFound
        } else {
            behind(&refused, by).map_or(UpdateResult::Conflict, UpdateResult::Behind)
        })
    }

    /// Replaces the content, the version and the trace context of a message.
    fn revision(&self, channel: &ChannelKey, revised: &StoredMessage, rev: Rev) -> Result<Write, StoreError> {
        let StoredMessage { message, trace, .. } = revised;
        let trace = trace.as_ref();
        let attributes = [
            ("content", Some(s(&message.content))),
            ("content_type", Some(attribute(OPERATION, message.content_type)?)),
            ("metadata", message.metadata.as_ref().map(|metadata| attribute(OPERATION, metadata)).transpose()?),
            ("edited_at", message.edited_at.map(|at| s(at.to_string()))),
            ("deleted_at", message.deleted_at.map(|at| s(at.to_string()))),
            ("version", Some(n(message.version))),
            ("rev", Some(n(rev))),
            ("traceparent", trace.map(|trace| s(&trace.traceparent))),
            ("tracestate", trace.and_then(|trace| Some(s(trace.tracestate.as_ref()?)))),
        ];
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in &attributes {
            match value {
                Some(_) => set.push(format!("#{name} = :{name}")),
                None => remove.push(format!("#{name}")),
            }
        }
        if message.deleted_at.is_some() {
            remove.extend(["reactions", "#agent"].map(str::to_owned));
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let mut update = Write::update(&self.events, self.keys.message(channel, message.seq), expression)
            .when("attribute_exists(seq) AND attribute_not_exists(#deleted_at)")
            .when("#version = :read")
            .value("read", n(message.version.saturating_sub(1)))
            .showing_old();
        if message.deleted_at.is_some() {
            update = update.name("agent", "agent");
        }
        for (name, value) in attributes {
            update = update.name(name, name);
            if let Some(value) = value {
                update = update.value(name, value);
            }
        }
        Ok(update)
    }

    /// Stores the addition or the removal of a reaction. The reasons of a refusal have this order: authority, message,
    /// a reaction that is as requested, number of reactions, number of the change.
    pub(super) async fn toggle_reaction(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        number: ChangeNumber,
        now: Timestamp,
    ) -> Result<ReactionResult, StoreError> {
        let key = self.keys.message(&by.channel.key(), revision.seq);
        let update = self.reaction(key, revision, emoji, toggle, now).value("rev", n(number.rev()));
        let transaction = self.numbered(by, update, revision.seq, number)?;
        let refused = match transaction.run_once(&self.client).await {
            Err(error) if toggle == Toggle::Add && is_too_large(&error) => return Ok(ReactionResult::Full),
            Ok(Ran::Done) => return Ok(ReactionResult::Done),
            Ok(Ran::Refused(refused)) if refused.is_transient() => return Ok(ReactionResult::Conflict),
            Ok(Ran::Refused(refused)) if is_stale(&refused) => return Ok(ReactionResult::Stale),
            Ok(Ran::Refused(refused)) => refused,
            Err(error) => return Err(error),
        };
        if !refused.is_of(Part::Message) {
            return Ok(behind(&refused, by).map_or(ReactionResult::Conflict, ReactionResult::Behind));
        }
        let there = refused.item(Part::Message).filter(|item| is_live(item, now) && !item.contains_key("deleted_at"));
        Ok(match there {
            None => ReactionResult::MessageNotFound,
            Some(message) if toggle.is_done(reacts(message, emoji, &revision.caller)) => ReactionResult::Done,
            Some(_) => ReactionResult::Full,
        })
    }

    /// Adds or removes a user's reaction. Needs `:rev`, the number of the change.
    fn reaction(&self, key: Item, revision: &MessageRef, emoji: &Emoji, toggle: Toggle, now: Timestamp) -> Write {
        // A reaction that is as requested is not written, because each write adds a version.
        let (update, condition) = match toggle {
            Toggle::Add => {
                let room = "(attribute_exists(reactions.#emoji) AND NOT contains(reactions.#emoji, :user) \
                            AND size(reactions.#emoji) < :users) \
                            OR (attribute_not_exists(reactions.#emoji) AND size(reactions) < :kinds)";
                ("ADD reactions.#emoji :set", room)
            }
            // Removing the last user removes the set, since DynamoDB has no empty sets.
            Toggle::Remove => ("DELETE reactions.#emoji :set", "contains(reactions.#emoji, :user)"),
        };
        let trace = revision.trace.as_ref();
        let set = match trace {
            Some(TraceContext { tracestate: Some(_), .. }) => ", traceparent = :traceparent, tracestate = :tracestate",
            Some(_) => ", traceparent = :traceparent REMOVE tracestate",
            None => "",
        };
        let update = format!("SET #version = #version + :one, #rev = :rev{set} {update}");
        let mut write = Write::update(&self.events, key, update)
            .when(THERE)
            .when(condition)
            .name("emoji", emoji.as_str())
            .name("version", "version")
            .name("rev", "rev")
            .value("one", n(1))
            .value("set", AttributeValue::Ss(vec![revision.caller.to_string()]))
            .value("user", s(revision.caller.as_str()))
            .value("now", n(now.as_secs()))
            .showing_old();
        if let Some(TraceContext { traceparent, tracestate }) = trace {
            write = write.value("traceparent", s(traceparent));
            if let Some(tracestate) = tracestate {
                write = write.value("tracestate", s(tracestate));
            }
        }
        if toggle == Toggle::Add {
            write = write.value("users", n(USERS_PER_REACTION)).value("kinds", n(REACTIONS_PER_MESSAGE));
        }
        write
    }
}

/// Returns whether a condition of the authority did not hold.
fn is_stale(refused: &Refused) -> bool {
    refused.is_of(Part::Access) || refused.is_of(Part::Caller)
}

/// Returns whether only the version prevented the change of a message.
fn is_changed(refused: &Refused) -> bool {
    refused.item(Part::Message).is_some_and(|item| !item.contains_key("deleted_at"))
}

/// Returns whether a user reacts to a message with `emoji`.
fn reacts(message: &Item, emoji: &Emoji, user: &UserId) -> bool {
    let users = message.get("reactions").and_then(|value| value.as_m().ok()?.get(emoji.as_str())?.as_ss().ok());
    users.is_some_and(|users| users.iter().any(|one| one == user.as_str()))
}
