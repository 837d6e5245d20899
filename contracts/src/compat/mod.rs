//! Detects changes of the documents that break clients: compares the published documents with the working copy.
//! Additions break no client, because clients ignore unknown parts.

mod pacts;
mod schema;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Value, json};

use crate::documents::Documents;
pub use pacts::Pacts;
use schema::{Comparison, Direction};

/// A change that may break a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// Place of the change.
    pub place: Place,
    /// Description of the change.
    pub what: String,
}

/// A place in the documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The operation or the message.
    pub part: Part,
    /// The field, from the outside in; `[]` is any item, `{}` any field. Empty: the whole.
    pub field: Vec<String>,
}

/// Compared part of the documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Request of an operation.
    Request {
        /// In capital letters.
        method: String,
        /// As in the document.
        path: String,
    },
    /// Response of an operation.
    Response {
        /// In capital letters.
        method: String,
        /// As in the document.
        path: String,
        /// Such as `200` or `5XX`.
        status: String,
    },
    /// A frame from the server.
    Sent(String),
    /// A frame from a client.
    Received(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Part::Request { method, path } => write!(f, "{method} {path}")?,
            Part::Response { method, path, status } => write!(f, "{method} {path}, answer {status}")?,
            Part::Sent(name) => write!(f, "frame {name}")?,
            Part::Received(name) => write!(f, "client's frame {name}")?,
        }
        if !self.field.is_empty() {
            write!(f, ", field {}", self.field.join(".").replace(".[]", "[]"))?;
        }
        Ok(())
    }
}

impl Break {
    /// Describes the break, and the clients that it affects.
    #[must_use]
    pub fn explain(&self, pacts: &Pacts) -> String {
        let users = pacts.users_of(&self.place);
        let who = if users.is_empty() {
            "no published pact uses this; any other client might".to_owned()
        } else {
            format!("{}, and any other client that uses this", users.join(", "))
        };
        format!("{}: {}\n    would break: {who}", self.place, self.what)
    }
}

/// Returns every change from `old` to `new` that may break a client.
#[must_use]
pub fn breaks(old: &Documents, new: &Documents) -> Vec<Break> {
    let mut found = BTreeSet::new();
    compare_operations(old, new, &mut found);
    for (direction, old_messages, new_messages) in [
        (Direction::Read, old.sent_messages(), new.sent_messages()),
        (Direction::Written, old.received_messages(), new.received_messages()),
    ] {
        let new_messages: BTreeMap<String, String> = new_messages.into_iter().collect();
        for (name, payload) in old_messages {
            let part = match direction {
                Direction::Read => Part::Sent(name.clone()),
                Direction::Written => Part::Received(name.clone()),
            };
            match new_messages.get(&name) {
                None => {
                    found.insert(Break { place: Place { part, field: Vec::new() }, what: "is gone".to_owned() });
                }
                Some(new_payload) => {
                    let mut comparison = Comparison::new(old, new, direction, part);
                    comparison.compare(old.at(&payload), new.at(new_payload));
                    found.extend(comparison.finish());
                }
            }
        }
    }
    found.into_iter().collect()
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn compare_operations(old: &Documents, new: &Documents, found: &mut BTreeSet<Break>) {
    for (path, old_item) in old.at("/openapi/paths").as_object().into_iter().flatten() {
        let new_item = &new.at("/openapi/paths")[path];
        for method in METHODS.iter().filter(|method| old_item.get(**method).is_some()) {
            let request = Part::Request { method: method.to_uppercase(), path: path.clone() };
            let mut note = |field: Vec<String>, what: &str| {
                found.insert(Break { place: Place { part: request.clone(), field }, what: what.to_owned() });
            };
            let (Some(old_operation), Some(new_operation)) = (old_item.get(*method), new_item.get(*method)) else {
                note(Vec::new(), "is gone");
                continue;
            };
            let is_open = |documents: &Documents, operation: &Value| {
                let required = operation.get("security").unwrap_or_else(|| documents.at("/openapi/security"));
                required.as_array().is_none_or(Vec::is_empty)
            };
            if is_open(old, old_operation) && !is_open(new, new_operation) {
                note(Vec::new(), "requires a token");
            }
            let old_parameters = parameters(old, old_item, old_operation);
            let new_parameters = parameters(new, new_item, new_operation);
            for (key @ (_, name), new_parameter) in &new_parameters {
                if new_parameter["required"] == true
                    && old_parameters.get(key).is_none_or(|old_parameter| old_parameter["required"] != true)
                {
                    note(vec![name.clone()], "became a required parameter");
                }
            }
            for key @ (place, name) in old_parameters.keys() {
                if !new_parameters.contains_key(key) {
                    note(vec![name.clone()], &format!("is no longer a {place} parameter"));
                }
            }
            for (key, old_parameter) in &old_parameters {
                let Some(new_parameter) = new_parameters.get(key) else { continue };
                let mut comparison = Comparison::new(old, new, Direction::Written, request.clone());
                comparison.enter(&key.1, |inner| inner.compare(&old_parameter["schema"], &new_parameter["schema"]));
                found.extend(comparison.finish());
            }
            compare_bodies(old, new, (old_operation, new_operation), &request, found);
            compare_answers(old, new, (old_operation, new_operation), (method, path), found);
        }
    }
}

/// Returns the parameters of an operation by location and name. The fields of an object in the query are parameters of
/// their own (OpenAPI 3.1, style `form` with `explode`).
fn parameters(documents: &Documents, item: &Value, operation: &Value) -> BTreeMap<(String, String), Value> {
    let all = [item, operation].into_iter().flat_map(|part| part["parameters"].as_array().into_iter().flatten());
    let mut found = BTreeMap::new();
    for parameter in all {
        let parameter = documents.resolve(parameter);
        let text = |name: &str| parameter[name].as_str().unwrap_or_default().to_owned();
        let place = text("in");
        if let Some(fields) = documents.resolve(&parameter["schema"])["properties"].as_object()
            && place == "query"
        {
            let fields = fields.iter().map(|(name, schema)| (name.clone(), json!({ "schema": schema })));
            found.extend(fields.map(|(name, field)| ((place.clone(), name), field)));
        } else {
            found.insert((place, text("name")), parameter.clone());
        }
    }
    found
}

fn compare_bodies(
    old: &Documents,
    new: &Documents,
    (old_operation, new_operation): (&Value, &Value),
    request: &Part,
    found: &mut BTreeSet<Break>,
) {
    let whole = |what: &str| Break { place: Place { part: request.clone(), field: Vec::new() }, what: what.to_owned() };
    let (old_body, new_body) = (old.resolve(&old_operation["requestBody"]), new.resolve(&new_operation["requestBody"]));
    if new_body["required"] == true && old_body["required"] != true {
        found.insert(whole("requires a body"));
    }
    for (kind, old_media) in old_body["content"].as_object().into_iter().flatten() {
        match new_body["content"].get(kind) {
            None => {
                found.insert(whole(&format!("no longer accepts {kind}")));
            }
            Some(new_media) => {
                let mut comparison = Comparison::new(old, new, Direction::Written, request.clone());
                comparison.compare(&old_media["schema"], &new_media["schema"]);
                found.extend(comparison.finish());
            }
        }
    }
}

fn compare_answers(
    old: &Documents,
    new: &Documents,
    (old_operation, new_operation): (&Value, &Value),
    (method, path): (&str, &str),
    found: &mut BTreeSet<Break>,
) {
    for (status, old_answer) in old_operation["responses"].as_object().into_iter().flatten() {
        let part = Part::Response { method: method.to_uppercase(), path: path.to_owned(), status: status.clone() };
        let at = |field: Vec<String>, what: &str| Break {
            place: Place { part: part.clone(), field },
            what: what.to_owned(),
        };
        let Some(new_answer) = new_operation["responses"].get(status) else {
            // Removing an error response breaks no client.
            if status.starts_with('2') {
                found.insert(at(Vec::new(), "is gone"));
            }
            continue;
        };
        let (old_answer, new_answer) = (old.resolve(old_answer), new.resolve(new_answer));
        for (name, old_header) in old_answer["headers"].as_object().into_iter().flatten() {
            let Some(new_header) = new_answer["headers"].get(name) else {
                found.insert(at(vec![name.clone()], "is no longer a header of this response"));
                continue;
            };
            let (old_header, new_header) = (old.resolve(old_header), new.resolve(new_header));
            if old_header["required"] == true && new_header["required"] != true {
                found.insert(at(vec![name.clone()], "may be missing"));
            }
            let mut comparison = Comparison::new(old, new, Direction::Read, part.clone());
            comparison.enter(name, |inner| inner.compare(&old_header["schema"], &new_header["schema"]));
            found.extend(comparison.finish());
        }
        for (kind, old_media) in old_answer["content"].as_object().into_iter().flatten() {
            match new_answer["content"].get(kind) {
                None => {
                    found.insert(at(Vec::new(), &format!("no longer has the type {kind}")));
                }
                Some(new_media) => {
                    let mut comparison = Comparison::new(old, new, Direction::Read, part.clone());
                    comparison.compare(&old_media["schema"], &new_media["schema"]);
                    found.extend(comparison.finish());
                }
            }
        }
    }
}
