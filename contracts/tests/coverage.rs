#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Checks that every operation, every problem code and every frame type is in an interaction of a published pact, and
//! so is verified. Operations, codes and types are read from the documents.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{compat::Pacts, documents::Documents, published};
use serde_json::Value;

/// Codes that no state can cause in the local run, with the reasons.
const NOT_CAUSED: [(&str, &str); 4] = [
    ("throttled", "the REST gateway of the local run does not limit its requests"),
    ("store_unavailable", "the store of the local run does not throttle; the tests under faults cover it"),
    ("bad_gateway", "no function of the local run can be made to fail without a response"),
    ("gateway_timeout", "no function of the local run can be made to take 29 s"),
];

/// Properties of frames that name a kind, below the frame. `[]` is any item.
const KINDS: [&[&str]; 5] =
    [&["events", "[]", "type"], &["events", "[]", "message", "role"], &["status"], &["reason"], &["code"]];

fn published_pacts() -> Pacts {
    Pacts::read(&published::pacts_folder()).unwrap()
}

fn documents() -> Documents {
    Documents::read(&published::contracts()).unwrap()
}

fn is_of(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len() && template.iter().zip(&path).all(|(one, other)| one == other || one.starts_with('{'))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An HTTP interaction of a pact.
struct Exchange {
    method: String,
    path: String,
    status: String,
    /// Code of the problem; empty in other responses, and for consumers that do not use it.
    code: String,
}

impl Exchange {
    fn is_of(&self, method: &str, path: &str, status: &str) -> bool {
        self.method.eq_ignore_ascii_case(method) && self.status == status && is_of(path, &self.path)
    }
}

fn exchanges(pacts: &Pacts) -> Vec<Exchange> {
    pacts
        .interactions()
        .filter(|(_, interaction)| interaction.get("response").is_some())
        .map(|(_, one)| Exchange {
            method: text(&one["request"]["method"]),
            path: text(&one["request"]["path"]),
            status: one["response"]["status"].to_string(),
            code: text(&one["response"]["body"]["content"]["code"]),
        })
        .collect()
}

/// Returns method, path, status and response of every documented response.
fn responses(documents: &Documents) -> Vec<(&str, &str, &str, &Value)> {
    let mut found = Vec::new();
    for (path, item) in documents.at("/openapi/paths").as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            for (status, response) in operation["responses"].as_object().unwrap() {
                found.push((method.as_str(), path.as_str(), status.as_str(), documents.resolve(response)));
            }
        }
    }
    found
}

#[test]
fn every_documented_response_is_verified() {
    let (documents, pacts) = (documents(), published_pacts());
    let exchanges = exchanges(&pacts);
    let (mut problems, mut missing) = (0, Vec::new());
    for (method, path, status, response) in responses(&documents) {
        let is_problem = response["content"].get("application/problem+json").is_some();
        // A server error cannot be caused in each operation; one interaction is enough. The unhealthy state is a test
        // of its own.
        if status == "5XX" || (path == "/health" && status != "200") {
            continue;
        }
        problems += usize::from(is_problem);
        if !exchanges.iter().any(|one| one.is_of(method, path, status)) {
            missing.push(format!("{method} {path} {status}"));
        }
    }
    assert!(missing.is_empty(), "of {problems} problems and other responses these are in no pact: {missing:#?}");
    assert!(problems > 150, "only {problems} problems are documented");
    assert!(exchanges.iter().any(|one| one.status == "500"), "no server error");
    let routes: Vec<&String> = documents.at("/openapi/paths").as_object().unwrap().keys().collect();
    let beside = |status: &str| {
        exchanges
            .iter()
            .any(|one| one.status == status && (status == "405" || !routes.iter().any(|route| is_of(route, &one.path))))
    };
    assert!(beside("404") && beside("405"), "requests that no operation accepts");
}

#[test]
fn every_problem_code_is_verified() {
    let (documents, pacts) = (documents(), published_pacts());
    let exchanges = exchanges(&pacts);
    let documented = choices(&documents, documents.at("/openapi/components/schemas/ProblemCode"), &[]);
    let verified: BTreeSet<String> =
        exchanges.iter().map(|one| one.code.clone()).filter(|one| !one.is_empty()).collect();
    let excused: BTreeSet<String> = NOT_CAUSED.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert!(documented.len() > 30, "only {} codes are documented", documented.len());
    let undocumented: Vec<_> = verified.difference(&documented).collect();
    assert!(undocumented.is_empty(), "codes of pacts that are not documented: {undocumented:?}");
    let missing: Vec<_> = documented.iter().filter(|one| !verified.contains(*one) && !excused.contains(*one)).collect();
    assert!(missing.is_empty(), "codes that are in no pact: {missing:?}");
    let stale: Vec<_> = excused.iter().filter(|one| verified.contains(*one) || !documented.contains(*one)).collect();
    assert!(stale.is_empty(), "exceptions that are verified, or that no document has: {stale:?}");
}

/// The document lists the codes of each response. A client may rely on the list.
#[test]
fn every_verified_code_is_one_of_its_response() {
    let (documents, pacts) = (documents(), published_pacts());
    let mut of_response: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    for (method, path, status, response) in responses(&documents) {
        if let Some(codes) = response["x-problem-codes"].as_array() {
            let place = (method.to_owned(), path.to_owned(), status.to_owned());
            of_response.insert(place, codes.iter().map(text).collect());
        }
    }
    assert!(!of_response.is_empty(), "no response lists its codes");
    for one in exchanges(&pacts).iter().filter(|one| !one.code.is_empty()) {
        for ((method, path, status), codes) in &of_response {
            if one.is_of(method, path, status) {
                assert!(codes.contains(&one.code), "{method} {path} {status} does not list {}", one.code);
            }
        }
    }
}

/// Returns the texts that a schema allows at a path below it: each `const`, and each item of an `enum`.
fn choices(documents: &Documents, schema: &Value, path: &[&str]) -> BTreeSet<String> {
    let schema = documents.resolve(schema);
    let mut found = BTreeSet::new();
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        for one in schema[alternatives].as_array().into_iter().flatten() {
            found.extend(choices(documents, one, path));
        }
    }
    match path.split_first() {
        Some((&"[]", rest)) => found.extend(below(documents, schema.get("items"), rest)),
        Some((name, rest)) => found.extend(below(documents, schema["properties"].get(*name), rest)),
        None => {
            let listed = schema["enum"].as_array().into_iter().flatten();
            found.extend(listed.chain(schema.get("const")).filter_map(Value::as_str).map(str::to_owned));
        }
    }
    found
}

fn below(documents: &Documents, schema: Option<&Value>, path: &[&str]) -> BTreeSet<String> {
    schema.map(|schema| choices(documents, schema, path)).unwrap_or_default()
}

/// Returns whether a frame has a text at a path.
fn has(frame: &Value, path: &[&str], wanted: &str) -> bool {
    match path.split_first() {
        None => frame == wanted,
        Some((&"[]", rest)) => frame.as_array().is_some_and(|items| items.iter().any(|item| has(item, rest, wanted))),
        Some((name, rest)) => frame.get(*name).is_some_and(|value| has(value, rest, wanted)),
    }
}

#[test]
fn every_frame_is_verified() {
    let (documents, pacts) = (documents(), published_pacts());
    let frames: Vec<&Value> = pacts
        .interactions()
        .filter(|(_, interaction)| interaction.get("contents").is_some())
        .map(|(_, interaction)| &interaction["contents"]["content"])
        .collect();
    let sent = documents.sent_messages();
    let mut kinds = 0;
    for (name, payload) in &sent {
        assert!(frames.iter().any(|frame| frame["type"] == name.as_str()), "no pact has the frame {name}");
        for path in KINDS {
            for choice in choices(&documents, documents.at(payload), path) {
                kinds += 1;
                let found = frames.iter().any(|frame| frame["type"] == name.as_str() && has(frame, path, &choice));
                assert!(found, "no pact has a frame {name} with {choice} at {}", path.join("."));
            }
        }
    }
    // The numbers of the tests below: a document that is not read as meant would pass unnoticed.
    assert!(sent.len() >= 17, "only {} frames are documented", sent.len());
    assert!(kinds >= 17, "only {kinds} kinds of frames are documented");
}
