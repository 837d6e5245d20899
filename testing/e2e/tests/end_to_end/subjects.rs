//! Users of the identity providers in the field: their subjects, their ids in URLs and frames, and refused tokens.

use futures::{StreamExt, stream};
use local::token::{AUDIENCE, DEVELOPMENT_SECRET};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use switchboard_client::Method;

use crate::{
    issuers::trusting,
    stack::{Stack, answered, claims_of, signed, token_of, until},
};

/// Subjects as identity providers issue them, and the ids of their users.
const SUBJECTS: [(&str, &str); 17] = [
    ("auth0|64f1a2b3c4d5e6f708192a3b", "auth0=7C64f1a2b3c4d5e6f708192a3b"),
    ("google-oauth2|103547991597142817347", "google-oauth2=7C103547991597142817347"),
    ("samlp|okta|x@y.z", "samlp=7Cokta=7Cx=40y.z"),
    ("alice@example.com", "alice=40example.com"),
    ("Alice@Example.com", "Alice=40Example.com"),
    ("a+b@example.com", "a=2Bb=40example.com"),
    ("9f0c8c1e-40c1-70d9-6c54-1f6a2b7e8d90", "9f0c8c1e-40c1-70d9-6c54-1f6a2b7e8d90"),
    ("AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ"),
    ("f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:al", "f:4f5d0c3a-7a3e-4a43-9f3b-3c5f3a2f1e10:al"),
    ("CN=Al Smith,OU=People,DC=x", "CN=3DAl=20Smith=2COU=3DPeople=2CDC=3Dx"),
    ("00u1a2B3c4D5e6F7g8h9", "00u1a2B3c4D5e6F7g8h9"),
    ("user_2abcDEF", "user_2abcDEF"),
    ("000123.0a1b2c3d4e5f.0456", "000123.0a1b2c3d4e5f.0456"),
    ("spiffe://td/ns/x", "spiffe:=2F=2Ftd=2Fns=2Fx"),
    ("ACME\\alice", "ACME=5Calice"),
    ("zo\u{eb}", "zo=C3=AB"),
    ("a#b~c%2e", "a=23b=7Ec=252e"),
];

/// Returns a token of the local run's issuer with the subject `subject`.
fn of(subject: &str) -> String {
    signed(&claims_of(subject, 600), DEVELOPMENT_SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_every_provider_create_send_join_and_are_there() {
    let stack = &Stack::in_memory();
    stack.create_channel("owner", "room", "private", "off").await;
    let checks = stream::iter(SUBJECTS.iter().enumerate()).for_each_concurrent(4, async |(number, (subject, id))| {
        let token = of(subject);
        let own = format!("own{number}");
        let channel = json!({ "channel_id": own, "name": "x", "visibility": "private", "agent": { "mode": "off" } });
        let created = answered(stack.bearing(&token, Method::POST, "/channels").json(&channel)).await;
        assert_eq!((created.0, &created.1["created_by"]), (201, &json!(id)), "{subject}: {}", created.1);
        let path = format!("/channels/{own}/messages");
        let sent = answered(stack.bearing(&token, Method::POST, &path).json(&json!({ "content": "hi" }))).await;
        assert_eq!((sent.0, &sent.1["sender_id"]), (201, &json!(id)), "{subject}");

        // Added by another user, with the id as it is and encoded as a part of a URL.
        let encoded = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string();
        for (spelling, status) in [(*id, 201), (encoded.as_str(), 200)] {
            let path = format!("/channels/room/members/{spelling}");
            let added = stack.ask("owner", Method::PUT, &path, Value::Null).await;
            assert_eq!((added.0, &added.1["user_id"]), (status, &json!(id)), "{spelling}");
            let found = stack.ask("owner", Method::GET, &path, Value::Null).await;
            assert_eq!((found.0, &found.1["user_id"]), (200, &json!(id)), "{spelling}");
        }
        let mut socket = stack.connect(&token, "?channels=room").await.unwrap();
        socket.id().await;
        until("the user is there", async || {
            let there = answered(stack.bearing(&token, Method::GET, "/channels/room/presence")).await.1;
            there["users"].as_array().is_some_and(|users| users.iter().any(|user| user["user_id"] == *id))
        })
        .await;
        let left = answered(stack.bearing(&token, Method::DELETE, &format!("/channels/room/members/{encoded}"))).await;
        assert_eq!(left.0, 204, "{subject}");
    });
    checks.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_no_id_where_it_has_another_form() {
    let stack = Stack::in_memory();
    stack.create_channel("owner", "room", "public", "off").await;
    for text in ["alice%40example.com", "auth0%7C64f1", "a%20b", "alice=7c", "alice=41", "=", "zo%C3%AB"] {
        let (status, problem) =
            stack.ask("owner", Method::PUT, &format!("/channels/room/members/{text}"), Value::Null).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("user_id")), "{text}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("alice=40example.com"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_subjects_of_two_issuers_are_two_users_with_a_prefix() {
    let secret = "the secret of a partner that exists in these tests alone";
    let partner = json!({
        "issuer": "https://partner.example", "audience": AUDIENCE, "secret": secret, "user_prefix": "partner",
    });
    let stack = Stack::with(&trusting(&[partner]));
    let mut claims = claims_of("alice", 600);
    claims["iss"] = json!("https://partner.example");
    let theirs = signed(&claims, secret);
    stack.create_channel("alice", "room", "private", "off").await;
    assert_eq!(answered(stack.bearing(&theirs, Method::GET, "/channels/room")).await.0, 404);
    for (path, user) in [("partner==alice", "partner==alice"), ("partner%3D%3Dbob", "partner==bob")] {
        let added = stack.ask("alice", Method::PUT, &format!("/channels/room/members/{path}"), Value::Null).await;
        assert_eq!((added.0, &added.1["user_id"]), (201, &json!(user)));
    }
    assert_eq!(answered(stack.bearing(&theirs, Method::GET, "/channels/room")).await.0, 200);
    // A user of the first issuer with the text of that id as the subject.
    assert_eq!(answered(stack.bearing(&of("partner==alice"), Method::GET, "/channels/room")).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_says_which_claim_is_wrong_to_its_bearer_and_to_the_operator() {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("log");
    let stack = Stack::logging(&[], &log);
    let with = |name: &str, value: Value| {
        let mut claims = claims_of("alice", 600);
        claims[name] = value;
        signed(&claims, DEVELOPMENT_SECRET)
    };
    let now = jiff::Timestamp::now().as_second();
    let cases = [
        (with("sub", json!("@".repeat(100))), "claim sub must take at most 255 characters", "too_long"),
        (with("sub", json!("agent")), "claim sub must not be a name of the system", "reserved"),
        (with("sub", json!("")), "claim sub must not be empty", "required"),
        (with("aud", json!("elsewhere")), "claim aud does not name the audience", "other_audience"),
        (with("iss", json!("https://else.example")), "claim iss is not an issuer", "unknown_issuer"),
        (with("exp", json!("soon")), "claim exp must be a number", "malformed"),
        (with("exp", json!(now - 600)), "the token has expired", "expired"),
        (with("nbf", json!(now + 600)), "the token is not valid yet", "not_yet_valid"),
        (
            signed(&claims_of("alice", 600), "a secret that nobody trusts, of thirty-two bytes"),
            "is not valid",
            "signature",
        ),
    ];
    for (token, expected, fault) in &cases {
        let response = stack.bearing(token, Method::GET, "/channels").send().await.unwrap();
        assert_eq!(response.status(), 401, "{expected}");
        let challenge = response.headers()["x-amzn-remapped-www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.starts_with("Bearer error=\"invalid_token\", error_description=\""), "{challenge}");
        assert!(challenge.contains(expected), "{challenge}");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{problem}");
        until("the refusal is logged", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            said.lines().any(|line| line.contains("token refused") && line.contains(fault))
        })
        .await;
    }
    let said = std::fs::read_to_string(&log).unwrap();
    for (token, ..) in &cases {
        assert!(!said.contains(token.rsplit('.').next().unwrap()), "a signature is in the log");
    }
    assert!(!said.contains("else.example"), "a claim is in the log");
    assert_eq!(answered(stack.bearing(&token_of("alice"), Method::GET, "/channels")).await.0, 200);
}
