//! The OpenAPI and the AsyncAPI document in one value, so that a reference between them is a plain pointer.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Both documents: `/openapi` and `/asyncapi`.
#[derive(Debug, Clone, PartialEq)]
pub struct Documents(Value);

impl Documents {
    /// Reads `openapi.yaml` and `asyncapi.yaml` in a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Self::parse(&text("openapi.yaml")?, &text("asyncapi.yaml")?)
    }

    /// Parses both documents.
    pub fn parse(openapi: &str, asyncapi: &str) -> Result<Self> {
        let mut both = json!({ "openapi": yaml(openapi)?, "asyncapi": yaml(asyncapi)? });
        for name in ["openapi", "asyncapi"] {
            rewrite(&mut both[name], name);
        }
        Ok(Self(both))
    }

    /// Returns the value at a pointer, or `null`.
    #[must_use]
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Follows references, and returns the value that they lead to.
    #[must_use]
    pub fn resolve<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        // A longer chain of references is a loop.
        for _ in 0..8 {
            match value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
                Some(pointer) => value = self.at(pointer),
                None => break,
            }
        }
        value
    }

    /// Returns a self-contained JSON Schema of the schema at `pointer`.
    #[must_use]
    pub fn schema(&self, pointer: &str) -> Value {
        let mut schema = self.0.clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$ref"] = json!(format!("#{pointer}"));
        schema
    }

    /// Returns the messages that the server sends: names, and pointers to their payloads' schemas.
    #[must_use]
    pub fn sent_messages(&self) -> Vec<(String, String)> {
        self.messages(|operation, is_reply| (operation["action"] == "send") != is_reply)
    }

    /// Returns the messages that clients send.
    #[must_use]
    pub fn received_messages(&self) -> Vec<(String, String)> {
        self.messages(|operation, is_reply| (operation["action"] == "receive") != is_reply)
    }

    fn messages(&self, wanted: impl Fn(&Value, bool) -> bool) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for operation in self.at("/asyncapi/operations").as_object().into_iter().flat_map(|all| all.values()) {
            for (is_reply, messages) in [(false, &operation["messages"]), (true, &operation["reply"]["messages"])] {
                if !wanted(operation, is_reply) {
                    continue;
                }
                for message in messages.as_array().into_iter().flatten() {
                    let message = self.resolve(message);
                    let name = message["name"].as_str().unwrap_or_default();
                    let payload = message["payload"]["$ref"].as_str().unwrap_or_default().trim_start_matches('#');
                    // The union of all frames is for generators. Each frame has a message of its own.
                    if self.at(payload).get("oneOf").is_none() {
                        found.push((name.to_owned(), payload.to_owned()));
                    }
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

fn yaml(text: &str) -> Result<Value> {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text)?;
    value.apply_merge()?;
    Ok(serde_json::to_value(value)?)
}

fn rewrite(value: &mut Value, name: &str) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                match field {
                    Value::String(reference) if key == "$ref" => {
                        let (document, pointer) = reference.split_once('#').unwrap_or((reference, ""));
                        let document = document.trim_start_matches("./").trim_end_matches(".yaml");
                        *reference = format!("#/{}{pointer}", if document.is_empty() { name } else { document });
                    }
                    field => rewrite(field, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, name)),
        _ => {}
    }
}
