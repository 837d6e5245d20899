//! Sizes of items by "DynamoDB item sizes and formats" in the DynamoDB developer guide, for `SizeBytes` of stream records.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Overhead of a list or map.
const CONTAINER: usize = 3;

/// Returns the size of an item, of its keys or of the entries of a map, in bytes: names and values.
pub(super) fn of_item(item: &Value) -> usize {
    item.as_object().map_or(0, |attributes| attributes.iter().map(|(name, value)| name.len() + of_value(value)).sum())
}

/// Returns the size of a value with its type, such as `{"S": "text"}`.
fn of_value(value: &Value) -> usize {
    let Some((kind, content)) = value.as_object().and_then(|typed| typed.iter().next()) else { return 0 };
    let text = |content: &Value| content.as_str().map_or(0, |text| of_text(kind, text));
    match (kind.as_str(), content) {
        ("BOOL" | "NULL", _) => 1,
        ("L", Value::Array(values)) => CONTAINER + values.iter().map(|value| 1 + of_value(value)).sum::<usize>(),
        ("M", Value::Object(entries)) => CONTAINER + entries.len() + of_item(content),
        (_, Value::Array(set)) => set.iter().map(text).sum(),
        (_, content) => text(content),
    }
}

/// Returns the size of a string, a number or bytes, alone or in a set.
fn of_text(kind: &str, text: &str) -> usize {
    match kind {
        "N" | "NS" => of_number(text),
        "B" | "BS" => STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len()),
        _ => text.len(),
    }
}

/// Returns the size of a number: a byte for two significant digits, one more, and one for a minus sign.
fn of_number(text: &str) -> usize {
    let digits: String = text.split(['e', 'E']).next().unwrap_or_default().replace(['-', '+', '.'], "");
    let significant = digits.trim_matches('0').len();
    significant.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Recorded at AWS: `SizeBytes` of records with these keys and images.
    #[test]
    fn recorded_records_have_their_size() {
        for (parts, size) in [
            (vec![json!({"id": {"S": "Fred"}}), json!({"id": {"S": "Fred"}})], 12),
            (vec![json!({"Username": {"S": "Alice"}})], 13),
            (
                vec![
                    json!({"my_partition_key": {"S": "hello world"}}),
                    json!({"binary_key": {"B": "Zm9vYmFy"}, "my_partition_key": {"S": "hello world"}}),
                ],
                70,
            ),
            (
                vec![
                    json!({"my_partition_key": {"S": "testId0"}}),
                    json!({"my_partition_key": {"S": "testId0"}, "should_fail": {"BOOL": false}}),
                ],
                58,
            ),
            (
                vec![
                    json!({"id": {"S": "id_value_1"}}),
                    json!({"numericFilter": {"N": "42"}, "id": {"S": "id_value_1"}}),
                ],
                39,
            ),
            (
                vec![
                    json!({"id": {"S": "my-item-id"}}),
                    json!({"attr1": {"S": "value2"}, "attr2": {"S": "value3"}, "id": {"S": "my-item-id"}}),
                    json!({"attr1": {"S": "value1"}, "attr2": {"S": "value2"}, "id": {"S": "my-item-id"}}),
                ],
                80,
            ),
        ] {
            assert_eq!(parts.iter().map(of_item).sum::<usize>(), size, "{parts:?}");
        }
    }

    #[test]
    fn containers_and_numbers_have_the_documented_size() {
        for (value, size) in [
            (json!({"N": "0"}), 1),
            (json!({"N": "-1.5"}), 3),
            (json!({"N": "1200"}), 2),
            (json!({"NS": ["1", "22", "333"]}), 7),
            (json!({"NULL": true}), 1),
            (json!({"L": []}), 3),
            (json!({"L": [{"S": "ab"}]}), 6),
            (json!({"M": {"k": {"S": "ab"}}}), 7),
        ] {
            assert_eq!(of_value(&value), size, "{value}");
        }
    }
}
