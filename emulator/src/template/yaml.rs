//! YAML to JSON, with expanded short-form intrinsics.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

use super::TemplateError;

/// Converts YAML to JSON. `!Sub x` becomes `{"Fn::Sub": x}`.
pub(super) fn to_json(yaml: Yaml) -> Result<Value, TemplateError> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::String(value) => Value::String(value),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => json!(value),
            (_, Some(value), _) => json!(value),
            (.., value) => json!(value),
        },
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Yaml::String(key) = key else {
                    return Err(TemplateError::at(format!("{key:?}"), "a key must be a string"));
                };
                map.insert(key, to_json(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                short @ ("Ref" | "Condition") => short.to_owned(),
                short => format!("Fn::{short}"),
            };
            Value::Object(Map::from_iter([(name, to_json(tagged.value)?)]))
        }
    })
}

/// Returns the line of each logical id: the keys one level below a section.
pub(super) fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let indented = line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#', '-']));
        if let Some((id, _)) = indented.and_then(|rest| rest.split_once(':')) {
            lines.entry(id.to_owned()).or_insert(index + 1);
        }
    }
    lines
}
