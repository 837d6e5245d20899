//! Attributes for the spans of SDK calls. The SDK creates a span for each call (`DynamoDB.Query`). This module adds the
//! attributes that the conventions require beyond that ("Semantic conventions for AWS SDK client spans", "Semantic
//! conventions for AWS DynamoDB client operations").
//!
//! Spans contain names of tables and functions only, because keys and values are user data.

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef},
    },
    error::BoxError,
    operation::{
        batch_get_item::BatchGetItemInput, batch_write_item::BatchWriteItemInput, delete_item::DeleteItemInput,
        describe_table::DescribeTableInput, get_item::GetItemInput, put_item::PutItemInput, query::QueryInput,
        transact_get_items::TransactGetItemsInput, transact_write_items::TransactWriteItemsInput,
        update_item::UpdateItemInput,
    },
    types::{ConditionCheck, Delete, Put, TransactWriteItem, Update},
};
use aws_sdk_lambda::operation::invoke::InvokeInput;
use aws_smithy_runtime_api::client::interceptors::context::Input;
use telemetry::{OpenTelemetrySpanExt, Status, StringArray};
use tracing::Span;

/// Adds the target and the outcome of a call to its span.
#[derive(Debug)]
pub(crate) struct SpanAttributes;

impl Intercept for SpanAttributes {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_execution(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !telemetry::is_traced() {
            return Ok(());
        }
        let span = Span::current();
        if let Some(invoke) = context.input().downcast_ref::<InvokeInput>() {
            // The function is a name or an ARN. The conventions require the name.
            let name = invoke.function_name().unwrap_or_default().rsplit(':').next().unwrap_or_default();
            span.set_attribute("faas.invoked_name", name.to_owned());
            span.set_attribute("faas.invoked_provider", "aws");
        } else if let Some((operation, mut tables)) = tables(context.input()) {
            tables.sort_unstable();
            tables.dedup();
            span.set_attribute("db.system.name", "aws.dynamodb");
            span.set_attribute("db.operation.name", operation);
            if let [table] = tables.as_slice() {
                span.set_attribute("db.collection.name", table.clone());
            }
            span.set_attribute("aws.dynamodb.table_names", StringArray(tables));
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !telemetry::is_traced() {
            return Ok(());
        }
        let span = Span::current();
        if let Some(response) = context.response() {
            span.set_attribute("http.response.status_code", i64::from(response.status().as_u16()));
            let request_id =
                ["x-amzn-requestid", "x-amz-request-id"].into_iter().find_map(|name| response.headers().get(name));
            if let Some(request_id) = request_id {
                span.set_attribute("aws.request_id", request_id.to_owned());
            }
        }
        if let Some(Err(error)) = context.output_or_error() {
            let code = error.as_operation_error().and_then(code);
            let kind = code.unwrap_or(if error.is_timeout_error() {
                "timeout"
            } else if error.is_connector_error() {
                "connector"
            } else {
                "_OTHER"
            });
            span.set_attribute("error.type", kind.to_owned());
            // A condition that does not hold is an expected outcome, and the caller handles it.
            if !matches!(kind, "ConditionalCheckFailedException" | "TransactionCanceledException") {
                span.set_status(Status::error(kind.to_owned()));
            }
        }
        Ok(())
    }
}

fn code(error: &aws_smithy_runtime_api::client::interceptors::context::Error) -> Option<&str> {
    use aws_sdk_dynamodb::{error::ProvideErrorMetadata, operation as dynamodb};
    macro_rules! code_of {
        ($($kind:path),* $(,)?) => {
            $(if let Some(error) = error.downcast_ref::<$kind>() { return error.code(); })*
        };
    }
    code_of!(
        dynamodb::transact_write_items::TransactWriteItemsError,
        dynamodb::transact_get_items::TransactGetItemsError,
        dynamodb::query::QueryError,
        dynamodb::get_item::GetItemError,
        dynamodb::put_item::PutItemError,
        dynamodb::update_item::UpdateItemError,
        dynamodb::delete_item::DeleteItemError,
        dynamodb::batch_get_item::BatchGetItemError,
        dynamodb::batch_write_item::BatchWriteItemError,
        dynamodb::describe_table::DescribeTableError,
        aws_sdk_lambda::operation::invoke::InvokeError,
    );
    None
}

/// Returns the operation of a request and the tables in it.
fn tables(input: &Input) -> Option<(&'static str, Vec<String>)> {
    macro_rules! one_table {
        ($($kind:ty: $operation:literal),* $(,)?) => {
            $(if let Some(input) = input.downcast_ref::<$kind>() {
                return Some(($operation, input.table_name().map(str::to_owned).into_iter().collect()));
            })*
        };
    }
    one_table!(
        QueryInput: "Query",
        GetItemInput: "GetItem",
        PutItemInput: "PutItem",
        UpdateItemInput: "UpdateItem",
        DeleteItemInput: "DeleteItem",
        DescribeTableInput: "DescribeTable",
    );
    if let Some(input) = input.downcast_ref::<TransactWriteItemsInput>() {
        let tables = input.transact_items().iter().filter_map(table);
        return Some(("TransactWriteItems", tables.map(str::to_owned).collect()));
    }
    if let Some(input) = input.downcast_ref::<TransactGetItemsInput>() {
        let tables = input.transact_items().iter().filter_map(|item| Some(item.get()?.table_name().to_owned()));
        return Some(("TransactGetItems", tables.collect()));
    }
    if let Some(input) = input.downcast_ref::<BatchGetItemInput>() {
        return Some(("BatchGetItem", input.request_items()?.keys().cloned().collect()));
    }
    let input = input.downcast_ref::<BatchWriteItemInput>()?;
    Some(("BatchWriteItem", input.request_items()?.keys().cloned().collect()))
}

fn table(item: &TransactWriteItem) -> Option<&str> {
    let put = item.put().map(Put::table_name);
    let update = || item.update().map(Update::table_name);
    let check = || item.condition_check().map(ConditionCheck::table_name);
    put.or_else(update).or_else(check).or_else(|| item.delete().map(Delete::table_name))
}
