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
        text::emoji::Emoji,
        time::Timestamp,
        trace::TraceContext,
    },
    ports::message_store::{ReactionResult, UpdateResult},
};

use super::{DynamoMessages, THERE, reads::is_live};
use crate::dynamodb::{
    authority::Access,
    item::{Item, attribute, n, s},
    transaction::{OPERATION, Part, Ran, Refused, Transaction, Write, is_too_large},
};

impl DynamoMessages {
    /// Stores the edit or the deletion of a message.
    pub(super) async fn revise(&self, by: &Authority<'_>, revised: &StoredMessage) -> Result<UpdateResult, StoreError> {
        let StoredMessage { message, trace, .. } = revised;
        let trace = trace.as_ref();
        let attributes = [
            ("content", Some(s(&message.content))),
            ("content_type", Some(attribute(OPERATION, message.content_type)?)),
            ("metadata", message.metadata.as_ref().map(|metadata| attribute(OPERATION, metadata)).transpose()?),
            ("edited_at", message.edited_at.map(|at| s(at.to_string()))),
            ("deleted_at", message.deleted_at.map(|at| s(at.to_string()))),
            ("version", Some(n(message.version))),
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
        let key = self.keys.message(&by.channel.key(), message.seq);
        let mut update = Write::update(&self.events, key, expression)
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
        let mut transaction = Transaction::default();
        transaction.add(Part::Message, update)?;
        self.place().require(&mut transaction, by, Access::Kept, None)?;
        Ok(match transaction.run(&self.client).await? {
            Ran::Done => UpdateResult::Done,
            Ran::Refused(refused) if is_stale(&refused) || is_changed(&refused) => UpdateResult::Stale,
            Ran::Refused(_) => UpdateResult::MessageNotFound,
        })
    }

    /// Stores the addition or the removal of a reaction.
    pub(super) async fn toggle_reaction(
        &self,
        by: &Authority<'_>,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        now: Timestamp,
    ) -> Result<ReactionResult, StoreError> {
        let mut transaction = Transaction::default();
        transaction.add(Part::Message, self.reaction(&by.channel.key(), revision, emoji, toggle, now))?;
        self.place().require(&mut transaction, by, Access::Kept, None)?;
        let refused = match transaction.run(&self.client).await {
            Err(error) if toggle == Toggle::Add && is_too_large(&error) => return Ok(ReactionResult::Full),
            Ok(Ran::Done) => return Ok(ReactionResult::Done),
            Ok(Ran::Refused(refused)) if is_stale(&refused) => return Ok(ReactionResult::Stale),
            Ok(Ran::Refused(refused)) => refused,
            Err(error) => return Err(error),
        };
        let there = refused.item(Part::Message).filter(|item| is_live(item, now) && !item.contains_key("deleted_at"));
        Ok(match there {
            None => ReactionResult::MessageNotFound,
            Some(message) if toggle.is_done(reacts(message, emoji, &revision.caller)) => ReactionResult::Done,
            Some(_) => ReactionResult::Full,
        })
    }

    /// Adds or removes a user's reaction.
    fn reaction(
        &self,
        channel: &ChannelKey,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        now: Timestamp,
    ) -> Write {
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
        let update = format!("SET #version = #version + :one{set} {update}");
        let mut write = Write::update(&self.events, self.keys.message(channel, revision.seq), update)
            .when(THERE)
            .when(condition)
            .name("emoji", emoji.as_str())
            .name("version", "version")
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
