//! Evaluation of the filters of event source mappings.
//!
//! The syntax is that of "Control which events Lambda sends to your function" in the Lambda developer guide. The
//! meaning of arrays is that of "Amazon `EventBridge` event patterns". In DynamoDB's JSON a number is a string (`{"N":
//! "5"}`), so numeric operators match no number of an item, as in Lambda.

use serde_json::{Map, Value};

/// Maximum number of filters of a mapping, from "Lambda quotas".
const MAX_FILTERS: usize = 10;

/// Maximum number of characters of a pattern, from "`FilterCriteria`" in the Lambda API reference.
const MAX_PATTERN_CHARACTERS: usize = 4096;

const OR: &str = "$or";

/// A filter that Lambda would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More filters than a mapping may have.
    #[error("{0} filters are too many, Lambda allows {MAX_FILTERS}")]
    TooMany(usize),
    /// A pattern is too long.
    #[error("filter {filter} has {length} characters, Lambda allows {MAX_PATTERN_CHARACTERS}")]
    TooLong {
        /// The filter's index, from 0.
        filter: usize,
        /// The number of characters of its pattern.
        length: usize,
    },
    /// A pattern has invalid syntax.
    #[error("filter {filter}, at {path}: {problem}")]
    Malformed {
        /// The filter's index, from 0.
        filter: usize,
        /// The position in the pattern: property names joined by dots.
        path: String,
        /// The problem at that position.
        problem: String,
    },
}

/// The filters of a mapping, compiled.
#[derive(Debug)]
pub struct Filters(Vec<Pattern>);

impl Filters {
    /// Reads the patterns of a mapping, each a JSON object.
    pub fn compile(patterns: &[Value]) -> Result<Self, FilterError> {
        if patterns.len() > MAX_FILTERS {
            return Err(FilterError::TooMany(patterns.len()));
        }
        let compile = |(filter, pattern): (usize, &Value)| {
            let length = pattern.to_string().chars().count();
            if length > MAX_PATTERN_CHARACTERS {
                return Err(FilterError::TooLong { filter, length });
            }
            let mut path = Vec::new();
            let compiled = match pattern {
                Value::Object(fields) => Pattern::compile(fields, &mut path),
                _ => Err("a pattern is a JSON object".to_owned()),
            };
            compiled.map_err(|problem| {
                let path = if path.is_empty() { "its top".to_owned() } else { path.join(".") };
                FilterError::Malformed { filter, path, problem }
            })
        };
        patterns.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether any filter matches `event`. Without filters, every event matches.
    #[must_use]
    pub fn match_any(&self, event: &Value) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(Some(event)))
    }
}

/// A pattern of an object.
#[derive(Debug)]
struct Pattern {
    /// Conditions on fields, all of which must match.
    fields: Vec<(String, Node)>,
    /// `$or`: if there are any, one must match.
    alternatives: Vec<Pattern>,
}

#[derive(Debug)]
enum Node {
    Object(Pattern),
    /// Conditions on a value, one of which must match.
    Leaf(Vec<Rule>),
}

/// A failed compilation leaves the position in `path`.
type Compiled<T> = Result<T, String>;

impl Pattern {
    fn compile(fields: &Map<String, Value>, path: &mut Vec<String>) -> Compiled<Self> {
        if fields.is_empty() {
            return Err("an empty object matches nothing".to_owned());
        }
        let mut pattern = Self { fields: Vec::new(), alternatives: Vec::new() };
        for (name, value) in fields {
            path.push(name.clone());
            match value {
                Value::Array(alternatives) if name == OR => {
                    if alternatives.len() < 2 {
                        return Err("$or needs at least two alternatives".to_owned());
                    }
                    for alternative in alternatives {
                        let Value::Object(fields) = alternative else {
                            return Err("an alternative of $or is a JSON object".to_owned());
                        };
                        pattern.alternatives.push(Self::compile(fields, path)?);
                    }
                }
                Value::Object(fields) => {
                    pattern.fields.push((name.clone(), Node::Object(Self::compile(fields, path)?)));
                }
                Value::Array(rules) if !rules.is_empty() => {
                    let rules = rules.iter().map(Rule::compile).collect::<Compiled<_>>()?;
                    pattern.fields.push((name.clone(), Node::Leaf(rules)));
                }
                _ => return Err("values to match stand in an array that is not empty".to_owned()),
            }
            path.pop();
        }
        Ok(pattern)
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        if let Some(Value::Array(elements)) = value {
            return elements.iter().any(|element| self.matches(Some(element)));
        }
        let field = |name: &str| value.and_then(|value| value.get(name));
        self.fields.iter().all(|(name, node)| match node {
            Node::Object(pattern) => pattern.matches(field(name)),
            Node::Leaf(rules) => rules.iter().any(|rule| rule.matches(field(name))),
        }) && (self.alternatives.is_empty() || self.alternatives.iter().any(|alternative| alternative.matches(value)))
    }
}

/// A condition on one value.
#[derive(Debug)]
enum Rule {
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    Suffix(String),
    AnythingBut(Vec<Value>),
    Exists(bool),
    Numeric(Vec<(Comparison, f64)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Rule {
    fn compile(rule: &Value) -> Compiled<Self> {
        let operator = match rule {
            Value::Object(operator) => operator,
            Value::Array(_) => return Err("an array cannot be matched; list its values".to_owned()),
            scalar => return Ok(Self::Equals(scalar.clone())),
        };
        let mut entries = operator.iter();
        let (Some((name, operand)), None) = (entries.next(), entries.next()) else {
            return Err("an operator is an object with one property".to_owned());
        };
        let text = || operand.as_str().map(str::to_owned).ok_or(format!("{name} needs a string"));
        match name.as_str() {
            "prefix" => text().map(Self::Prefix),
            "suffix" => text().map(Self::Suffix),
            "equals-ignore-case" => text().map(|text| Self::EqualsIgnoreCase(text.to_lowercase())),
            "exists" => operand.as_bool().map(Self::Exists).ok_or("exists needs true or false".to_owned()),
            "anything-but" => anything_but(operand).map(Self::AnythingBut),
            "numeric" => numeric(operand).map(Self::Numeric),
            _ => Err(format!(
                "unknown operator {name}; Lambda has prefix, suffix, anything-but, equals-ignore-case, exists \
                 and numeric"
            )),
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // `exists` applies to leaves only, not to objects.
            (Self::Exists(wanted), value) => *wanted == value.is_some_and(|value| !value.is_object()),
            (_, None | Some(Value::Object(_))) => false,
            (_, Some(Value::Array(elements))) => elements.iter().any(|element| self.matches(Some(element))),
            (Self::Equals(wanted), Some(value)) => equal(wanted, value),
            (Self::AnythingBut(unwanted), Some(value)) => !unwanted.iter().any(|unwanted| equal(unwanted, value)),
            (Self::EqualsIgnoreCase(wanted), Some(value)) => {
                value.as_str().is_some_and(|text| text.to_lowercase() == *wanted)
            }
            (Self::Prefix(prefix), Some(value)) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            (Self::Suffix(suffix), Some(value)) => value.as_str().is_some_and(|text| text.ends_with(suffix)),
            (Self::Numeric(comparisons), Some(value)) => value
                .as_f64()
                .is_some_and(|number| comparisons.iter().all(|(comparison, bound)| comparison.holds(number, *bound))),
        }
    }
}

/// Returns whether two scalars are equal. 1 and 1.0 are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

fn anything_but(operand: &Value) -> Compiled<Vec<Value>> {
    let unwanted = match operand {
        Value::Array(values) => values.clone(),
        scalar => vec![scalar.clone()],
    };
    if unwanted.is_empty() || !unwanted.iter().all(|value| value.is_string() || value.is_number()) {
        return Err("anything-but needs strings or numbers".to_owned());
    }
    Ok(unwanted)
}

fn numeric(operand: &Value) -> Compiled<Vec<(Comparison, f64)>> {
    let malformed =
        || "numeric needs a comparison and a number, or a lower and an upper bound: [\">\", 0, \"<=\", 5]".to_owned();
    let comparisons = operand
        .as_array()
        .ok_or_else(malformed)?
        .chunks(2)
        .map(|pair| match pair {
            [Value::String(comparison), Value::Number(bound)] => {
                Some((Comparison::named(comparison)?, bound.as_f64()?))
            }
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(malformed)?;
    match comparisons.as_slice() {
        [_] => Ok(comparisons),
        [(lower, low), (upper, high)] if lower.is_lower() && upper.is_upper() && low < high => Ok(comparisons),
        _ => Err(malformed()),
    }
}

impl Comparison {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn is_lower(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    fn is_upper(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }

    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Equal => number.total_cmp(&bound).is_eq(),
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "eventName": "INSERT",
            "dynamodb": {
                "Keys": { "channel_id": { "S": "general" }, "seq": { "N": "5" } },
                "NewImage": {
                    "role": { "S": "user" },
                    "seq": { "N": "5" },
                    "flag": { "BOOL": true },
                    "gone": { "NULL": true },
                    "empty": { "S": "" },
                    "tags": { "SS": ["red", "green"] },
                    "parts": { "L": [{ "S": "a" }, { "S": "b" }] }
                },
                "SizeBytes": 26,
                "Nothing": null
            }
        })
    }

    fn image(attribute: &Value) -> Value {
        json!({ "dynamodb": { "NewImage": attribute } })
    }

    #[test]
    fn documented_operators_match_as_documented() {
        let size = |rule: Value| json!({ "dynamodb": { "SizeBytes": [rule] } });
        for (pattern, expected) in [
            (json!({ "eventName": ["INSERT"] }), true),
            (json!({ "eventName": ["MODIFY", "REMOVE"] }), false),
            (json!({ "eventName": ["MODIFY", "INSERT"] }), true),
            (json!({ "eventName": ["insert"] }), false),
            (json!({ "eventName": [{ "equals-ignore-case": "insert" }] }), true),
            (json!({ "eventName": [{ "prefix": "IN" }] }), true),
            (json!({ "eventName": [{ "prefix": "in" }] }), false),
            (json!({ "eventName": [{ "suffix": "ERT" }] }), true),
            (json!({ "eventName": [{ "suffix": "IN" }] }), false),
            (json!({ "eventName": [{ "anything-but": ["REMOVE"] }] }), true),
            (json!({ "eventName": [{ "anything-but": "INSERT" }] }), false),
            (json!({ "missing": [{ "anything-but": ["x"] }] }), false),
            (image(&json!({ "role": { "S": ["user"] } })), true),
            (image(&json!({ "role": { "S": ["assistant"] } })), false),
            (image(&json!({ "role": { "S": ["user"] }, "flag": { "BOOL": [true] } })), true),
            (image(&json!({ "role": { "S": ["user"] }, "flag": { "BOOL": [false] } })), false),
            (image(&json!({ "gone": { "NULL": [true] } })), true),
            (image(&json!({ "empty": { "S": [""] } })), true),
            (image(&json!({ "tags": { "SS": ["green"] } })), true),
            (image(&json!({ "tags": { "SS": ["blue"] } })), false),
            (image(&json!({ "parts": { "L": { "S": ["b"] } } })), true),
            (image(&json!({ "parts": { "L": { "S": ["c"] } } })), false),
            (image(&json!({ "role": { "S": [{ "exists": true }] } })), true),
            (image(&json!({ "thread": { "S": [{ "exists": true }] } })), false),
            (image(&json!({ "thread": { "S": [{ "exists": false }] } })), true),
            (image(&json!({ "role": { "S": [{ "exists": false }] } })), false),
            (image(&json!({ "role": [{ "exists": true }] })), false),
            (json!({ "dynamodb": { "OldImage": { "role": { "S": [{ "exists": false }] } } } }), true),
            (json!({ "dynamodb": { "Nothing": [null] } }), true),
            (json!({ "dynamodb": { "Missing": [null] } }), false),
            // An item's numbers are strings.
            (image(&json!({ "seq": { "N": ["5"] } })), true),
            (image(&json!({ "seq": { "N": [5] } })), false),
            (image(&json!({ "seq": { "N": [{ "numeric": ["=", 5] }] } })), false),
            (size(json!(26)), true),
            (size(json!(26.0)), true),
            (size(json!({ "numeric": ["=", 26] })), true),
            (size(json!({ "numeric": [">", 26] })), false),
            (size(json!({ "numeric": [">=", 26] })), true),
            (size(json!({ "numeric": [">", 0, "<", 26] })), false),
            (size(json!({ "numeric": [">", 0, "<=", 26] })), true),
            (json!({ "$or": [{ "eventName": ["REMOVE"] }, image(&json!({ "role": { "S": ["user"] } }))] }), true),
            (json!({ "$or": [{ "eventName": ["REMOVE"] }, { "eventName": ["MODIFY"] }] }), false),
            (
                json!({ "eventName": ["REMOVE"], "$or": [{ "eventName": ["INSERT"] }, { "eventName": ["MODIFY"] }] }),
                false,
            ),
            (image(&json!({ "$or": [{ "role": { "S": ["system"] } }, { "seq": { "N": ["5"] } }] })), true),
        ] {
            let filters = Filters::compile(std::slice::from_ref(&pattern)).unwrap();
            assert_eq!(filters.match_any(&record()), expected, "{pattern}");
        }
    }

    #[test]
    fn any_filter_will_do_and_none_lets_all_through() {
        assert!(Filters::compile(&[]).unwrap().match_any(&record()));
        let (modify, insert) = (json!({ "eventName": ["MODIFY"] }), json!({ "eventName": ["INSERT"] }));
        assert!(Filters::compile(&[modify.clone(), insert]).unwrap().match_any(&record()));
        assert!(!Filters::compile(&[modify.clone(), modify]).unwrap().match_any(&record()));
    }

    #[test]
    fn malformed_patterns_are_refused_with_their_place() {
        for (pattern, place) in [
            (json!("INSERT"), "its top"),
            (json!({}), "its top"),
            (json!({ "eventName": "INSERT" }), "at eventName"),
            (json!({ "eventName": [] }), "at eventName"),
            (json!({ "eventName": [["INSERT"]] }), "at eventName"),
            (json!({ "dynamodb": {} }), "at dynamodb"),
            (image(&json!({ "role": { "S": [{ "wildcard": "u*" }] } })), "at dynamodb.NewImage.role.S"),
            (json!({ "eventName": [{ "prefix": 5 }] }), "at eventName"),
            (json!({ "eventName": [{ "prefix": "a", "suffix": "b" }] }), "at eventName"),
            (json!({ "eventName": [{ "exists": "yes" }] }), "at eventName"),
            (json!({ "eventName": [{ "anything-but": [] }] }), "at eventName"),
            (json!({ "eventName": [{ "anything-but": { "prefix": "a" } }] }), "at eventName"),
            (json!({ "a": [{ "numeric": [">"] }] }), "at a"),
            (json!({ "a": [{ "numeric": [">", "0"] }] }), "at a"),
            (json!({ "a": [{ "numeric": ["~", 0] }] }), "at a"),
            (json!({ "a": [{ "numeric": ["<", 5, ">", 0] }] }), "at a"),
            (json!({ "a": [{ "numeric": [] }] }), "at a"),
            (json!({ "$or": [{ "eventName": ["INSERT"] }] }), "at $or"),
            (json!({ "$or": ["INSERT", "MODIFY"] }), "at $or"),
        ] {
            let error = Filters::compile(&[json!({ "eventName": ["INSERT"] }), pattern.clone()]).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("filter 1,") && message.contains(place), "{pattern}: {message}");
        }
    }

    #[test]
    fn the_limits_are_those_of_lambda() {
        let pattern = json!({ "eventName": ["INSERT"] });
        assert_eq!(Filters::compile(&vec![pattern; 11]).unwrap_err(), FilterError::TooMany(11));
        let long = json!({ "eventName": ["x".repeat(MAX_PATTERN_CHARACTERS)] });
        assert!(matches!(Filters::compile(&[long]), Err(FilterError::TooLong { filter: 0, .. })));
    }
}
