//! Reply leases, and the tokens used by the agent, in `chat_channels`: see [`crate::dynamodb::keys`]. `drafts.rs` has the
//! pieces of the drafts.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chat::{
    model::{
        access::Authority,
        draft::DraftStatus,
        error::StoreError,
        id::{MessageId, UserId},
        incarnation::ChannelKey,
        limits::LEASE_DURATION,
        seq::Seq,
        time::Timestamp,
    },
    ports::reply_leases::{
        Acquire, CancelResult, DraftPiece, LeaseOwner, LeaseRenewal, MessageKey, PieceStored, ReplyLease, ReplyLeases,
        StoredDraft,
    },
};

use crate::{
    dynamodb::{
        authority::Access,
        channels::DynamoChannels,
        item::{Item, attribute, flag, n, number, s, text},
        keys,
        transaction::{Part, Ran, Transaction, Write},
    },
    sdk::sdk_error,
};

/// Time for which a reply lease and a day's token count are stored: longer than the stream delivers a record.
const KEPT: Duration = Duration::from_hours(48);

/// Reads a lease. `renewed_at` is the last renewal by the holder before.
fn lease(item: &Item, renewed_at: Option<Timestamp>) -> ReplyLease {
    ReplyLease {
        calls: number(item, "calls").and_then(|calls| u32::try_from(calls).ok()).unwrap_or_default(),
        cancelled: flag(item, "cancelled"),
        draft_id: draft_id(item),
        renewed_at,
    }
}

/// Reads the id of the draft on a lease.
pub(super) fn draft_id(lease: &Item) -> Option<MessageId> {
    MessageId::try_from(text(lease, "draft_id")?.to_owned()).ok()
}

/// Returns the time at which a lease was last renewed: each renewal ends [`LEASE_DURATION`] later. A release leaves no
/// time.
fn renewed_at(lease: &Item) -> Option<Timestamp> {
    let until = number(lease, "lease_until").filter(|until| *until > 0)?;
    let duration = i64::try_from(LEASE_DURATION.as_millis()).unwrap_or(i64::MAX);
    Some(Timestamp::from_millis(until.saturating_sub(duration)))
}

impl DynamoChannels {
    /// Changes a lease that `owner` holds. Returns the lease after the change, or `None` if another worker holds it.
    async fn change_lease(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        update: &str,
        mut values: Item,
    ) -> Result<Option<Item>, StoreError> {
        values.insert(":owner".to_owned(), s(owner.to_string()));
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.reply_lease(question)))
            .update_expression(update)
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(Some(updated.attributes.unwrap_or_default())),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(sdk_error("UpdateItem", error)),
        }
    }
}

impl ReplyLeases for DynamoChannels {
    async fn acquire(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Acquire, StoreError> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.reply_lease(question)))
            .update_expression("SET #owner = :owner, lease_until = :until, expires_at = :expires_at")
            .condition_expression("attribute_not_exists(lease_until) OR lease_until <= :now")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", s(owner.to_string()))
            .expression_attribute_values(":until", n(until.as_millis()))
            .expression_attribute_values(":now", n(now.as_millis()))
            .expression_attribute_values(":expires_at", n(now.plus(KEPT).as_secs()))
            // The holder before left its renewal and its draft, and this update changes neither count nor cancellation.
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match updated {
            Ok(updated) => {
                let before = updated.attributes.unwrap_or_default();
                Ok(Acquire::Acquired(lease(&before, renewed_at(&before))))
            }
            Err(SdkError::ServiceError(context)) => match context.err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => {
                    let until = refused.item().and_then(|item| number(item, "lease_until")).unwrap_or_default();
                    Ok(Acquire::Held { until: Timestamp::from_millis(until) })
                }
                _ => Err(sdk_error("UpdateItem", SdkError::ServiceError(context))),
            },
            Err(error) => Err(sdk_error("UpdateItem", error)),
        }
    }

    async fn renew(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        renewal: LeaseRenewal,
    ) -> Result<Option<ReplyLease>, StoreError> {
        let mut values = Item::from([(":until".to_owned(), n(until.as_millis()))]);
        let update = match renewal {
            LeaseRenewal::Keep => "SET lease_until = :until",
            LeaseRenewal::CallModel { draft_id } => {
                values.insert(":draft_id".to_owned(), s(draft_id.to_string()));
                values.insert(":one".to_owned(), n(1));
                "SET lease_until = :until, draft_id = :draft_id REMOVE draft_status ADD calls :one"
            }
        };
        let renewed = self.change_lease(question, owner, update, values).await?;
        Ok(renewed.map(|item| lease(&item, None)))
    }

    async fn release(&self, question: &MessageKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.renew(question, owner, Timestamp::from_millis(0), LeaseRenewal::Keep).await?;
        Ok(())
    }

    async fn store_piece(
        &self,
        question: &MessageKey,
        owner: LeaseOwner,
        until: Timestamp,
        piece: &DraftPiece,
        now: Timestamp,
    ) -> Result<PieceStored, StoreError> {
        self.put_piece(question, owner, until, piece, now).await
    }

    async fn end_draft(&self, question: &MessageKey, owner: LeaseOwner, status: DraftStatus) -> Result<(), StoreError> {
        let values =
            Item::from([(":until".to_owned(), n(0)), (":status".to_owned(), attribute("UpdateItem", status)?)]);
        let update = "SET lease_until = :until, draft_status = :status";
        self.change_lease(question, owner, update, values).await?;
        Ok(())
    }

    async fn draft(&self, question: &MessageKey, now: Timestamp) -> Result<Option<StoredDraft>, StoreError> {
        self.read_draft(question, now).await
    }

    async fn held(&self, channel: &ChannelKey, questions: &[Seq], now: Timestamp) -> Result<Vec<Seq>, StoreError> {
        let key = |seq: &Seq| self.keys.reply_lease(&MessageKey { channel: channel.clone(), seq: *seq });
        let items = self.batch_get(questions.iter().map(key).collect()).await?;
        let held = items.iter().filter(|item| number(item, "lease_until").is_some_and(|until| until > now.as_millis()));
        let mut held: Vec<Seq> = held.filter_map(|item| keys::seq_of(text(item, "sk")?)).collect();
        held.sort_unstable();
        Ok(held)
    }

    async fn cancel(
        &self,
        by: &Authority<'_>,
        question: &MessageKey,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError> {
        let key = self.keys.reply_lease(question);
        let update = Write::update(&self.table, key, "SET cancelled = :yes, expires_at = :expires_at")
            .when("lease_until > :now OR (attribute_exists(draft_id) AND attribute_not_exists(draft_status))")
            .value("yes", AttributeValue::Bool(true))
            .value("now", n(now.as_millis()))
            .value("expires_at", n(now.plus(KEPT).as_secs()));
        let mut transaction = Transaction::default();
        transaction.add(Part::Lease, update)?;
        self.place().require(&mut transaction, by, Access::Kept, None)?;
        Ok(match transaction.run(&self.client).await? {
            Ran::Done => CancelResult::Done,
            Ran::Refused(refused) if refused.is_of(Part::Access) || refused.is_of(Part::Caller) => CancelResult::Stale,
            Ran::Refused(_) => CancelResult::NoReply,
        })
    }

    async fn tokens_used(&self, user: &UserId, now: Timestamp) -> Result<u64, StoreError> {
        let found = self.get(self.keys.tokens(user, now)).await?;
        let spent = found.and_then(|item| number(&item, "spent"));
        Ok(spent.and_then(|spent| u64::try_from(spent).ok()).unwrap_or_default())
    }

    async fn record_tokens(&self, user: &UserId, tokens: u64, now: Timestamp) -> Result<(), StoreError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.tokens(user, now)))
            .update_expression("SET expires_at = :expires_at ADD spent :tokens")
            .expression_attribute_values(":tokens", n(tokens))
            .expression_attribute_values(":expires_at", n(now.plus(KEPT).as_secs()))
            .send()
            .await
            .map_err(|error| sdk_error("UpdateItem", error))?;
        Ok(())
    }
}
