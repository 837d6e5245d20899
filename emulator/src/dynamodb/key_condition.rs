//! The partition key of a query, from its key condition.

use serde_json::Value;

/// Returns the value of the partition key `name` in a `Query`, with its type. A key condition requires an equality of
/// it ("Key condition expressions for the Query operation in DynamoDB").
pub(super) fn partition_key<'a>(request: &'a Value, name: &str) -> Option<&'a Value> {
    let Some(expression) = request["KeyConditionExpression"].as_str() else {
        // The legacy form.
        return request["KeyConditions"][name]["AttributeValueList"].get(0);
    };
    let tokens = tokens(expression);
    tokens.windows(3).find_map(|window| {
        let [attribute, operator, value] = window else { return None };
        let resolved = request["ExpressionAttributeNames"][attribute].as_str().unwrap_or(attribute);
        (resolved == name && operator == "=").then(|| request["ExpressionAttributeValues"].get(value)).flatten()
    })
}

/// Splits an expression into names, values and operators.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut is_open = false;
    for letter in expression.chars() {
        let is_word = letter.is_alphanumeric() || "_#:.-".contains(letter);
        match tokens.last_mut() {
            Some(token) if is_word && is_open => token.push(letter),
            // `<=`, `>=` and `<>` are one operator each.
            Some(token) if "=>".contains(letter) && ["<", ">"].contains(&token.as_str()) => token.push(letter),
            _ if letter.is_whitespace() => {}
            _ => tokens.push(letter.to_string()),
        }
        is_open = is_word;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_partition_key_is_the_one_that_is_equal() {
        let query = |expression: &str| {
            json!({
                "KeyConditionExpression": expression,
                "ExpressionAttributeNames": { "#pk": "pk", "#sk": "sk" },
                "ExpressionAttributeValues": { ":pk": { "S": "a" }, ":sk": { "N": "1" } },
            })
        };
        for expression in [
            "pk = :pk",
            "pk=:pk",
            "#pk = :pk",
            "(#pk = :pk) AND (#sk >= :sk)",
            "sk > :sk and pk = :pk",
            "begins_with(sk, :sk) AND #pk=:pk",
            "sk=:sk AND pk=:pk",
        ] {
            assert_eq!(partition_key(&query(expression), "pk"), Some(&json!({ "S": "a" })), "{expression}");
        }
        for expression in ["pk >= :pk", "pk <> :pk", "sk = :sk", "pk = :other", ""] {
            assert_eq!(partition_key(&query(expression), "pk"), None, "{expression}");
        }
        let condition = json!({ "AttributeValueList": [{ "S": "a" }], "ComparisonOperator": "EQ" });
        let legacy = json!({ "KeyConditions": { "pk": condition } });
        assert_eq!(partition_key(&legacy, "pk"), Some(&json!({ "S": "a" })));
    }
}
