//! Reads tables and queues.

use serde_json::json;

use super::Result;
use crate::{
    stack::{Queue, Table},
    template::{evaluate::Evaluator, properties::Properties},
};

pub(super) fn table(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Table> {
    let name = evaluator.name(id, "TableName")?;
    p.ignore(&[
        "TableName",
        "DeletionProtectionEnabled",
        "SSESpecification",
        "PointInTimeRecoverySpecification",
        "Tags",
    ]);
    p.exactly("BillingMode", "PAY_PER_REQUEST")?;
    let mut request = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": p.required("AttributeDefinitions")?,
        "KeySchema": p.required("KeySchema")?,
    });
    if let Some(indexes) = p.take("GlobalSecondaryIndexes") {
        request["GlobalSecondaryIndexes"] = indexes;
    }
    if let Some(mut stream) = p.nested("StreamSpecification")? {
        // CloudFormation has no StreamEnabled: a view type enables the stream.
        request["StreamSpecification"] =
            json!({"StreamEnabled": true, "StreamViewType": stream.required_text("StreamViewType")?});
        stream.finish()?;
    }
    let mut ttl_attribute = None;
    if let Some(mut ttl) = p.nested("TimeToLiveSpecification")? {
        let attribute = ttl.text("AttributeName")?;
        ttl_attribute = if ttl.flag("Enabled")? == Some(true) { attribute } else { None };
        ttl.finish()?;
    }
    Ok(Table { logical_id: id.into(), name, create_request: request, ttl_attribute })
}

pub(super) fn queue(evaluator: &Evaluator<'_>, id: &str, p: &mut Properties) -> Result<Queue> {
    let name = evaluator.name(id, "QueueName")?;
    p.ignore(&["QueueName", "SqsManagedSseEnabled", "KmsMasterKeyId", "MessageRetentionPeriod", "VisibilityTimeout"]);
    Ok(Queue { logical_id: id.into(), arn: evaluator.arn("sqs", &name), name })
}
