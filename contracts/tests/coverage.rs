#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Checks that every frame type and every documented problem is in an interaction of a published pact, and so is
//! verified.

use std::collections::BTreeSet;

use contracts::{compat::Pacts, documents::Documents, published};
use serde_json::Value;

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

/// Returns method, path and status of every HTTP interaction.
fn answers(pacts: &Pacts) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pacts
        .interactions()
        .filter(|(_, interaction)| interaction.get("response").is_some())
        .map(|(_, one)| {
            (text(&one["request"]["method"]), text(&one["request"]["path"]), one["response"]["status"].to_string())
        })
        .collect()
}

#[test]
fn every_documented_problem_is_verified() {
    let (documents, pacts) = (documents(), published_pacts());
    let answers = answers(&pacts);
    let (mut counted, mut missing) = (0, Vec::new());
    for (path, item) in documents.at("/openapi/paths").as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = documents.resolve(response)["content"].get("application/problem+json");
                // A server error cannot be caused in each operation; one interaction is enough.
                if problem.is_none() || status == "5XX" {
                    continue;
                }
                counted += 1;
                let found = answers
                    .iter()
                    .any(|(asked, at, given)| asked.eq_ignore_ascii_case(method) && given == status && is_of(path, at));
                if !found {
                    missing.push(format!("{method} {path} {status}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "of {counted} documented problems these are in no pact: {missing:#?}");
    assert!(counted > 100, "only {counted} problems are documented");
    assert!(answers.iter().any(|(.., status)| status == "500"), "no server error");
    let routes: Vec<&String> = documents.at("/openapi/paths").as_object().unwrap().keys().collect();
    let beside = |status: &str| {
        answers
            .iter()
            .any(|(_, at, given)| given == status && (status == "405" || !routes.iter().any(|route| is_of(route, at))))
    };
    assert!(beside("404") && beside("405"), "requests that no operation accepts");
}

#[test]
fn every_operation_is_used_as_it_should_be() {
    let (documents, pacts) = (documents(), published_pacts());
    let answers = answers(&pacts);
    for (path, item) in documents.at("/openapi/paths").as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            for status in operation["responses"].as_object().unwrap().keys().filter(|status| status.starts_with('2')) {
                let found = answers
                    .iter()
                    .any(|(asked, at, given)| asked.eq_ignore_ascii_case(method) && given == status && is_of(path, at));
                assert!(found, "no pact has {method} {path} {status}");
            }
        }
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
    let has =
        |pointer: &str, value: &str| frames.iter().any(|frame| frame.pointer(pointer).is_some_and(|at| at == value));
    let types: BTreeSet<String> = documents.sent_messages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(types.len(), 8, "{types:?}");
    for name in &types {
        assert!(has("/type", name), "no pact has the frame {name}");
    }
    let choices = [
        ("/asyncapi/components/schemas/Event/properties/type/enum", "/events/0/type"),
        ("/asyncapi/components/schemas/Delta/properties/status/enum", "/status"),
        ("/asyncapi/components/schemas/Error/properties/code/enum", "/code"),
        ("/openapi/components/schemas/Message/properties/role/enum", "/events/0/message/role"),
    ];
    for (documented, at) in choices {
        for choice in documents.at(documented).as_array().unwrap() {
            assert!(has(at, choice.as_str().unwrap()), "no pact has a frame with {choice} at {at}");
        }
    }
}
