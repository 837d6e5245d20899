//! The transaction of an append: the channel head, the message, and the items that come with it.

use chat::{
    model::{error::StoreError, id::UserId, seq::Seq},
    ports::{
        message_store::{Append, AppendResult, IdempotencyRecord, Token},
        rate_limiter::LimitedAction,
    },
};
use telemetry::metrics;

use super::{DynamoMessages, THERE, reads::is_live};
use crate::dynamodb::{
    item::{ABSENT_OR_EXPIRED, attribute, n, read, s, text, write},
    rate_limits::{full_at, kept_until},
    record_item::RecordItem,
    transaction::{OPERATION, Part, Ran, Refused, Transaction, Write},
};

impl DynamoMessages {
    /// Runs the transaction of an append.
    pub(super) async fn run_append(&self, append: Append<'_>) -> Result<AppendResult, StoreError> {
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
        if let Some(root) = append.message.message.thread_seq {
            self.add_to_thread(&mut transaction, &append, root)?;
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
        let mut item = self.message_item(&append.head.key(), append.message)?;
        // The filter of the agent's event source mapping excludes these messages.
        if !append.for_agent {
            item.insert("no_agent".to_owned(), s("1"));
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

    /// Requires the question of a reply.
    fn check_question(&self, append: &Append<'_>, seq: Seq) -> Write {
        Write::check(&self.events, self.keys.message(&append.head.key(), seq))
            .when(THERE)
            .value("now", n(append.now.as_secs()))
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
        if refused.is_of(Part::Root) {
            let root = refused.item(Part::Root).filter(|item| is_live(item, append.now));
            return Ok(if root.is_some() { AppendResult::NotARoot } else { AppendResult::RootNotFound });
        }
        if bucket.is_some() {
            return Ok(AppendResult::Stale { head: None, bucket_full_at: bucket });
        }
        // Another transaction changed an item, the table was too busy, or the `seq` is taken.
        Ok(AppendResult::Conflict)
    }
}
