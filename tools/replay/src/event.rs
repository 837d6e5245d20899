//! Conversion of a record of the Streams API to the form in which a function receives it.

use aws_sdk_dynamodbstreams::types::{AttributeValue, Record, StreamRecord};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

/// Returns the record as one of an event's `Records` ("Using AWS Lambda with Amazon DynamoDB" in the Lambda developer
/// guide).
pub(crate) fn event(record: Record, stream_arn: &str) -> Value {
    let mut event = json!({
        "eventID": record.event_id,
        "eventName": record.event_name.map(|name| name.as_str().to_owned()),
        "eventVersion": record.event_version,
        "eventSource": record.event_source,
        "awsRegion": record.aws_region,
        "dynamodb": record.dynamodb.map(change),
        "eventSourceARN": stream_arn,
    });
    if let Some(identity) = record.user_identity {
        event["userIdentity"] = json!({ "type": identity.r#type, "principalId": identity.principal_id });
    }
    event
}

fn change(change: StreamRecord) -> Value {
    let mut fields = Map::new();
    if let Some(at) = change.approximate_creation_date_time {
        fields.insert("ApproximateCreationDateTime".to_owned(), json!(at.secs()));
    }
    for (name, item) in [("Keys", change.keys), ("NewImage", change.new_image), ("OldImage", change.old_image)] {
        if let Some(item) = item {
            fields.insert(name.to_owned(), map(item));
        }
    }
    fields.insert("SequenceNumber".to_owned(), json!(change.sequence_number));
    fields.insert("SizeBytes".to_owned(), json!(change.size_bytes));
    if let Some(kind) = change.stream_view_type {
        fields.insert("StreamViewType".to_owned(), json!(kind.as_str()));
    }
    Value::Object(fields)
}

fn map(item: impl IntoIterator<Item = (String, AttributeValue)>) -> Value {
    Value::Object(item.into_iter().map(|(name, value)| (name, attribute(value))).collect())
}

/// Returns `DynamoDB`'s JSON of a value.
fn attribute(value: AttributeValue) -> Value {
    let binary = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::Null(is_null) => json!({ "NULL": is_null }),
        AttributeValue::B(bytes) => json!({ "B": binary(bytes.as_ref()) }),
        AttributeValue::Ss(texts) => json!({ "SS": texts }),
        AttributeValue::Ns(numbers) => json!({ "NS": numbers }),
        AttributeValue::Bs(all) => json!({ "BS": all.iter().map(|bytes| binary(bytes.as_ref())).collect::<Vec<_>>() }),
        AttributeValue::L(list) => json!({ "L": list.into_iter().map(attribute).collect::<Vec<_>>() }),
        AttributeValue::M(fields) => json!({ "M": map(fields) }),
        // A type of a later version of the API.
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
    use aws_sdk_dynamodbstreams::types::{Identity, OperationType, StreamViewType};

    use super::*;

    #[test]
    fn every_type_of_value_is_written() {
        let values = AttributeValue::L(vec![
            AttributeValue::S("a".into()),
            AttributeValue::N("1.50".into()),
            AttributeValue::Bool(true),
            AttributeValue::Null(true),
            AttributeValue::B(Blob::new([0, 255])),
            AttributeValue::Ss(vec!["a".into()]),
            AttributeValue::Ns(vec!["1".into()]),
            AttributeValue::Bs(vec![Blob::new([1])]),
            AttributeValue::M([("n".to_owned(), AttributeValue::N("2".into()))].into()),
        ]);
        let expected = json!({ "L": [
            { "S": "a" }, { "N": "1.50" }, { "BOOL": true }, { "NULL": true }, { "B": "AP8=" }, { "SS": ["a"] },
            { "NS": ["1"] }, { "BS": ["AQ=="] }, { "M": { "n": { "N": "2" } } },
        ] });
        assert_eq!(attribute(values), expected);
    }

    #[test]
    fn a_record_is_what_lambda_would_send() {
        let change = StreamRecord::builder()
            .approximate_creation_date_time(DateTime::from_millis(1_700_000_000_400))
            .keys("pk", AttributeValue::S("a".into()))
            .new_image("pk", AttributeValue::S("a".into()))
            .sequence_number("100000000000000000001")
            .size_bytes(7)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build();
        let record = Record::builder()
            .event_id("e")
            .event_name(OperationType::Insert)
            .event_version("1.1")
            .event_source("aws:dynamodb")
            .aws_region("eu-west-1")
            .dynamodb(change)
            .user_identity(Identity::builder().r#type("Service").principal_id("dynamodb.amazonaws.com").build())
            .build();
        let expected = json!({
            "eventID": "e",
            "eventName": "INSERT",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000,
                "Keys": { "pk": { "S": "a" } },
                "NewImage": { "pk": { "S": "a" } },
                "SequenceNumber": "100000000000000000001",
                "SizeBytes": 7,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "eventSourceARN": "arn",
            "userIdentity": { "type": "Service", "principalId": "dynamodb.amazonaws.com" },
        });
        assert_eq!(event(record, "arn"), expected);
    }
}
