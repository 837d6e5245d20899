#![allow(clippy::unwrap_used, clippy::expect_used)]

//! Verification of a broker's pacts over HTTP with the broker's own protocol ("Pacts for verification" and "Publishing
//! verification results" in the Pact Broker documentation).

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use contracts::{
    stack,
    verify::{Options, VerificationResult, run},
};
use serde_json::{Value, json};

const TOKEN: &str = "the-broker-s-token";

/// A broker with two pacts: one that holds and one that fails.
struct Broker {
    url: String,
    /// Whether the second pact has never been verified.
    pending: bool,
    asked: Mutex<Vec<Value>>,
    results: Mutex<Vec<(String, Value)>>,
    branches: Mutex<Vec<(String, String)>>,
}

/// Returns a response in HAL, as a broker does.
fn hal(body: Value) -> Response {
    ([("content-type", "application/hal+json")], body.to_string()).into_response()
}

async fn index(State(broker): State<Arc<Broker>>) -> Response {
    let href = format!("{}/pacts/provider/{{provider}}/for-verification", broker.url);
    hal(json!({ "_links": { "pb:provider-pacts-for-verification": { "href": href, "templated": true } } }))
}

async fn selection(State(broker): State<Arc<Broker>>) -> Response {
    hal(
        json!({ "_links": { "self": { "href": format!("{}/pacts/provider/switchboard/for-verification", broker.url) } } }),
    )
}

async fn select(State(broker): State<Arc<Broker>>, Json(asked): Json<Value>) -> Response {
    broker.asked.lock().unwrap().push(asked);
    let pact = |consumer: &str, pending: bool| {
        json!({
            "shortDescription": "latest from main branch",
            "verificationProperties": { "pending": pending, "notices": [] },
            "_links": { "self": { "href": format!("{}/pact/{consumer}", broker.url), "name": consumer } },
        })
    };
    hal(json!({ "_embedded": { "pacts": [pact("steady", false), pact("hopeful", broker.pending)] } }))
}

async fn pact(State(broker): State<Arc<Broker>>, Path(consumer): Path<String>) -> Response {
    let name = if consumer == "steady" { "name" } else { "title" };
    let url = &broker.url;
    hal(json!({
        "consumer": { "name": consumer }, "provider": { "name": "switchboard" },
        "interactions": [{
            "description": "a channel",
            "providerStates": [{ "name": "a channel exists", "params": { "name": "General" } }],
            "request": { "method": "GET", "path": "/channels/general", "headers": { "Authorization": "Bearer token" } },
            "response": { "status": 200, "body": { "channel_id": "general", name: "General" } },
        }],
        "metadata": { "pactSpecification": { "version": "3.0.0" } },
        "_links": {
            "self": { "href": format!("{url}/pact/{consumer}") },
            "pb:provider": { "href": format!("{url}/pacticipants/switchboard"), "name": "switchboard" },
            "pb:publish-verification-results": { "href": format!("{url}/results/{consumer}") },
        },
    }))
}

async fn provider(State(broker): State<Arc<Broker>>) -> Response {
    let href = format!("{}/pacticipants/switchboard/branches/{{branch}}/versions/{{version}}", broker.url);
    hal(json!({ "_links": { "pb:branch-version": { "href": href, "templated": true } } }))
}

async fn branch(State(broker): State<Arc<Broker>>, Path((branch, version)): Path<(String, String)>) -> Response {
    broker.branches.lock().unwrap().push((branch, version));
    hal(json!({}))
}

async fn result(
    State(broker): State<Arc<Broker>>,
    Path(consumer): Path<String>,
    Json(result): Json<Value>,
) -> Response {
    broker.results.lock().unwrap().push((consumer, result));
    hal(json!({}))
}

async fn only_with_the_token(request: Request, next: Next) -> Response {
    let bearer = format!("Bearer {TOKEN}");
    if request.headers().get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != bearer.as_bytes()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

impl Broker {
    async fn start(pending: bool) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let broker = Arc::new(Self {
            url,
            pending,
            asked: Mutex::default(),
            results: Mutex::default(),
            branches: Mutex::default(),
        });
        let router = Router::new()
            .route("/", get(index))
            .route("/pacts/provider/switchboard/for-verification", get(selection).post(select))
            .route("/pact/{consumer}", get(pact))
            .route("/pacticipants/switchboard", get(provider))
            .route("/pacticipants/switchboard/branches/{branch}/versions/{version}", put(branch))
            .route("/results/{consumer}", post(result))
            .layer(middleware::from_fn(only_with_the_token))
            .with_state(Arc::clone(&broker));
        tokio::spawn(async move { axum::serve(listener, router).await });
        broker
    }

    async fn verified(&self, token: &str) -> anyhow::Result<VerificationResult> {
        let options = Options {
            broker: Some(self.url.clone()),
            token: Some(token.to_owned()),
            provider_branch: "main".to_owned(),
            provider_version: Some("4f2a".to_owned()),
            include_wip_since: Some("2026-01-31".to_owned()),
            publish: true,
            bin_dir: Some(stack::build().await.unwrap()),
            ..Options::default()
        };
        run(&options).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_s_pacts_are_verified_and_it_is_told_what_came_of_it() {
    let broker = Broker::start(true).await;
    let outcome = broker.verified(TOKEN).await.unwrap();
    assert!(outcome.holds(), "what fails is pending: {}", outcome.summary);
    assert!(outcome.summary.contains("which do not fail the run: 1"), "{}", outcome.summary);

    let asked = broker.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked["includePendingStatus"], true);
    assert_eq!(asked["includeWipPactsSince"], "2026-01-31");
    assert_eq!(asked["providerVersionBranch"], "main");
    assert_eq!(asked["consumerVersionSelectors"], json!([{ "mainBranch": true }, { "deployedOrReleased": true }]));

    let results = std::mem::take(&mut *broker.results.lock().unwrap());
    let mut told: Vec<_> = results
        .iter()
        .map(|(consumer, result)| {
            (consumer.as_str(), result["success"].as_bool().unwrap(), &result["providerApplicationVersion"])
        })
        .collect();
    told.sort_unstable_by_key(|(consumer, ..)| *consumer);
    assert_eq!(told, [("hopeful", false, &json!("4f2a")), ("steady", true, &json!("4f2a"))]);
    let branches = std::mem::take(&mut *broker.branches.lock().unwrap());
    assert!(branches.iter().all(|named| *named == ("main".to_owned(), "4f2a".to_owned())) && !branches.is_empty());

    let broker = Broker::start(false).await;
    let outcome = broker.verified(TOKEN).await.unwrap();
    assert!(!outcome.holds(), "it once held: {}", outcome.summary);

    let refused = broker.verified("another").await;
    assert!(refused.map_or(true, |outcome| !outcome.holds()), "who cannot look has found nothing");
    assert_eq!(broker.results.lock().unwrap().len(), 2);
}
