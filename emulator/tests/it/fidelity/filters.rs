//! Filters of event source mappings, recorded by `test_lambda_integration_dynamodbstreams`, `test_dynamodb_event_filter`.

use event_filter::Filters;
use serde_json::{Value, json};

/// Returns a record with attributes in its new image.
fn record(name: &str, attributes: &Value) -> Value {
    let mut image = json!({ "id": { "S": "id_value" } });
    for (name, value) in attributes.as_object().unwrap() {
        image[name] = value.clone();
    }
    json!({
        "eventName": name, "eventSource": "aws:dynamodb",
        "dynamodb": { "Keys": { "id": { "S": "id_value" } }, "NewImage": image },
    })
}

fn image(rule: &Value) -> Value {
    json!({ "dynamodb": { "NewImage": rule } })
}

#[test]
fn recorded_filters_let_the_recorded_records_through() {
    let present = json!({ "presentKey": { "S": "presentValue" } });
    let number = |number: &str| record("INSERT", &json!({ "numericFilter": { "N": number } }));
    let numeric = image(&json!({ "numericFilter": { "N": [{ "numeric": [">", 100] }, { "anything-but": "101" }] } }));
    let prefix = image(&json!({ "prefix": { "S": [{ "prefix": "us-1" }] } }));
    let prefixed = |text: &str| record("INSERT", &json!({ "prefix": { "S": text } }));
    for (id, pattern, record, passes) in [
        ("insert_same_entry_twice", json!({ "eventName": ["INSERT"] }), record("INSERT", &json!({})), true),
        ("insert_same_entry_twice", json!({ "eventName": ["INSERT"] }), record("MODIFY", &json!({})), false),
        ("content_or_filter", json!({ "eventName": ["INSERT", "MODIFY"] }), record("MODIFY", &json!({})), true),
        ("content_or_filter", json!({ "eventName": ["INSERT", "MODIFY"] }), record("REMOVE", &json!({})), false),
        (
            "content_multiple_filters",
            json!({ "eventName": ["INSERT"], "eventSource": ["aws:dynamodb"] }),
            record("INSERT", &json!({})),
            true,
        ),
        (
            "content_multiple_filters",
            json!({ "eventName": ["INSERT"], "eventSource": ["aws:dynamodb"] }),
            record("MODIFY", &json!({})),
            false,
        ),
        (
            "content_filter_type",
            image(&json!({ "presentKey": { "S": ["presentValue"] } })),
            record("INSERT", &present),
            true,
        ),
        (
            "exists_filter_type",
            image(&json!({ "presentKey": { "S": [{ "exists": true }] } })),
            record("INSERT", &present),
            true,
        ),
        (
            "exists_filter_type",
            image(&json!({ "presentKey": { "S": [{ "exists": true }] } })),
            record("INSERT", &json!({})),
            false,
        ),
        // `exists` sees leaves only, so that it is false for an attribute as a whole, whether it is there or not.
        (
            "exists_false_filter",
            image(&json!({ "presentKey": [{ "exists": false }] })),
            record("INSERT", &present),
            true,
        ),
        (
            "exists_false_filter",
            image(&json!({ "presentKey": [{ "exists": false }] })),
            record("INSERT", &json!({})),
            true,
        ),
        ("numeric_filter", numeric.clone(), number("42"), true),
        ("numeric_filter", numeric, number("101"), false),
        ("prefix_filter", prefix.clone(), prefixed("us-1-other-suffix"), true),
        ("prefix_filter", prefix, prefixed("other-suffix"), false),
    ] {
        let filters = Filters::compile(std::slice::from_ref(&pattern)).unwrap();
        assert_eq!(filters.match_any(&record), passes, "{id}: {pattern} {record}");
    }
}

/// Recorded by `test_dynamodb_invalid_event_filter`: a pattern that is no object is refused when the mapping is created.
#[test]
fn a_filter_that_is_no_object_is_refused() {
    assert!(Filters::compile(&[json!("single-string")]).is_err());
}
