#![allow(clippy::unwrap_used, clippy::expect_used)]

//! The verification itself, against the running stack: valid pacts pass, broken ones fail by name, and the frames of
//! all states are as documented.

use contracts::{
    documents::Documents,
    provider::Provider,
    published, stack,
    states::STATES,
    verify::{Options, verify},
};
use pact_verifier::PactSource;
use serde_json::{Map, Value, json};

async fn outcome(provider: &Provider, pact: &Value) -> contracts::verify::VerificationResult {
    verify(provider, vec![PactSource::String(pact.to_string())], &Options::default()).await.unwrap()
}

/// Interactions of every kind, of the many in the pact of the JavaScript client.
const EXAMPLES: [&str; 4] = [
    "the client sends",
    "the client reads what it missed",
    "the client hears of a message",
    "the client hears of an edit",
];

fn example() -> Value {
    let path = published::pacts_folder().join("switchboard-client-js-switchboard.json");
    let mut pact: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let interactions = pact["interactions"].as_array_mut().unwrap();
    interactions.retain(|one| EXAMPLES.iter().any(|name| one["description"] == *name));
    assert_eq!(interactions.len(), EXAMPLES.len());
    pact
}

/// Returns the pact with a field renamed in all expectations and their rules.
fn renamed(from: &str, to: &str) -> Value {
    let text = example().to_string();
    let changed = text
        .replace(&format!("\"{from}\":"), &format!("\"{to}\":"))
        .replace(&format!(".{from}\""), &format!(".{to}\""));
    assert_ne!(text, changed);
    serde_json::from_str(&changed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_passes_and_what_does_not_fails_by_name() {
    let provider = Provider::start(&stack::build().await.unwrap()).await.unwrap();
    let good = outcome(&provider, &example()).await;
    assert!(good.holds(), "{}", good.summary);
    let bad = outcome(&provider, &renamed("sender_id", "author_id")).await;
    assert!(!bad.holds());
    let text = bad.result.output.join("\n");
    assert!(text.contains("author_id"), "the field is named:\n{text}");
    let failed: Vec<_> = bad.result.errors.iter().map(|(description, _)| description.as_str()).collect();
    assert!(failed.iter().any(|one| one.contains("the client hears of a message")), "a frame: {failed:?}");
    assert!(failed.iter().any(|one| one.contains("the client reads what it missed")), "a request: {failed:?}");

    // The same pact marked as pending does not fail the run ("Pending pacts" in the Pact documentation).
    let mut pending = renamed("sender_id", "author_id");
    for interaction in pending["interactions"].as_array_mut().unwrap() {
        interaction["pending"] = json!(true);
    }
    let pending = outcome(&provider, &pending).await;
    assert!(pending.holds() && !pending.result.pending_errors.is_empty());

    // An unknown state is named in the error, and so is a message whose states produce no frame.
    let mut unknown = example();
    for interaction in unknown["interactions"].as_array_mut().unwrap() {
        let is_message = interaction.get("contents").is_some();
        let state = if is_message { "a channel exists" } else { "the moon is full" };
        interaction["providerStates"] = json!([{ "name": state }]);
    }
    let unknown = outcome(&provider, &unknown).await;
    assert!(!unknown.holds() && unknown.summary.contains("the moon is full"), "{}", unknown.summary);
    assert!(unknown.summary.contains("makes a frame"), "{}", unknown.summary);

    // Older versions of the specification, as pact-python and pact-jvm write them.
    for (version, states) in [
        ("2.0.0", json!({ "providerState": "a channel exists" })),
        ("3.0.0", json!({ "providerStates": [{ "name": "a channel exists", "params": { "name": "General" } }] })),
    ] {
        let mut interaction = json!({
            "description": "a channel",
            "request": { "method": "GET", "path": "/channels/general", "headers": { "Authorization": "Bearer token" } },
            "response": { "status": 200, "body": { "channel_id": "general", "name": "General" } },
        });
        interaction.as_object_mut().unwrap().extend(states.as_object().unwrap().clone());
        let pact = json!({
            "consumer": { "name": "older" }, "provider": { "name": "switchboard" }, "interactions": [interaction],
            "metadata": { "pactSpecification": { "version": version } },
        });
        let older = outcome(&provider, &pact).await;
        assert!(older.holds(), "{version}: {}", older.summary);
    }
    every_state_can_be_set_up(&provider).await;
}

async fn every_state_can_be_set_up(provider: &Provider) {
    let documents = Documents::read(&published::contracts()).unwrap();
    let sent = documents.sent_messages();
    for (number, state) in STATES.iter().enumerate() {
        let mut world = provider.world(&format!("states-{number}"));
        if state.name.starts_with("the message")
            || state.name.contains("the message")
            || state.name.contains("stored message")
        {
            world.set_up("the channel has messages", Map::new()).await.unwrap();
        }
        world.set_up(state.name, Map::new()).await.unwrap_or_else(|error| panic!("{}: {error:#}", state.name));
        let Some(frame) = world.frame() else {
            assert!(!state.makes_a_frame, "{}", state.name);
            continue;
        };
        let (_, payload) = sent.iter().find(|(name, _)| frame["type"] == name.as_str()).unwrap();
        let validator = jsonschema::validator_for(&documents.schema(payload)).unwrap();
        let wrong: Vec<_> = validator.iter_errors(frame).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {frame} is not as documented: {wrong:?}", state.name);
    }
}
