//! Recorder of the requests of a test, and of their costs.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        http::HttpRequest,
        interceptors::{
            AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
            BeforeTransmitInterceptorContextRef,
        },
    },
    error::BoxError,
    operation::{
        batch_get_item::{BatchGetItemInput, BatchGetItemOutput},
        batch_write_item::BatchWriteItemInput,
        delete_item::DeleteItemInput,
        get_item::{GetItemInput, GetItemOutput},
        put_item::PutItemInput,
        query::{QueryInput, QueryOutput},
        transact_write_items::TransactWriteItemsInput,
        update_item::UpdateItemInput,
    },
    types::ReturnConsumedCapacity,
};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde_json::Value;

use super::*;

/// The recorder of costs: the operation of each attempt, the number of items of a transaction, whether it has a token,
/// and DynamoDB's units.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Cost>>);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) calls: Vec<String>,
    read_units: f64,
    pub(super) write_units: f64,
    /// Length of the longest chain of requests, each of which began after the end of the one before.
    pub(super) round_trips: u32,
    /// Length of the longest chain of requests that have ended.
    ended: u32,
}

/// Length of the longest chain that ends with a request.
#[derive(Debug)]
struct Chain(u32);

impl Storable for Chain {
    type Storer = StoreReplace<Self>;
}

impl Calls {
    /// Returns the operations since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        self.cost().calls
    }

    /// Returns all costs since the last call.
    pub(super) fn cost(&self) -> Cost {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Cost {
    /// Returns the counts by operation, as they are recorded. Their order is not recorded, because some are concurrent.
    pub(super) fn json(&self) -> Value {
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &self.calls {
            *calls.entry(call).or_default() += 1;
        }
        json!({ "calls": calls, "read_units": self.read_units, "write_units": self.write_units })
    }

    /// Returns the counts with the number of round trips.
    pub(super) fn json_with_round_trips(&self) -> Value {
        let mut json = self.json();
        json["round_trips"] = self.round_trips.into();
        json
    }
}

/// Requests the consumed units in a response.
macro_rules! ask_for_units {
    ($context:expr, $($input:ty),*) => {
        $(if let Some(input) = $context.input_mut().downcast_mut::<$input>() {
            input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
        })*
    };
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        ask_for_units!(
            context,
            GetItemInput,
            QueryInput,
            BatchGetItemInput,
            PutItemInput,
            UpdateItemInput,
            DeleteItemInput,
            BatchWriteItemInput,
            TransactWriteItemsInput
        );
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body: Value = serde_json::from_slice(context.request().body().bytes().unwrap()).unwrap();
        let items = body["TransactItems"].as_array().map(|items| format!(" of {}", items.len()));
        let token = if body["ClientRequestToken"].is_string() { " with a token" } else { "" };
        let call = format!("{}{}{token}", operation(context.request()), items.unwrap_or_default());
        let mut cost = self.0.lock().unwrap();
        let chain = cost.ended + 1;
        cost.round_trips = cost.round_trips.max(chain);
        bag.interceptor_state().store_put(Chain(chain));
        cost.calls.push(call);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body: Value = serde_json::from_slice(context.response().body().bytes().unwrap()).unwrap();
        // One object, or one for each table.
        let consumed = &body["ConsumedCapacity"];
        let of_tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units: f64 = of_tables.iter().filter_map(|one| one["CapacityUnits"].as_f64()).sum();
        let mut cost = self.0.lock().unwrap();
        cost.ended = cost.ended.max(bag.load::<Chain>().map_or(0, |chain| chain.0));
        let is_read = context.output_or_error().is_ok_and(|output| {
            output.downcast_ref::<GetItemOutput>().is_some()
                || output.downcast_ref::<QueryOutput>().is_some()
                || output.downcast_ref::<BatchGetItemOutput>().is_some()
        });
        if is_read {
            cost.read_units += units;
        } else {
            cost.write_units += units;
        }
        Ok(())
    }
}

fn operation(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").and_then(|target| Some(target.rsplit_once('.')?.1)).unwrap_or_default()
}

impl Tables {
    /// Returns the same tables with every request recorded.
    pub(super) fn counted(mut self) -> (Self, Calls) {
        let calls = Calls::default();
        let config = self.client.config().to_builder().interceptor(calls.clone()).build();
        self.client = Client::from_conf(config);
        (self, calls)
    }
}
