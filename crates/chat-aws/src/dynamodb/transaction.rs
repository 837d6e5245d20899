//! Transactions: their items, and the reason of a refusal for each item.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeSerializationInterceptorContextMut},
    error::{BoxError, SdkError},
    operation::transact_write_items::{
        TransactWriteItemsError, TransactWriteItemsInput, builders::TransactWriteItemsFluentBuilder,
    },
    types::{
        AttributeValue, CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use chat::{
    model::error::StoreError,
    ports::clock::{Backoff, Clock, SystemClock},
};

use crate::{
    dynamodb::item::Item,
    sdk::{decode_error, sdk_error},
};

pub(crate) const OPERATION: &str = "TransactWriteItems";

/// Maximum attempts at a transaction that conflicts with others on the same items.
const ATTEMPTS: u32 = 10;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(320) };

/// Cancellation reasons that permit a retry ("`CancellationReason`" in the DynamoDB API reference).
const TRANSIENT: [&str; 3] = ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"];

/// The purpose of an item in a transaction. It identifies the condition that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The item that a channel's id leads to.
    Channel,
    /// The channel's part of an authority.
    Access,
    /// The caller's membership.
    Caller,
    /// The membership that is changed.
    Member,
    /// A message.
    Message,
    /// The question of a reply.
    Question,
    /// The root of a thread.
    Root,
    /// The record of a request, a reply or a change.
    Record,
    /// The number of a channel's last change.
    Changes,
    /// A token bucket.
    Token,
    /// The number of existing channels that a user created.
    Created,
    /// A reply lease.
    Lease,
    /// A connection.
    Connection,
    /// A subscription.
    Subscription,
    /// An item whose condition affects no decision.
    Other,
}

#[derive(Debug)]
enum Kind {
    Put(Item),
    Update { key: Item, expression: String },
    Delete { key: Item },
    Check { key: Item },
}

/// One item of a transaction.
#[derive(Debug)]
pub(crate) struct Write {
    table: String,
    kind: Kind,
    condition: Option<String>,
    names: HashMap<String, String>,
    values: Item,
    shows_old: bool,
}

impl Write {
    fn new(table: &str, kind: Kind) -> Self {
        let (names, values) = (HashMap::new(), Item::new());
        Self { table: table.to_owned(), kind, condition: None, names, values, shows_old: false }
    }

    pub(crate) fn put(table: &str, item: Item) -> Self {
        Self::new(table, Kind::Put(item))
    }

    pub(crate) fn update(table: &str, key: Item, expression: impl Into<String>) -> Self {
        Self::new(table, Kind::Update { key, expression: expression.into() })
    }

    pub(crate) fn delete(table: &str, key: Item) -> Self {
        Self::new(table, Kind::Delete { key })
    }

    /// Checks a condition without a change.
    pub(crate) fn check(table: &str, key: Item) -> Self {
        Self::new(table, Kind::Check { key })
    }

    /// Adds a condition to the existing ones.
    pub(crate) fn when(mut self, condition: &str) -> Self {
        self.condition = Some(match self.condition {
            Some(before) => format!("({before}) AND ({condition})"),
            None => condition.to_owned(),
        });
        self
    }

    /// Defines the attribute name `#placeholder` of the expressions.
    pub(crate) fn name(mut self, placeholder: &str, attribute: &str) -> Self {
        self.names.insert(format!("#{placeholder}"), attribute.to_owned());
        self
    }

    /// Defines the value `:placeholder` of the expressions.
    pub(crate) fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":{placeholder}"), value);
        self
    }

    /// Returns the current item if the condition does not hold: see [`Refused::item`].
    pub(crate) fn showing_old(mut self) -> Self {
        self.shows_old = true;
        self
    }

    fn build(self) -> Result<TransactWriteItem, StoreError> {
        let Self { table, kind, condition, names, values, shows_old } = self;
        let names = Some(names).filter(|names| !names.is_empty());
        let values = Some(values).filter(|values| !values.is_empty());
        let shows = shows_old.then_some(ReturnValuesOnConditionCheckFailure::AllOld);
        let item = TransactWriteItem::builder();
        macro_rules! finish {
            ($builder:expr) => {
                $builder
                    .table_name(table)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .set_return_values_on_condition_check_failure(shows)
                    .build()
                    .map_err(|error| decode_error(OPERATION, error))?
            };
        }
        Ok(match kind {
            Kind::Put(put) => item.put(finish!(Put::builder().set_item(Some(put)))),
            Kind::Update { key, expression } => {
                item.update(finish!(Update::builder().set_key(Some(key)).update_expression(expression)))
            }
            Kind::Delete { key } => item.delete(finish!(Delete::builder().set_key(Some(key)))),
            Kind::Check { key } => item.condition_check(finish!(ConditionCheck::builder().set_key(Some(key)))),
        }
        .build())
    }
}

/// Items that are written all or none.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    parts: Vec<Part>,
    items: Vec<TransactWriteItem>,
}

/// The outcome of a transaction.
#[derive(Debug)]
pub(crate) enum Ran {
    Done,
    Refused(Refused),
}

/// The reasons of a cancelled transaction, one for each item, in their order ("`CancellationReason`" in the DynamoDB
/// API reference).
#[derive(Debug)]
pub(crate) struct Refused {
    parts: Vec<Part>,
    reasons: Vec<CancellationReason>,
}

impl Refused {
    /// Returns whether the condition of a part did not hold.
    pub(crate) fn is_of(&self, part: Part) -> bool {
        self.reason(part).is_some()
    }

    /// Returns the current item of a part whose condition did not hold. Returns `None` if the condition held, if there
    /// is no item, or without [`Write::showing_old`].
    pub(crate) fn item(&self, part: Part) -> Option<&Item> {
        self.reason(part)?.item.as_ref().filter(|item| !item.is_empty())
    }

    fn reason(&self, part: Part) -> Option<&CancellationReason> {
        let mut of_part = self.parts.iter().zip(&self.reasons).filter(|(one, _)| **one == part);
        of_part.find_map(|(_, reason)| (reason.code() == Some("ConditionalCheckFailed")).then_some(reason))
    }

    fn codes(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().filter_map(CancellationReason::code)
    }

    /// Returns whether a retry may succeed: another transaction changed an item at the same time, or the table was too
    /// busy.
    pub(crate) fn is_transient(&self) -> bool {
        self.codes().any(|code| TRANSIENT.contains(&code))
    }

    /// # Errors
    /// Fails if an item was refused for a reason that is neither a condition nor transient.
    fn require_valid(&self) -> Result<(), StoreError> {
        let is_known = |code| matches!(code, "None" | "ConditionalCheckFailed") || TRANSIENT.contains(&code);
        if self.codes().all(is_known) {
            return Ok(());
        }
        let messages: Vec<_> = self.reasons.iter().filter_map(CancellationReason::message).collect();
        Err(decode_error(OPERATION, messages.join("; ")))
    }
}

impl Transaction {
    pub(crate) fn add(&mut self, part: Part, write: Write) -> Result<(), StoreError> {
        self.items.push(write.build()?);
        self.parts.push(part);
        Ok(())
    }

    /// Runs the transaction. If it conflicts with others on the same items, it is retried after a random wait.
    ///
    /// # Errors
    /// Fails if DynamoDB fails. After [`ATTEMPTS`] conflicts the error is retryable.
    pub(crate) async fn run(self, client: &Client) -> Result<Ran, StoreError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                SystemClock.sleep(BACKOFF.delay(&SystemClock, attempt - 1)).await;
            }
            match self.attempt(client.transact_write_items()).await? {
                Ran::Refused(refused) if refused.is_transient() => {}
                ran => return Ok(ran),
            }
        }
        let source = "other changes of the same items were under way".into();
        Err(StoreError { operation: OPERATION, retryable: true, source })
    }

    /// Runs the transaction once, with the SDK's `ClientRequestToken`. The caller decides about a retry, as a conflict may
    /// mean that a value of the transaction has moved: see [`Refused::is_transient`].
    pub(crate) async fn run_once(self, client: &Client) -> Result<Ran, StoreError> {
        let sent = client.transact_write_items().set_transact_items(Some(self.items)).send().await;
        outcome(self.parts, sent.map(|_| ()))
    }

    /// Runs the transaction once, without the SDK's `ClientRequestToken`. The caller recognizes an attempt whose
    /// response was lost by the items that it stored. That works for longer than the token's ten minutes, and DynamoDB
    /// stores no token.
    pub(crate) async fn run_without_token(self, client: &Client) -> Result<Ran, StoreError> {
        let call = client.transact_write_items().set_transact_items(Some(self.items));
        let sent = call.customize().interceptor(NoClientRequestToken).send().await;
        outcome(self.parts, sent.map(|_| ()))
    }

    async fn attempt(&self, call: TransactWriteItemsFluentBuilder) -> Result<Ran, StoreError> {
        let sent = call.set_transact_items(Some(self.items.clone())).send().await;
        outcome(self.parts.clone(), sent.map(|_| ()))
    }
}

#[derive(Debug)]
struct NoClientRequestToken;

impl Intercept for NoClientRequestToken {
    fn name(&self) -> &'static str {
        "NoClientRequestToken"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(input) = context.input_mut().downcast_mut::<TransactWriteItemsInput>() {
            input.client_request_token = None;
        }
        Ok(())
    }
}

/// Returns whether an item would exceed 400 KB ("Constraints in Amazon DynamoDB"). A message does with all reactions
/// that it may have, if the ids of their users are the longest. The cancellation's reason is `ValidationError`, "Item
/// size to update has exceeded the maximum allowed size".
pub(crate) fn is_too_large(error: &StoreError) -> bool {
    error.source.to_string().contains("Item size")
}

fn outcome(parts: Vec<Part>, sent: Result<(), SdkError<TransactWriteItemsError>>) -> Result<Ran, StoreError> {
    let Err(error) = sent else { return Ok(Ran::Done) };
    if let SdkError::ServiceError(context) = &error
        && let TransactWriteItemsError::TransactionCanceledException(cancelled) = context.err()
    {
        let refused = Refused { parts, reasons: cancelled.cancellation_reasons().to_vec() };
        refused.require_valid()?;
        return Ok(Ran::Refused(refused));
    }
    Err(sdk_error(OPERATION, error))
}
