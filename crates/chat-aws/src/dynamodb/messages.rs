//! Messages in `chat_events`, and the items of an append in `chat_channels`. See [`crate::dynamodb::keys`].

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use chat::{
    model::{
        access::Authority,
        channel::{Channel, ChannelHead},
        error::StoreError,
        id::{ChannelId, TenantId, UserId},
        incarnation::ChannelKey,
        limits::{REACTIONS_PER_MESSAGE, USERS_PER_REACTION},
        message::{Message, StoredMessage},
        message_ref::MessageRef,
        reaction::Toggle,
        seq::Seq,
        text::emoji::Emoji,
        time::Timestamp,
        trace::TraceContext,
    },
    ports::{
        message_store::{
            Append, AppendResult, IdempotencyRecord, MessageStore, Range, ReactionResult, RecordKey, Token,
            UpdateResult,
        },
        rate_limiter::LimitedAction,
    },
};
use futures::{StreamExt, TryStreamExt};
use telemetry::metrics;

use crate::{
    dynamodb::{
        authority::{Access, Place},
        item::{ABSENT_OR_EXPIRED, Item, attribute, n, number, read, s, text, write},
        keys::Keys,
        rate_limits::{full_at, kept_until},
        record_item::RecordItem,
        transaction::{OPERATION, Part, Ran, Refused, Transaction, Write, is_too_large},
    },
    sdk::sdk_error,
};

mod replies;

/// Number of messages of a thread that are read concurrently.
const READ_CONCURRENCY: usize = 16;

/// Condition that a message is neither deleted nor expired at `:now`.
const THERE: &str = "attribute_exists(seq) AND attribute_not_exists(deleted_at) \
                     AND (attribute_not_exists(expires_at) OR expires_at > :now)";

/// Messages in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoMessages {
    client: Client,
    events: String,
    channels: String,
    keys: Keys,
}

impl DynamoMessages {
    /// Creates a store for messages in the table `events`, whose channels are in the table `channels`.
    #[must_use]
    pub fn new(client: Client, events: impl Into<String>, channels: impl Into<String>) -> Self {
        Self { client, events: events.into(), channels: channels.into(), keys: Keys::default() }
    }

    /// Returns the messages of one tenant.
    #[must_use]
    pub fn for_tenant(&self, tenant: Option<&TenantId>) -> Self {
        Self { keys: Keys::for_tenant(tenant), ..self.clone() }
    }

    fn place(&self) -> Place<'_> {
        Place { table: &self.channels, keys: &self.keys }
    }

    async fn get(&self, table: &str, key: Item) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sdk_error("GetItem", error))?.item)
    }

    fn read_message(&self, operation: &'static str, item: Item) -> Result<Message, StoreError> {
        read(operation, self.keys.plain(item))
    }

    fn advance_head(&self, append: &Append<'_>) -> Result<Write, StoreError> {
        let Append { head, message, .. } = append;
        let key = self.keys.meta(&head.channel_id);
        Ok(Write::update(&self.channels, key, "SET last_seq = :next, last_message_at = :at")
            .when("last_seq = :last AND version = :version AND incarnation = :incarnation")
            .value("next", n(message.message.seq))
            .value("last", n(head.last_seq))
            .value("at", s(message.message.created_at.to_string()))
            .value("version", n(head.version))
            .value("incarnation", attribute(OPERATION, head.incarnation)?)
            .showing_old())
    }

    fn put_message(&self, append: &Append<'_>) -> Result<Write, StoreError> {
        let stored = append.message;
        let mut item: Item = write(OPERATION, &stored.message)?;
        item.extend(self.keys.message(&append.head.key(), stored.message.seq));
        // An update can add a reaction only below an existing map.
        item.insert("reactions".to_owned(), AttributeValue::M(HashMap::new()));
        if let Some(TraceContext { traceparent, tracestate }) = &stored.trace {
            item.insert("traceparent".to_owned(), s(traceparent));
            item.extend(tracestate.as_ref().map(|tracestate| ("tracestate".to_owned(), s(tracestate))));
        }
        if let Some(expires_at) = stored.expires_at {
            item.insert("expires_at".to_owned(), n(expires_at.as_secs()));
        }
        // The filter of the agent's event source mapping excludes these messages.
        if !append.for_agent {
            item.insert("agent".to_owned(), s("off"));
        }
        let put = Write::put(&self.events, item).when("attribute_not_exists(seq)");
        // Without a record, the stored item shows whether it is this message.
        Ok(if append.record.is_none() { put.showing_old() } else { put })
    }

    fn put_record(&self, append: &Append<'_>, record: &IdempotencyRecord) -> Result<Write, StoreError> {
        let fields = RecordItem {
            fingerprint: record.fingerprint.clone(),
            message_id: record.message_id,
            seq: record.seq,
            expires_at: record.expires_at.as_secs(),
        };
        let mut item = write(OPERATION, fields)?;
        item.extend(self.keys.record(&append.head.key(), &record.key));
        Ok(Write::put(&self.channels, item).when(ABSENT_OR_EXPIRED).value("now", n(append.now.as_secs())).showing_old())
    }

    /// Takes a token from the sender's bucket. If the cache has a full bucket, the stored one may be full since any
    /// past time. Otherwise the stored time must equal the cached one.
    fn take_token(&self, append: &Append<'_>, token: Token) -> Write {
        let (condition, bound) = match token.full_at {
            None => ("attribute_not_exists(full_at) OR full_at <= :bound", append.now),
            Some(full_at) => ("full_at = :bound", full_at),
        };
        let key = self.keys.bucket(&append.message.message.sender_id, &LimitedAction::Send);
        Write::update(&self.channels, key, "SET full_at = :next, expires_at = :expires_at")
            .when(condition)
            .value("next", n(token.next.as_millis()))
            .value("bound", n(bound.as_millis()))
            .value("expires_at", n(kept_until(token.next)))
            .showing_old()
    }

    fn check_member(&self, append: &Append<'_>, user: &UserId) -> Write {
        Write::check(&self.channels, self.keys.member(&append.head.key(), user)).when("attribute_exists(sk)")
    }
}

impl MessageStore for DynamoMessages {
    async fn head(&self, channel: &ChannelId) -> Result<Option<ChannelHead>, StoreError> {
        let found = self.get(&self.channels, self.keys.meta(channel)).await?;
        self.head_of("GetItem", found)
    }

    async fn is_member(&self, channel: &ChannelKey, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.get(&self.channels, self.keys.member(channel, user)).await?.is_some())
    }

    async fn append(&self, append: Append<'_>) -> Result<AppendResult, StoreError> {
        let mut transaction = Transaction::default();
        transaction.add(Part::Channel, self.advance_head(&append)?)?;
        transaction.add(Part::Message, self.put_message(&append)?)?;
        if let Some(record) = append.record {
            transaction.add(Part::Record, self.put_record(&append, record)?)?;
            if let Some(seq) = record.key.question() {
                transaction.add(Part::Question, self.check_question(&append, seq))?;
            }
        }
        if let Some(user) = append.member {
            transaction.add(Part::Member, self.check_member(&append, user))?;
        }
        if let Some(token) = append.token {
            transaction.add(Part::Token, self.take_token(&append, token))?;
        }
        if let Some(reply_to) = append.message.message.reply_to {
            transaction.add(Part::Other, self.put_reply(&append, reply_to))?;
        }
        let appended = match transaction.run_without_token(&self.client).await? {
            Ran::Done => AppendResult::Stored,
            Ran::Refused(refused) => self.refused(&append, &refused)?,
        };
        let is_lost_race = matches!(appended, AppendResult::Stale { head: Some(_), .. } | AppendResult::Conflict);
        metrics::count(&metrics::APPEND_CONFLICTS, usize::from(is_lost_race));
        metrics::count(&metrics::MESSAGES_APPENDED, usize::from(appended == AppendResult::Stored));
        Ok(appended)
    }

    async fn idempotency_record(
        &self,
        channel: &ChannelKey,
        key: &RecordKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let found = self.get(&self.channels, self.keys.record(channel, key)).await?;
        found.map(|item| Ok(read::<RecordItem>("GetItem", item)?.record(key))).transpose()
    }

    async fn message(&self, channel: &ChannelKey, seq: Seq, now: Timestamp) -> Result<Option<Message>, StoreError> {
        let found = self.get(&self.events, self.keys.message(channel, seq)).await?;
        found.filter(|item| is_live(item, now)).map(|item| self.read_message("GetItem", item)).transpose()
    }

    async fn update_message(&self, by: &Authority<'_>, revised: &StoredMessage) -> Result<UpdateResult, StoreError> {
        let StoredMessage { message, trace, .. } = revised;
        let trace = trace.as_ref();
        let attributes = [
            ("content", Some(s(&message.content))),
            ("content_type", Some(attribute(OPERATION, message.content_type)?)),
            ("metadata", message.metadata.as_ref().map(|metadata| attribute(OPERATION, metadata)).transpose()?),
            ("edited_at", message.edited_at.map(|at| s(at.to_string()))),
            ("deleted_at", message.deleted_at.map(|at| s(at.to_string()))),
            ("edits", Some(n(message.edits))),
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
            remove.push("reactions".to_owned());
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        let key = self.keys.message(&by.channel.key(), message.seq);
        let mut update = Write::update(&self.events, key, expression)
            .when("attribute_exists(seq) AND attribute_not_exists(#deleted_at)")
            .showing_old();
        // The condition leaves reactions out, so they do not delay edits.
        update = match message.edits.saturating_sub(1) {
            0 => update.when("attribute_not_exists(#edits)"),
            read => update.when("#edits = :read").value("read", n(read)),
        };
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
            Ran::Refused(refused) if is_stale(&refused) || is_edited(&refused) => UpdateResult::Stale,
            Ran::Refused(_) => UpdateResult::MessageNotFound,
        })
    }

    async fn react(
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

    async fn replies(
        &self,
        channel: &ChannelKey,
        seq: Seq,
        after: Seq,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let (mut replies, mut after) = (Vec::new(), after);
        loop {
            let seqs = self.reply_seqs(channel, seq, after, limit).await?;
            let Some(last) = seqs.last() else { return Ok(replies) };
            after = *last;
            let found = futures::stream::iter(seqs)
                .map(|seq| self.message(channel, seq, now))
                .buffered(READ_CONCURRENCY)
                .try_collect::<Vec<_>>()
                .await?;
            replies.extend(found.into_iter().flatten());
            if replies.len() >= usize::from(limit) {
                replies.truncate(usize::from(limit));
                return Ok(replies);
            }
        }
    }

    async fn messages(
        &self,
        channel: &ChannelKey,
        range: Range,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<Message>, StoreError> {
        let (condition, bound, oldest_first) = match range {
            Range::Newest => ("channel_id = :channel", None, false),
            Range::Before(seq) => ("channel_id = :channel AND seq < :seq", Some(seq), false),
            Range::After(seq) => ("channel_id = :channel AND seq > :seq", Some(seq), true),
        };
        let mut values = Item::from([(":channel".to_owned(), s(self.keys.channel(channel)))]);
        values.extend(bound.map(|seq| (":seq".to_owned(), n(seq))));
        let mut messages = Vec::new();
        let mut start = None;
        // A query page ends at 1 MB ("Paginating table query results"), which 32 messages can fill.
        loop {
            let wanted = usize::from(limit) - messages.len();
            let page = self
                .client
                .query()
                .table_name(&self.events)
                .key_condition_expression(condition)
                .set_expression_attribute_values(Some(values.clone()))
                .scan_index_forward(oldest_first)
                .consistent_read(true)
                .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| sdk_error("Query", error))?;
            for item in page.items.unwrap_or_default().into_iter().filter(|item| is_live(item, now)) {
                messages.push(self.read_message("Query", item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() || messages.len() >= usize::from(limit) {
                return Ok(messages);
            }
        }
    }
}

/// Returns whether a condition of the authority did not hold.
fn is_stale(refused: &Refused) -> bool {
    refused.is_of(Part::Access) || refused.is_of(Part::Caller)
}

/// Returns whether only the number of edits prevented the change of a message.
fn is_edited(refused: &Refused) -> bool {
    refused.item(Part::Message).is_some_and(|item| !item.contains_key("deleted_at"))
}

/// Returns whether a user reacts to a message with `emoji`.
fn reacts(message: &Item, emoji: &Emoji, user: &UserId) -> bool {
    let users = message.get("reactions").and_then(|value| value.as_m().ok()?.get(emoji.as_str())?.as_ss().ok());
    users.is_some_and(|users| users.iter().any(|one| one == user.as_str()))
}

/// Returns whether a message has not expired. TTL deletes late ("Using time to live (TTL) in DynamoDB").
fn is_live(item: &Item, now: Timestamp) -> bool {
    number(item, "expires_at").is_none_or(|secs| secs > now.as_secs())
}

impl DynamoMessages {
    /// Adds or removes a user's reaction.
    fn reaction(
        &self,
        channel: &ChannelKey,
        revision: &MessageRef,
        emoji: &Emoji,
        toggle: Toggle,
        now: Timestamp,
    ) -> Write {
        // A reaction that is as requested is not written, because a write without a change would cause an event.
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
        let update = match trace {
            Some(TraceContext { tracestate: Some(_), .. }) => {
                format!("SET traceparent = :traceparent, tracestate = :tracestate {update}")
            }
            Some(_) => format!("SET traceparent = :traceparent REMOVE tracestate {update}"),
            None => update.to_owned(),
        };
        let mut write = Write::update(&self.events, self.keys.message(channel, revision.seq), update)
            .when(THERE)
            .when(condition)
            .name("emoji", emoji.as_str())
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

    /// Returns the channel head in the `meta` item of a channel.
    fn head_of(&self, operation: &'static str, meta: Option<Item>) -> Result<Option<ChannelHead>, StoreError> {
        let Some(meta) = meta else { return Ok(None) };
        Ok(Some(ChannelHead::from(&read::<Channel>(operation, self.keys.plain(meta))?)))
    }

    /// Returns the result of a refused append. A used key and a stored message are results, and are checked first.
    fn refused(&self, append: &Append<'_>, refused: &Refused) -> Result<AppendResult, StoreError> {
        if let (Some(record), Some(item)) = (append.record, refused.item(Part::Record)) {
            return Ok(AppendResult::KeyTaken(read::<RecordItem>(OPERATION, item.clone())?.record(&record.key)));
        }
        let there = refused.item(Part::Message).and_then(|item| text(item, "message_id"));
        if there.is_some_and(|id| id == append.message.message.message_id.to_string()) {
            return Ok(AppendResult::Stored);
        }
        // A bucket without an item has expired, and so it is full.
        let bucket =
            refused.is_of(Part::Token).then(|| refused.item(Part::Token).and_then(full_at).unwrap_or(append.now));
        if refused.is_of(Part::Channel) {
            // A channel without an item does not exist.
            let current = self.head_of(OPERATION, refused.item(Part::Channel).cloned())?;
            return Ok(match current {
                Some(head) => AppendResult::Stale { head: Some(head), bucket_full_at: bucket },
                None => AppendResult::ChannelNotFound,
            });
        }
        if refused.is_of(Part::Member) {
            return Ok(AppendResult::NotAMember);
        }
        if refused.is_of(Part::Question) {
            return Ok(AppendResult::QuestionNotFound);
        }
        if bucket.is_some() {
            return Ok(AppendResult::Stale { head: None, bucket_full_at: bucket });
        }
        // Another transaction changed an item, the table was too busy, or the `seq` is taken.
        Ok(AppendResult::Conflict)
    }
}
