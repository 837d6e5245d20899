//! Reply leases, and the tokens used by the agent, in `chat_channels`: see [`crate::dynamodb::keys`].

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use chat::{
    model::{access::Authority, error::StoreError, id::UserId, incarnation::ChannelKey, seq::Seq, time::Timestamp},
    ports::reply_leases::{Acquire, CancelResult, LeaseOwner, LeaseRenewal, MessageKey, ReplyLease, ReplyLeases},
};

use crate::{
    dynamodb::{
        authority::Access,
        channels::DynamoChannels,
        item::{Item, flag, n, number, s, text},
        keys,
        transaction::{Part, Ran, Transaction, Write},
    },
    sdk::sdk_error,
};

/// Time for which a reply lease and a day's token count are stored: longer than the stream delivers a record.
const KEPT: Duration = Duration::from_hours(48);

fn claim(item: &Item) -> ReplyLease {
    ReplyLease {
        calls: number(item, "calls").and_then(|calls| u32::try_from(calls).ok()).unwrap_or_default(),
        cancelled: flag(item, "cancelled"),
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
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(Acquire::Acquired(claim(&updated.attributes.unwrap_or_default()))),
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
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(self.keys.reply_lease(question)))
            .update_expression("SET lease_until = :until ADD calls :calls")
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", s(owner.to_string()))
            .expression_attribute_values(":until", n(until.as_millis()))
            .expression_attribute_values(":calls", n(renewal.calls()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => Ok(Some(claim(&updated.attributes.unwrap_or_default()))),
            Err(SdkError::ServiceError(context))
                if matches!(context.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(sdk_error("UpdateItem", error)),
        }
    }

    async fn release(&self, question: &MessageKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.renew(question, owner, Timestamp::from_millis(0), LeaseRenewal::Keep).await?;
        Ok(())
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
            .when("lease_until > :now")
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
