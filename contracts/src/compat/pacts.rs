//! Published pacts, and the pacts that use a place of the documents.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Part, Place};

/// Published pacts.
#[derive(Debug, Clone, Default)]
pub struct Pacts(Vec<Value>);

impl Pacts {
    /// Reads every pact of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut pacts = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read(&path)?;
                pacts.push(serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?);
            }
        }
        pacts.sort_by_key(|pact: &Value| pact["consumer"]["name"].to_string());
        Ok(Self(pacts))
    }

    /// Creates the value from the pacts' JSON.
    #[must_use]
    pub fn of(pacts: Vec<Value>) -> Self {
        Self(pacts)
    }

    /// Returns every interaction with its consumer.
    pub fn interactions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().flat_map(|pact| {
            let consumer = pact["consumer"]["name"].as_str().unwrap_or_default();
            let interactions = ["interactions", "messages"].into_iter().filter_map(|name| pact[name].as_array());
            interactions.flatten().map(move |interaction| (consumer, interaction))
        })
    }

    /// Returns the consumers whose pacts use a place, each with one such interaction.
    #[must_use]
    pub fn users_of(&self, place: &Place) -> Vec<String> {
        let mut users: Vec<(&str, String)> = Vec::new();
        for (consumer, interaction) in self.interactions() {
            if !users.iter().any(|(known, _)| *known == consumer) && uses(interaction, place) {
                let description = interaction["description"].as_str().unwrap_or_default();
                users.push((consumer, format!("{consumer} (\"{description}\")")));
            }
        }
        users.into_iter().map(|(_, user)| user).collect()
    }
}

/// Returns whether an interaction uses a place.
fn uses(interaction: &Value, place: &Place) -> bool {
    let request = &interaction["request"];
    let of_operation = |method: &str, path: &str| {
        request["method"].as_str().is_some_and(|asked| asked.eq_ignore_ascii_case(method))
            && request["path"].as_str().is_some_and(|asked| matches(path, asked))
    };
    match &place.part {
        // Every client that sends the request must meet its requirements, whether or not the pact contains the field.
        Part::Request { method, path } => of_operation(method, path),
        Part::Response { method, path, status } => {
            let response = &interaction["response"];
            let given = response["status"].to_string();
            let is_it = *status == given || (status.ends_with("XX") && given.starts_with(&status[..1]));
            let is_header = place.field.len() == 1
                && response["headers"]
                    .as_object()
                    .is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case(&place.field[0])));
            of_operation(method, path) && is_it && (is_header || holds(content(&response["body"]), &place.field))
        }
        Part::Sent(name) => {
            let frame = content(&interaction["contents"]);
            frame["type"] == name.as_str() && holds(frame, &place.field)
        }
        Part::Received(_) => false,
    }
}

/// Returns the content of a V4 body, or of an older one.
pub(super) fn content(body: &Value) -> &Value {
    body.get("content").unwrap_or(body)
}

/// Returns whether a body contains the field; always true for the whole body.
fn holds(body: &Value, field: &[String]) -> bool {
    let Some((first, rest)) = field.split_first() else { return true };
    match first.as_str() {
        "[]" => body.as_array().is_some_and(|items| items.iter().any(|item| holds(item, rest))),
        "{}" => body.as_object().is_some_and(|fields| fields.values().any(|value| holds(value, rest))),
        name => body.get(name).is_some_and(|value| holds(value, rest)),
    }
}

/// Returns whether a path matches a template.
#[must_use]
pub(crate) fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(wanted, given)| wanted == given || wanted.starts_with('{'))
}
