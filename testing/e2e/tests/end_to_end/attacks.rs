//! Forged and broken tokens, at every route and at the handshake. Valid tokens of the same form are accepted.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use local::token::{DEVELOPMENT_SECRET, ISSUER};
use serde_json::{Value, json};
use switchboard_client::{Method, StatusCode};

use crate::stack::{Stack, claims_of, signed};

/// Lifetime of the tokens in seconds: longer than all attacks take.
const LIFETIME: i64 = 7_200;

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Signs header and payload, given as text, with the local run's secret.
fn raw(header: &str, payload: &str) -> String {
    let input = format!("{}.{}", part(header), part(payload));
    let key = EncodingKey::from_secret(DEVELOPMENT_SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{input}.{signature}")
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims_of("alice", LIFETIME);
    claims[name] = value;
    signed(&claims, DEVELOPMENT_SECRET)
}

fn without(name: &str) -> String {
    let mut claims = claims_of("alice", LIFETIME);
    claims.as_object_mut().unwrap().remove(name);
    signed(&claims, DEVELOPMENT_SECRET)
}

fn attacks() -> Vec<(&'static str, String)> {
    let now = jiff::Timestamp::now().as_second();
    let claims = claims_of("alice", LIFETIME);
    let payload = claims.to_string();
    let valid = signed(&claims, DEVELOPMENT_SECRET);
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("../../../../crates/auth/src/tests/keys/rsa-a.pem")).unwrap();
    let rs256 = |header: Value| {
        let mut all = json!({ "alg": "RS256", "kid": "a" });
        all.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let input = format!("{}.{}", part(&all.to_string()), part(&payload));
        format!("{input}.{}", jsonwebtoken::crypto::sign(input.as_bytes(), &rsa, Algorithm::RS256).unwrap())
    };
    let public = include_bytes!("../../../../crates/auth/src/tests/keys/rsa-a.pub.pem");
    let confused = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(public)).unwrap();
    vec![
        ("no token", String::new()),
        ("alg none", format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&payload))),
        ("HS256 with a public key", confused),
        ("another secret", signed(&claims, "another secret that is long enough for HS256 and more")),
        ("HS512", {
            let key = EncodingKey::from_secret(DEVELOPMENT_SECRET.as_bytes());
            jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap()
        }),
        ("RS256", rs256(json!({}))),
        ("a kid with a path", rs256(json!({ "kid": "../../dev/null" }))),
        ("a kid with SQL", rs256(json!({ "kid": "' OR 1=1 --" }))),
        ("an embedded jwk", rs256(json!({ "jwk": { "kty": "RSA", "n": "AQAB", "e": "AQAB" } }))),
        ("a jku", rs256(json!({ "jku": "https://evil.example" }))),
        ("an x5u", rs256(json!({ "x5u": "https://evil.example" }))),
        ("a critical extension", raw(r#"{"alg":"HS256","crit":["b64"]}"#, &payload)),
        ("expired", with("exp", json!(now - 61))),
        ("not yet valid", with("nbf", json!(now + LIFETIME - 1))),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("another audience", with("aud", json!("another"))),
        ("an empty list of audiences", with("aud", json!([]))),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("no expiry", without("exp")),
        ("no subject", without("sub")),
        ("a subject whose id is too long", with("sub", json!("a".repeat(256)))),
        ("truncated", valid[..valid.len() - 2].to_owned()),
        ("two tokens", format!("{valid}.{valid}")),
        ("long", with("x", json!("x".repeat(7_000)))),
        ("duplicate claims", raw(r#"{"alg":"HS256"}"#, &payload.replacen('{', r#"{"sub":"mallory","#, 1))),
    ]
}

/// Returns every route of the API, for existing resources.
pub(crate) fn routes() -> Vec<(Method, String)> {
    let mut routes = Vec::new();
    for (resource, methods) in http_api::routes::ROUTES.iter().filter(|(resource, _)| *resource != "/health") {
        let path = resource
            .replace("{channel_id}", "room")
            .replace("{user_id}", "alice")
            .replace("{seq}", "1")
            .replace("{emoji}", "%F0%9F%91%8D")
            .replace("{connection_id}", "x%3D");
        for (method, _) in *methods {
            routes.push((method.clone(), path.clone()));
        }
    }
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_and_no_handshake_takes_a_token_that_is_not_good() {
    let stack = Stack::in_memory();
    stack.create_channel("alice", "room", "public", "off").await;
    stack.send("alice", "room", "x").await;
    let routes = routes();
    assert!(routes.len() > 20);
    for (attack, token) in attacks() {
        for (method, path) in &routes {
            let response = stack.bearing(&token, method.clone(), path).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{attack}: {method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        let pair = format!("bearer, {token}");
        for headers in [vec![("authorization", format!("Bearer {token}"))], vec![("sec-websocket-protocol", pair)]] {
            let headers: Vec<(&'static str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let url = format!("{}/?channels=room", stack.address("websocket"));
            let refused = stack.handshake(&url, &headers).await.err();
            assert_eq!(refused, Some(StatusCode::UNAUTHORIZED), "{attack}: {headers:?}");
        }
    }
    // API Gateway itself rejects more than 10,240 bytes of headers.
    let huge = signed(&json!({ "iss": ISSUER, "x": "x".repeat(100_000) }), DEVELOPMENT_SECRET);
    for (method, path) in &routes {
        let refused = stack.bearing(&huge, method.clone(), path).send().await;
        assert!(refused.is_err() || refused.unwrap().status().is_client_error(), "100 KB: {method} {path}");
    }
    // None of these requests had an effect, and the valid tokens work.
    let messages = stack.history("alice", "room").await;
    assert_eq!(messages.len(), 1);
    for token in [
        // The first, because its leeway of a minute runs out.
        with("exp", json!(jiff::Timestamp::now().as_second() - 5)),
        signed(&claims_of("alice", LIFETIME), DEVELOPMENT_SECRET),
        with("aud", json!(["another", local::token::AUDIENCE])),
        without("nbf"),
        without("iat"),
    ] {
        let response = stack.bearing(&token, Method::GET, "/channels/room").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}
